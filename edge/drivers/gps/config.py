"""The keys of a `[[device]]` with `driver = "gps"`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge.drivers.base import Claim
from edge.drivers.ports import Port


class GpsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One satellite receiver on a serial port.

    every_s: how often to tell position, speed and satellites; a receiver tells every second, which nobody stores.
    latency_ms: from the moment that a sentence tells to its arrival here; what it varies by is part of the uncertainty.
    """

    port: Port
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    every_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60.0
    latency_ms: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 300
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0

    def claims(self) -> list[Claim]:
        """The port, all of it."""
        return [Claim(key="port", what=f"serial:{self.port}")]
