"""The cable between a device and its port, and what can go wrong with it: delay, garble, drop, hang, half, unplug.

Devices are honest; the link is where the harm is done, so that one device serves every test. Faults come from the
scenario's timeline or from the control socket; chance is seeded by the link's name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong with a link; the default is a good one.

    delay_s: real seconds before an answer comes out. garble, drop: chance per byte that a bit flips, or that the
    byte is gone. half: chance per answer that only its first half comes out. hang: all is swallowed, both ways.
    unplugged: the port is gone, connections are refused.
    """

    delay_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.0
    garble: Probability = 0.0
    drop: Probability = 0.0
    half: Probability = 0.0
    hang: bool = False
    unplugged: bool = False


GOOD = Faults()


class Passage(NamedTuple):
    """What came out at the other end, and whether it is all that went in."""

    data: bytes
    intact: bool


class Link:
    """One cable."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.faults = GOOD
        self._rng = rng
        self._plug: Callable[[bool], Awaitable[None]] | None = None

    def attach(self, plug: Callable[[bool], Awaitable[None]]) -> None:
        """Name who opens and closes the port when the cable is plugged in or pulled out."""
        self._plug = plug

    async def change(self, faults: Faults) -> None:
        """From now on the cable is like this."""
        before, self.faults = self.faults, faults
        if self._plug is not None and before.unplugged != faults.unplugged:
            await self._plug(not faults.unplugged)

    def inward(self, data: bytes) -> bytes:
        """What of a request reaches the device."""
        return b"" if self.faults.hang else self._damage(data)

    async def outward(self, data: bytes) -> Passage:
        """What of an answer reaches the port, after the link's delay."""
        if self.faults.delay_s:
            await asyncio.sleep(self.faults.delay_s)
        if self.faults.hang or self.faults.unplugged:
            return Passage(b"", intact=False)
        out = self._damage(data)
        if self.faults.half and self._rng.random() < self.faults.half:
            out = out[: len(data) // 2]
        return Passage(out, out == data)

    def _damage(self, data: bytes) -> bytes:
        garble, drop = self.faults.garble, self.faults.drop
        if not garble and not drop:
            return data
        out = bytearray()
        for byte in data:
            if drop and self._rng.random() < drop:
                continue
            out.append(byte ^ (1 << self._rng.randrange(8)) if self._rng.random() < garble else byte)
        return bytes(out)
