"""Finds RFID readers on the network: whoever greets in LLRP is one. Nothing is changed in the reader."""

from __future__ import annotations

import asyncio
import contextlib

from edge.commission.finder import Asked, Cause, Finding, Place, Scene, split_host
from edge.drivers.llrp import codec, request
from edge.drivers.llrp.codec import Capabilities, Decoder, Event, StreamLost
from edge.drivers.llrp.config import LLRP_PORT

CONNECT_S = 1.0
ANSWER_S = 3.0
READ_BYTES = 65_536


class LlrpFinder:
    """Greets, asks what the reader can, and leaves."""

    def places(self, asked: Asked) -> list[Place]:
        """The LLRP port of every host."""
        hosts = [split_host(text, LLRP_PORT) for text in asked.hosts]
        return [Place(f"tcp:{host}:{port}", f"{host}:{port}") for host, port in hosts]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """A reader, if one greets."""
        host, port = split_host(place.address, LLRP_PORT)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return []  # most hosts of a network are no readers
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await _greeted(reader, writer)
        except (OSError, TimeoutError, StreamLost):
            return []
        finally:
            writer.close()
        if found is None:
            return []
        scene.say(f"{place.address}: an RFID reader")
        table = {"driver": "llrp", "host": host} | ({} if port == LLRP_PORT else {"port": port})
        if isinstance(found, Capabilities):
            told = f"RFID reader (LLRP), model {found.model}, firmware {found.firmware}"[:200]
            live = [f"{found.antennas} antennas"]
            return [Finding(where=place.address, what=told, certainty="sure", table=table, live=live)]
        return [
            Finding(
                where=place.address,
                what="RFID reader (LLRP)",
                certainty="sure",
                table=table,
                cause=Cause.BUSY,
                fault="another program is connected to it, and a reader takes one: end that one",
            )
        ]


async def _greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Capabilities | Event | None:
    """What it can; the greeting itself when it is taken; None when it hangs up."""
    decoder = Decoder()
    while data := await reader.read(READ_BYTES):
        for message in decoder.feed(data):
            if isinstance(message, Capabilities):
                with contextlib.suppress(OSError):
                    writer.write(request.close_connection(2))
                    await writer.drain()
                return message
            if isinstance(message, Event) and message.connection is not None:
                if message.connection != codec.CONNECTED:
                    return message
                writer.write(request.get_capabilities(1))
                await writer.drain()
    return None


finder = LlrpFinder()
