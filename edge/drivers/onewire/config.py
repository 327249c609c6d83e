"""The keys of a `[[device]]` with `driver = "onewire"`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.drivers.base import Claim

BUS = Path("/sys/bus/w1/devices")


class OneWireConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One DS18B20, DS18S20, DS1822, DS1825 or DS28EA00 on the kernel's 1-wire bus.

    sensor: its id, as its folder is called. bus: the folder of the sensors' folders. file: `w1_slave` gives the
    sensor's own bytes, which we check; `temperature` only the kernel's number. timeout_s: from when its turn on the
    bus has come; one measurement takes 0.75 s.
    """

    sensor: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(10|22|28|3b|42)-[0-9a-f]{12}\Z",
            description="an id such as 28-0316a2795bff; `ls /sys/bus/w1/devices` shows those that are there",
        ),
    ]
    point: Annotated[
        str,
        msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z", description="a name of a-z, 0-9, '.', '_' and '-'"),
    ] = "air"
    bus: Path = BUS
    file: Literal["w1_slave", "temperature"] = "w1_slave"
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 3.0

    @property
    def link(self) -> str:
        """The key of the bus that sensors share."""
        return f"w1:{self.bus}"

    def claims(self) -> list[Claim]:
        """This sensor."""
        return [Claim(key="sensor", what=self.link, part=f"sensor {self.sensor}")]
