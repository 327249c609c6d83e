"""The keys of a `[[device]]` with `driver = "uhf"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from edge.drivers.base import Claim
from edge.drivers.ports import Port
from edge.drivers.rfid.scan import PassKeys


class UhfConfig(PassKeys, frozen=True, kw_only=True):
    """One UHF module on a serial port; it has one antenna, so its passes have no direction.

    power_dbm: transmit power, the module's own when not given.
    """

    port: Port
    baudrate: Annotated[int, msgspec.Meta(ge=9600, le=1_000_000)] = 115_200
    power_dbm: Annotated[float, msgspec.Meta(ge=0, le=33)] | None = None
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0

    def claims(self) -> list[Claim]:
        """The port, all of it."""
        return [Claim(key="port", what=f"serial:{self.port}")]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Rules between the keys."""
        yield from self.pass_problems()
