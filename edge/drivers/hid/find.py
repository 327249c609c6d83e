"""Finds scanners that play a keyboard: by what their makers call them, or by what they type, if a person names them.

Nothing is opened, and so nothing is grabbed, unless the person named it and said that they would scan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.drivers.hid.codec import Decoder
from edge.drivers.hid.device import InputDevice, input_devices, open_events

CODE_MIN_CHARS = 4  # less is somebody at a keyboard

#: Words in the names of scanners, lower case; a keyboard of a person has none of them.
WORDS = (
    "scan", "barcode", "bar code", "honeywell", "metrologic", "symbol", "zebra", "datalogic", "opticon", "newland",
    "netum", "eyoyo", "zkteco", "mindeo", "youjie",
)  # fmt: skip


class HidFinder:
    """Reads names; listens where that was asked for."""

    def places(self, asked: Asked) -> list[Place]:
        """This machine, and the devices that were named."""
        named = [Place(f"input:{path}", path) for path in asked.inputs] if asked.listen_s > 0 else []
        return [Place("input:", "input devices", shared=True), *named]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """Every keyboard with a scanner's name, or the named one, if it types whole codes. Raises DriverError."""
        if not place.shared:
            scene.say(f"{place.address}: scan something within {scene.asked.listen_s:g} s, if this is a scanner")
            codes = await _typed(Path(place.address), scene.asked.listen_s)
            return [_heard(place.address, codes)] if codes else []
        found = await asyncio.to_thread(input_devices)
        named = [each for each in found if any(word in each.name.lower() for word in WORDS)]
        return [_finding(each) for each in named if each.is_keyboard]


def _finding(device: InputDevice) -> Finding:
    match = {"name": device.name} | ({"uniq": device.uniq} if device.uniq else {"phys": device.phys})
    return Finding(
        where=f"{device.path} ({device.name})",
        what="barcode scanner that plays a keyboard",
        certainty="likely",
        table={"driver": "hid", "match": {key: value for key, value in match.items() if value}},
        live=["scan into `coldproof edge devices tail` once it is applied, to be sure"],
    )


async def _typed(path: Path, listen_s: float) -> list[str]:
    """The first whole codes that come. Raises DriverError."""
    decoder = Decoder()
    events = open_events(path)
    try:
        async with asyncio.timeout(listen_s):
            while data := await events.read():
                texts = [getattr(one, "text", "") for one in decoder.feed(data)]
                if codes := [text for text in texts if len(text) >= CODE_MIN_CHARS]:
                    return codes
    except (TimeoutError, OSError):
        return []
    finally:
        events.close()
    return []


def _heard(path: str, codes: Sequence[str]) -> Finding:
    return Finding(
        where=path,
        what="barcode scanner that plays a keyboard",
        certainty="sure",
        table={"driver": "hid", "path": path},
        live=[f"read {code}" for code in codes[-3:]],
    )


finder = HidFinder()
