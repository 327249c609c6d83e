"""The limits in force on the gateway, per channel: what an excursion is, here where nobody asks the cloud.

Under disk pressure the buffer keeps every excursion by them. They come from `[[limit]]` of the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import msgspec

from wire.observation import CHANNEL_PATTERN

CHANNEL = Annotated[
    str,
    msgspec.Meta(
        pattern=f"^{CHANNEL_PATTERN.pattern}\\Z",
        description="a channel: device/point, each of a-z, 0-9, '.', '_' and '-'",
    ),
]


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[limit]]`: numbers of `channel`, in its own unit, beyond which a reading is an excursion; equal is within."""

    channel: CHANNEL
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise ValueError("a limit says `above`, `below` or both")
        if any(bound is not None and not math.isfinite(bound) for bound in (self.above, self.below)):
            raise ValueError("`above` and `below` are finite numbers")
        if self.above is not None and self.below is not None and self.below > self.above:
            raise ValueError(f"below = {self.below} lies over above = {self.above}: nothing would be within")


class Bounds(msgspec.Struct, frozen=True):
    """A limit in whole steps of one exponent: a mantissa under `lowest` or over `highest` is beyond it."""

    lowest: Decimal | None
    highest: Decimal | None

    def crossed_by(self, mantissa: int) -> bool:
        """Whether a number of this exponent lies beyond the limit."""
        under = self.lowest is not None and mantissa < self.lowest
        return under or (self.highest is not None and mantissa > self.highest)


class Limits:
    """All limits of a gateway, asked by channel."""

    def __init__(self, limits: Sequence[Limit] = ()) -> None:
        self.replace(limits)

    def replace(self, limits: Sequence[Limit]) -> None:
        """From now on these are in force, in any thread."""
        self._by_channel = {limit.channel: limit for limit in limits}

    def bounds(self, channel: str, exponent: int) -> Bounds:
        """The limit of a channel for numbers × 10^exponent; without one nothing crosses it."""
        limit = self._by_channel.get(channel)
        if limit is None:
            return Bounds(None, None)
        return Bounds(_steps(limit.below, exponent), _steps(limit.above, exponent))


def _steps(bound: float | None, exponent: int) -> Decimal | None:
    return None if bound is None else Decimal(repr(bound)).scaleb(-exponent)  # 8.3 as written, not as binary
