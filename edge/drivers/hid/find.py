"""Finds scanners that play a keyboard: by what their makers call them. Nothing is opened, so nothing is grabbed."""

from __future__ import annotations

import asyncio

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.drivers.hid.device import InputDevice, input_devices

#: Words in the names of scanners, lower case; a keyboard of a person has none of them.
WORDS = (
    "scan", "barcode", "bar code", "honeywell", "metrologic", "symbol", "zebra", "datalogic", "opticon", "newland",
    "netum", "eyoyo", "zkteco", "mindeo", "youjie",
)  # fmt: skip


class HidFinder:
    """Reads names."""

    def places(self, asked: Asked) -> list[Place]:  # noqa: ARG002 - every machine has input devices of its own
        """This machine."""
        return [Place("input:", "input devices", shared=True)]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:  # noqa: ARG002 - the protocol's signature
        """Every keyboard with a scanner's name."""
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


finder = HidFinder()
