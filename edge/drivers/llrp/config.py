"""The keys of a `[[device]]` with `driver = "llrp"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from edge.drivers.base import Claim
from edge.drivers.rfid.scan import IN, OUT, PassKeys

LLRP_PORT = 5084  # IANA
SILENT_KEEPALIVES = 2.5  # this many without a byte: the link is dead, whatever TCP thinks

Antennas = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=255)], ...], msgspec.Meta(max_length=32)]


class LlrpConfig(PassKeys, frozen=True, kw_only=True):
    """One reader on the network.

    antennas: those to read with; empty for all. outside, inside: those on either side of a door; a pass that both saw
    is then told on the channel `NAME/in` or `NAME/out`. power_dbm: transmit power, the reader's own when not given.
    session: of Gen2; 0 and 1 answer again and again, 2 and 3 once. keepalive_s: how often the reader says that it
    lives; two and a half times this without a word, and the connection is made anew.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = LLRP_PORT
    antennas: Antennas = ()
    outside: Antennas = ()
    inside: Antennas = ()
    power_dbm: Annotated[float, msgspec.Meta(ge=-10, le=36)] | None = None
    session: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1
    keepalive_s: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 4.0
    timeout_s: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 5.0

    def claims(self) -> list[Claim]:
        """The reader, all of it: it takes one client."""
        return [Claim(key="host", what=f"tcp:{self.host}:{self.port}")]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Rules between the keys."""
        yield from self.pass_problems()
        if bool(self.outside) != bool(self.inside):
            missing = "inside" if self.outside else "outside"
            yield missing, "a direction needs antennas on both sides: give outside and inside, or neither"
        for antenna in sorted({*self.outside} & {*self.inside}):
            yield "inside", f"antenna {antenna} cannot be on both sides"
        for key, side in (("outside", self.outside), ("inside", self.inside)):
            for antenna in side:
                if self.antennas and antenna not in self.antennas:
                    yield key, f"antenna {antenna} is not among antennas = {list(self.antennas)}"
        if self.outside and self.point in {IN, OUT}:
            yield "point", f"{self.point!r} is the channel of a direction; name passes without one differently"
