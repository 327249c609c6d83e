"""Finds satellite receivers: they speak by themselves, every second, in sentences with a checksum."""

from __future__ import annotations

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.drivers.gps.codec import Damaged, Decoder

BAUDRATES = (9600, 4800, 38400, 115200)
LISTEN_S = 1.3  # a receiver speaks every second


class GpsFinder:
    """Only listens."""

    def places(self, asked: Asked) -> list[Place]:
        """Every serial port."""
        return [Place(f"serial:{port.path}", port.label, port) for port in asked.ports]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """A receiver, if sentences come. A port that says nothing at the first rate is not tried at others."""
        assert place.port is not None
        for baudrate in BAUDRATES:
            heard = await scene.hear(place.port, baudrate, LISTEN_S)
            if not heard:
                return []
            sentences = [one for one in Decoder().feed(heard) if not isinstance(one, Damaged)]
            if sentences:
                fixed = any(getattr(one, "valid", False) for one in sentences)
                return [
                    Finding(
                        where=f"{place.address}, {baudrate} baud",
                        what="satellite receiver (NMEA 0183)",
                        certainty="sure",
                        table={"driver": "gps", "port": place.port.path, "baudrate": baudrate},
                        live=["it has a fix" if fixed else "no fix yet: it needs a view of the sky"],
                        channels=[("satellites", "C62")],
                    )
                ]
        return []


finder = GpsFinder()
