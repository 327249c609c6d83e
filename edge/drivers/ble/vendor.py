"""Vendor formats through the public `*-ble` parsers; imported only when a device of the family is configured.

The parsers (MIT, Apache-2.0) are not among our extras: they bring PyRIC (GPL-3.0) through habluetooth, so whoever
runs the gateway installs them. Two traps end here: a parser answers an advert that it does not understand with the
values of the one before (they would pass for fresh), and it gives floats, which become the decimals that are printed.
"""

from __future__ import annotations

import importlib
import logging
import math
from decimal import Decimal
from typing import Any, NamedTuple

from edge.drivers.ble.codec.advert import Advert, AdvertError, Message, NothingNew, Value, missing
from wire.observation import Quality


class Family(NamedTuple):
    """Where the parser of a vendor's devices is."""

    package: str
    module: str
    parser: str


FAMILIES = {
    "govee": Family("govee-ble", "govee_ble", "GoveeBluetoothDeviceData"),
    "inkbird": Family("inkbird-ble", "inkbird_ble", "INKBIRDBluetoothDeviceData"),
    "sensorpush": Family("sensorpush-ble", "sensorpush_ble", "SensorPushBluetoothDeviceData"),
    "thermopro": Family("thermopro-ble", "thermopro_ble", "ThermoProBluetoothDeviceData"),
}

#: Their words for units → Rec 20; a value in another unit is passed over by name.
UNITS = {
    "°C": "CEL",
    "°F": "FAH",
    "%": "P1",
    "hPa": "A97",
    "mbar": "MBR",
    "Pa": "PAL",
    "mV": "2Z",
    "V": "VLT",
    "ppm": "59",
    "µg/m³": "GQ",
    "lx": "LUX",
    "dBm": "DBM",
    "m/s²": "MSK",
    None: "C62",
}
_RSSI = "signal_strength"  # told from the receiver's own word
_OUR_NAMES = {"carbon_dioxide": "co2"}
_ERROR = "error"  # Govee's word for a probe that is broken or not plugged in
_LARGEST = 1e12  # of anything that a sensor in a room measures
_DECIMALS = 4  # more is the noise of binary fractions


class VendorDecoder:
    """The parser of one device; parsers keep what they learned of it."""

    def __init__(self, family: str) -> None:
        wanted = FAMILIES[family]
        self._family = family
        try:
            self._parser = getattr(importlib.import_module(wanted.module), wanted.parser)()
            self._info = importlib.import_module("habluetooth").BluetoothServiceInfoBleak
        except (ImportError, AttributeError) as error:
            raise AdvertError(f"{family}: cannot be decoded here ({error}): pip install {wanted.package}") from error
        logging.getLogger(wanted.module).setLevel(logging.CRITICAL)  # it writes a line per advert it cannot read

    def decode(self, advert: Advert, now_s: float) -> Message:
        """What the device says. Raises AdvertError; NothingNew where the parser finds nothing in it."""
        parser: Any = self._parser
        # Without this, update() repeats what earlier adverts said.
        for kept in ("_sensor_values_updates", "_sensor_descriptions_updates", "_binary_sensor_values_updates"):
            getattr(parser, kept).clear()
        info = self._info(
            name=advert.name or advert.address,
            address=advert.address,
            rssi=-127 if advert.rssi_dbm is None else advert.rssi_dbm,
            manufacturer_data=advert.manufacturer_data,
            service_data=advert.service_data,
            service_uuids=list(advert.service_uuids),
            source="",
            device=None,
            advertisement=None,
            connectable=False,
            time=now_s,
            tx_power=None,
        )
        try:
            update = parser.update(info)
        except Exception as error:
            raise AdvertError(f"{self._family}: its parser failed ({type(error).__name__}: {error})") from error
        values = tuple(_values(update))
        if not values:
            raise NothingNew(f"{self._family}: nothing that its parser understands; is this the right format?")
        return Message(self._family, values, switches=frozenset(map(_point, update.binary_entity_values)))


def _values(update: Any) -> list[Value]:
    found = []
    for key, described in update.entity_descriptions.items():
        if key.key == _RSSI or key not in update.entity_values:
            continue
        unit = UNITS.get(described.native_unit_of_measurement)
        if unit is None:
            continue
        point = _point(key)
        found.append(_value(point, unit, update.entity_values[key].native_value))
    for key, held in update.binary_entity_values.items():
        state = held.native_value
        found.append(missing(_point(key), "C62") if state is None else Value(_point(key), "C62", int(bool(state))))
    return [value for value in found if value is not None]


def _point(key: Any) -> str:
    base = _OUR_NAMES.get(key.key, key.key)
    name = base if key.device_id is None else f"{base}_{key.device_id}"
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.lower())[:63]


def _value(point: str, unit: str, number: Any) -> Value | None:
    if number is None or number == _ERROR:
        return missing(point, unit)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None  # texts and dates are no measurements
    if not math.isfinite(number):
        return missing(point, unit)
    if abs(number) > _LARGEST:
        return Value(point, unit, None, 0, Quality.OUT_OF_RANGE)
    exact = round(Decimal(str(number)), _DECIMALS).normalize()
    exponent = min(0, int(exact.as_tuple().exponent))
    return Value(point, unit, int(exact.scaleb(-exponent)), exponent)
