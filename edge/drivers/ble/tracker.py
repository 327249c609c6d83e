"""Which values of which adverts become readings of one device. Pure: bytes and instants in, values out.

A measurement is told once: the same bytes again are the same measurement where the format numbers its measurements
(Ruuvi 5, 6 and E1; BTHome with a packet id; every encrypted advert). Where it does not, equal bytes may be a new
measurement of the same number, and each point is told at most once in `sample_ms`. A switch that turns is told at
once. A device that sends its readings in both Ruuvi 6 and E1 is heard in E1 only (Ruuvi, "Data format E1").
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from edge.drivers.ble.codec import bthome, ruuvi
from edge.drivers.ble.codec.advert import QUIET_POINTS, Advert, AdvertError, Message, NothingNew, Value
from edge.drivers.ble.codec.bthome import Replayed

RSSI = "rssi"
BATTERY = "battery"
ALTERNATING_MAX = 4  # kinds of advert that a device sends in turn, each several times; far fewer than packet ids
EXTENDED_MS = 60_000  # a device that spoke E1 within this time speaks it still


class AdvertDecoder(Protocol):
    """Anything that reads the adverts of one device."""

    def raw(self, advert: Advert) -> bytes | None:
        """The bytes that it would read; None: the advert has none for it."""

    def decode(self, advert: Advert, now_ms: int) -> Message:
        """What they say. Raises AdvertError."""


class RuuviDecoder:
    """Ruuvi sensors."""

    def raw(self, advert: Advert) -> bytes | None:
        """The company's data."""
        return advert.manufacturer_data.get(ruuvi.COMPANY)

    def decode(self, advert: Advert, now_ms: int) -> Message:  # noqa: ARG002 - the protocol's
        """See codec/ruuvi.py."""
        return ruuvi.decode(advert.manufacturer_data[ruuvi.COMPANY])


class BthomeDecoder:
    """BTHome devices."""

    def __init__(self, address: str, bindkey: bytes | None) -> None:
        self._decoder = bthome.Decoder(address, bindkey)

    def raw(self, advert: Advert) -> bytes | None:
        """The service's data."""
        found = advert.service_data
        return found.get(bthome.V2) or found.get(bthome.V1_PLAIN) or found.get(bthome.V1_ENCRYPTED)

    def decode(self, advert: Advert, now_ms: int) -> Message:  # noqa: ARG002 - the protocol's
        """See codec/bthome.py."""
        return self._decoder.decode(advert.service_data)


class Tracker:
    """What was told of one device. Memory: one entry per point, at most POINTS_MAX."""

    POINTS_MAX = 256  # a BTHome advert has some 120 objects at most; a device that names ever new ones is hostile

    def __init__(self, decoder: AdvertDecoder, *, points: frozenset[str], sample_ms: int) -> None:
        self._decoder = decoder
        self._points = points
        self._sample_ms = sample_ms
        self._raw: bytes | None = None
        self._once = False  # the last bytes are one measurement, however often they come
        self._earlier: deque[bytes] = deque(maxlen=ALTERNATING_MAX)  # other bytes that are one measurement each
        self._extended_ms: int | None = None
        self._told: dict[str, tuple[int, int | None]] = {}
        self.units: dict[str, str] = {}

    def take(self, advert: Advert, now_ms: int) -> tuple[Value, ...]:
        """The values to tell now, often none. Raises AdvertError."""
        raw = self._decoder.raw(advert)
        if raw is None or (self._once and raw == self._raw) or raw in self._earlier:
            return ()
        repeated, self._raw, self._once = raw == self._raw, raw, False
        try:
            message = self._decoder.decode(advert, now_ms)
        except AdvertError as error:
            self._once = True  # what is wrong with these bytes is told once
            if isinstance(error, NothingNew) or (isinstance(error, Replayed) and repeated):
                return ()
            raise
        self._once = message.numbered
        if message.numbered and not message.counted:
            self._earlier.append(raw)
        if self._covered(message, now_ms):
            return ()
        due = tuple(value for value in message.values if self._due(value, message, now_ms))
        if due and advert.rssi_dbm is not None:
            rssi = Value(RSSI, "DBM", advert.rssi_dbm)
            due = (*due, rssi) if self._due(rssi, message, now_ms) else due
        return due

    def _covered(self, message: Message, now_ms: int) -> bool:
        if message.format == "ruuvi-e1":
            self._extended_ms = now_ms
        return (
            message.format == "ruuvi-6" and self._extended_ms is not None and now_ms - self._extended_ms < EXTENDED_MS
        )

    def _due(self, value: Value, message: Message, now_ms: int) -> bool:
        point = value.point
        if point not in self._points if self._points else point in QUIET_POINTS:
            return False
        told = self._told.get(point)
        if told is None and len(self._told) >= self.POINTS_MAX:
            raise AdvertError(f"more than {self.POINTS_MAX} different points from one device; is it broken?")
        if told is not None and now_ms - told[0] < self._sample_ms:
            turned = point in message.switches and told[1] != value.mantissa
            pressed = point in message.presses and message.numbered
            if not turned and not pressed:
                return False
        self._told[point] = (now_ms, value.mantissa)
        self.units[point] = value.unit
        return True
