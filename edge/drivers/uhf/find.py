"""Finds UHF modules on serial ports: each answers when it is asked for its hardware version."""

from __future__ import annotations

import asyncio
import contextlib

import serialx

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.drivers.base import DeviceUnavailable
from edge.drivers.serial_port import close_port, open_port
from edge.drivers.uhf import codec
from edge.drivers.uhf.codec import Decoder, Frame

BAUDRATE = 115_200  # as they leave the factory
ANSWER_S = 0.3
OPEN_S = 2.0


class UhfFinder:
    """Asks one question."""

    def places(self, asked: Asked) -> list[Place]:
        """Every serial port."""
        return [Place(f"serial:{port.path}", port.label, port) for port in asked.ports]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """A module, if it answers."""
        port = place.port
        assert port is not None
        scene.say(f"{place.address}: is it an RFID module?")
        answer = await _asked(port.path)
        if answer is None:
            return []
        version = answer.parameters[1:].decode("ascii", "replace").strip()
        version = "".join(letter for letter in version if letter.isprintable())[:40]
        return [
            Finding(
                where=place.address,
                what="UHF RFID module",
                certainty="sure",
                table={"driver": "uhf", "port": port.path},
                live=[f"hardware {version}"] if version else [],
            )
        ]


async def _asked(path: str) -> Frame | None:
    line = serialx.async_serial_for_url(path, baudrate=BAUDRATE)
    advice = "is it plugged in, free, and this user in the group of the port (dialout)?"
    opened = await open_port(line, path, timeout_s=OPEN_S, advice=advice)
    decoder = Decoder()
    try:
        async with asyncio.timeout(ANSWER_S):
            await opened.write(codec.ask_information())
            while data := await opened.read(4096):
                for one in decoder.feed(data):
                    if isinstance(one, Frame) and (one.type, one.command) == (codec.ANSWER, codec.INFORMATION):
                        return one
    except TimeoutError:
        return None
    except OSError as error:
        raise DeviceUnavailable(f"{path}: {error}; is it still plugged in?") from error
    finally:
        with contextlib.suppress(TimeoutError, OSError):
            await close_port(opened, timeout_s=OPEN_S)
    return None


finder = UhfFinder()
