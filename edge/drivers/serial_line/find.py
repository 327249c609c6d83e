"""Notices devices that send lines of text by themselves: what they mean, a person has to say."""

from __future__ import annotations

from edge.commission.finder import Asked, Finding, Place, Scene

BAUDRATES = (9600, 4800, 38400, 115200)  # those at which others have listened already
LISTEN_S = 1.3
LINES = 2  # less may be chance
SHOWN_CHARS = 60


class SerialLineFinder:
    """Only listens."""

    def places(self, asked: Asked) -> list[Place]:
        """Every serial port."""
        return [Place(f"serial:{port.path}", port.label, port) for port in asked.ports]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """The lines that came, if they are text."""
        assert place.port is not None
        for baudrate in BAUDRATES:
            heard = await scene.hear(place.port, baudrate, LISTEN_S)
            if not heard:
                return []
            lines = [line for line in heard.replace(b"\r", b"\n").split(b"\n")[1:-1] if line]
            if len(lines) >= LINES and all(line.isascii() and line.decode().isprintable() for line in lines):
                return [
                    Finding(
                        where=f"{place.address}, {baudrate} baud",
                        what="a device that sends lines of text",
                        live=[line.decode()[:SHOWN_CHARS] for line in lines[:3]],
                        fault='say what its fields are, in a [[device]] with driver = "serial_line" '
                        "(docs/devices/serial.md), and apply it",
                    )
                ]
        return []


finder = SerialLineFinder()
