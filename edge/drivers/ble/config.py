"""The keys of a `[[device]]` with `driver = "ble"` (adverts) or `driver = "ble_gatt"` (a device to connect to)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from edge.drivers.base import Claim
from edge.drivers.ble.vendor import FAMILIES

Address = Annotated[
    str,
    msgspec.Meta(
        pattern="^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\\Z",
        description="a Bluetooth address such as A4:C1:38:8D:18:B2",
    ),
]
Adapter = Annotated[
    str,
    msgspec.Meta(
        pattern="^(hci[0-9]{1,3}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})\\Z",
        description="the name (hci0) or the address of a Bluetooth adapter",
    ),
]
Bindkey = Annotated[
    str,
    msgspec.Meta(pattern="^[0-9A-Fa-f]{32}\\Z", description="32 hex digits, as shown when the device was paired"),
]
Point = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}\\Z")]
Scan = Literal["auto", "passive", "active"]
OWN_FORMATS = ("bthome", "ruuvi")
FORMATS = (*OWN_FORMATS, *sorted(FAMILIES))
SAMPLE_S = 10.0  # a cold room changes in minutes; a tag measures every 1.3 s, and ten points of it would fill the card


class RadioConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What all BLE devices have. adapter: which radio; all devices of one scan alike.

    scan: passive asks devices for nothing and spares their batteries; active also asks for their scan response
    (names, and the data of a few vendors); auto is passive where the adapter can.
    watchdog_s: real seconds without any advert of any device until the scan is started anew.
    """

    address: Address
    adapter: Adapter = "hci0"
    scan: Scan = "auto"
    watchdog_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 60.0

    @property
    def mac(self) -> str:
        """The address as Bluetooth writes it."""
        return self.address.upper()

    @property
    def link(self) -> str:
        """The key of the scanner that devices share."""
        return f"bluetooth:{self.adapter}"

    def _claims(self, part: str) -> list[Claim]:
        settings = f"scan = {self.scan}, watchdog_s = {self.watchdog_s:g}"
        return [
            Claim(key="address", what=f"ble:{self.mac}", part=part),
            Claim(key="scan", what=self.link, part=f"{self.mac} {part}", settings=settings),
        ]


class BleConfig(RadioConfig, frozen=True, kw_only=True):
    """One device that broadcasts.

    points: which of its points are recorded; empty: all but acceleration and transmitting power.
    sample_s: at most one reading per point and so many seconds (a switch that turns is recorded at once; 0: all);
    without it, half of interval_s, or 10 s. interval_s: the supervisor's, for its alarm of silence.
    """

    format: str
    bindkey: Bindkey | None = None
    points: Annotated[list[Point], msgspec.Meta(max_length=64)] = []
    sample_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    interval_s: float | None = None

    @property
    def sample_ms(self) -> int:
        """How dense the readings of one point may be."""
        if self.sample_s is not None:
            return round(self.sample_s * 1000)
        return round(min(SAMPLE_S, self.interval_s / 2 if self.interval_s else SAMPLE_S) * 1000)

    @property
    def key(self) -> bytes | None:
        """The bindkey."""
        return None if self.bindkey is None else bytes.fromhex(self.bindkey)

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong) for rules between keys."""
        if self.format not in FORMATS:
            yield "format", f"{self.format[:40]!r} is not known, known: {', '.join(FORMATS)}"
        elif self.format in FAMILIES and importlib.util.find_spec(FAMILIES[self.format].module) is None:
            family = FAMILIES[self.format]
            yield "format", f"needs the maker-independent parser {family.package}: pip install {family.package}"
        if self.bindkey is not None and self.format != "bthome":
            yield "bindkey", 'belongs to format = "bthome" only'
        if self.interval_s is not None and self.sample_s is not None and self.sample_s > self.interval_s:
            yield "sample_s", f"is longer than interval_s ({self.interval_s:g}): the device would seem to be silent"

    def claims(self) -> list[Claim]:
        """What this device occupies."""
        return self._claims("adverts")


class GattConfig(RadioConfig, frozen=True, kw_only=True):
    """One device that is connected to at each poll. timeout_s: for the whole exchange, in real seconds.

    read: its Environmental Sensing Service, or the log that a RuuviTag or a Ruuvi Air keeps.
    history_h: how far back the first look at a log goes; the next ones go on where it ended.
    """

    read: Literal["environment", "ruuvi_log", "ruuvi_air_log"] = "environment"
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 20.0
    history_h: Annotated[float, msgspec.Meta(gt=0, le=2400)] = 24.0

    def claims(self) -> list[Claim]:
        """What this device occupies."""
        return self._claims("log" if self.read.endswith("log") else "services")
