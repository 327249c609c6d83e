"""Adverts as JSON in, what they measure as JSON out: `edge decode ble`, for support and before a device is bound.

In: {"address", "name", "rssi", "manufacturer_data": {"1177": hex}, "service_data": {uuid: hex}, "service_uuids": [],
"bindkey": hex, "format"}; all but the data may be missing. Out: {"address", "name", "format", "number",
"observations": [{"point", "value", "unit", "quality"}], "info"}, or {"error"}. Without `format`, ours are tried
first, then whichever parsers of vendors are installed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import msgspec

from edge.drivers.ble.codec import bthome, ruuvi
from edge.drivers.ble.codec.advert import DATA_MAX, NAME_MAX, Advert, AdvertError, Message, Value, short_uuid
from edge.drivers.ble.config import FORMATS, OWN_FORMATS
from edge.drivers.ble.vendor import FAMILIES, VendorDecoder

LINE_MAX = 65_536  # bytes; the longest advert has 1,650, in hex
_PARTS_MAX = 64  # of data in one advert
_REMEMBERED_MAX = 4_000  # parsers; 2 KB each
_BTHOME = (bthome.V2, bthome.V1_PLAIN, bthome.V1_ENCRYPTED)


class _Line(msgspec.Struct):
    address: str = ""
    name: str | None = None
    rssi: int | None = None
    manufacturer_data: dict[str, str] = {}
    service_data: dict[str, str] = {}
    service_uuids: list[str] = []
    bindkey: str | None = None
    format: str | None = None


class AdvertFilter:
    """Decodes a stream of adverts, each by itself; only parsers of vendors remember what a device said before.

    Some devices' data grows with every advert (BlueZ keeps what was heard), and only a difference says what is new.
    """

    def __init__(self) -> None:
        self._vendors: dict[tuple[str, str], VendorDecoder] = {}

    def decode(self, line: bytes | str) -> dict[str, Any]:
        """What one advert says, ready for JSON; {"error": …} for what is none, or cannot be believed."""
        size = len(line)
        if size > LINE_MAX:
            return {"error": f"{size} bytes, an advert has {LINE_MAX} at most"}
        try:
            given = msgspec.json.decode(line, type=_Line)
            advert = _advert(given)
            message = self._message(given, advert)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return {
                "error": f'no advert: {error}; expected an object with "manufacturer_data" and "service_data" in hex'
            }
        except AdvertError as error:
            return {"error": str(error)}
        found = [_shown(value) for value in message.values]
        if advert.rssi_dbm is not None:
            found.append(_shown(Value("rssi", "DBM", advert.rssi_dbm)))
        return {
            "address": advert.address,
            "name": advert.name,
            "format": message.format,
            "number": message.number,
            "observations": found,
            "info": message.info,
        }

    def _message(self, given: _Line, advert: Advert) -> Message:
        if given.format is not None and given.format not in FORMATS:
            raise AdvertError(f"format {given.format[:40]!r} is not known, known: {', '.join(FORMATS)}")
        wanted = given.format
        if wanted == "ruuvi" or (wanted is None and ruuvi.COMPANY in advert.manufacturer_data):
            if ruuvi.COMPANY not in advert.manufacturer_data:
                raise AdvertError(f"Ruuvi: no manufacturer data of company {ruuvi.COMPANY} (0x0499)")
            return ruuvi.decode(advert.manufacturer_data[ruuvi.COMPANY])
        if wanted == "bthome" or (wanted is None and any(uuid in advert.service_data for uuid in _BTHOME)):
            key = None if given.bindkey is None else _data("bindkey", given.bindkey)
            return bthome.Decoder(advert.address, key).decode(advert.service_data)
        families = [wanted] if wanted is not None else [name for name in sorted(FAMILIES) if _installed(name)]
        for family in families:
            try:
                return self._vendor(family, advert.address).decode(advert, 0.0)
            except AdvertError:
                if wanted is not None:
                    raise
        raise AdvertError(_unknown(advert, families))

    def _vendor(self, family: str, address: str) -> VendorDecoder:
        known = self._vendors.get((family, address))
        if known is None:
            if len(self._vendors) >= _REMEMBERED_MAX:
                del self._vendors[next(iter(self._vendors))]
            known = self._vendors[family, address] = VendorDecoder(family)
        return known


def decode_advert(line: bytes | str) -> dict[str, Any]:
    """One advert that stands by itself: see AdvertFilter."""
    return AdvertFilter().decode(line)


def _advert(given: _Line) -> Advert:
    if len(given.manufacturer_data) + len(given.service_data) > _PARTS_MAX:
        raise AdvertError(f"more than {_PARTS_MAX} pieces of data in one advert")
    return Advert(
        given.address[:NAME_MAX].upper(),
        (given.name or "")[:NAME_MAX],
        given.rssi,
        {_company(key): _data(key, text) for key, text in given.manufacturer_data.items()},
        {_uuid(key): _data(key, text) for key, text in given.service_data.items()},
        tuple(_uuid(key) for key in given.service_uuids[:_PARTS_MAX]),
    )


def _unknown(advert: Advert, tried: list[str]) -> str:
    there = [f"company {key} (0x{key:04X})" for key in advert.manufacturer_data]
    there += [f"service {uuid}" for uuid in advert.service_data]
    missing = [FAMILIES[name].package for name in sorted(FAMILIES) if not _installed(name)]
    hint = f"; not installed: {', '.join(missing)}" if missing else ""
    return (
        f"no format known here; the advert has data of {', '.join(there) or 'nobody'}; "
        f"tried: {', '.join([*OWN_FORMATS, *tried])}{hint}"
    )


def _installed(family: str) -> bool:
    return importlib.util.find_spec(FAMILIES[family].module) is not None


def _company(key: str) -> int:
    try:
        number = int(key[:8], 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFF:
        raise AdvertError(f'manufacturer_data: {key[:20]!r} is no company number, such as "1177" or "0x0499"')
    return number


def _uuid(key: str) -> str:
    text = key.lower()
    if len(text) == 4 and all(digit in "0123456789abcdef" for digit in text):
        return short_uuid(int(text, 16))
    return text[:NAME_MAX]


def _data(key: str, text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise AdvertError(f"{key[:40]}: {text[:20]!r} is not hex") from None
    if len(data) > DATA_MAX:
        raise AdvertError(f"{key[:40]}: {len(data)} bytes, an advert has {DATA_MAX} at most")
    return data


def _shown(value: Value) -> dict[str, Any]:
    number = None if value.mantissa is None else value.mantissa * 10**value.exponent
    if value.mantissa is not None and value.exponent < 0:
        number = value.mantissa / 10**-value.exponent  # correctly rounded, so that it prints as it was meant
    return {"point": value.point, "value": number, "unit": value.unit, "quality": value.quality.name.lower()}
