"""The registry document: parties, places, read points, bindings, limits and products as one TOML file. Pure.

`check` holds the document against every rule it alone can break; references into the registry are for load.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec

from cloud.registry.keys import RegistryError
from cloud.registry.profile import UNITS, Profile, Rule
from standards.gs1.check_digit import has_valid_check_digit
from standards.units import is_unit, unit
from wire.observation import is_channel
from wire.topics import is_gateway_name

Kind = Literal["packing", "storage", "vehicle", "customer"]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
GTIN_LENGTHS = (8, 12, 13, 14)
KINDS = ("packing", "storage", "vehicle", "customer")
VERSION_MAX = 1_000_000  # what is beyond was meant as something else, a date perhaps
T = TypeVar("T")


class PartyEntry(msgspec.Struct, frozen=True):
    """[[party]]"""

    gln: str
    name: Text
    address: Annotated[str, msgspec.Meta(max_length=500)] = ""


class PlaceEntry(msgspec.Struct, frozen=True):
    """[[place]]"""

    gln: str
    name: Text
    name_en: Text
    kind: Kind
    party: str
    custody: bool = True


class ReadPointEntry(msgspec.Struct, frozen=True):
    """[[read_point]]"""

    gateway: str
    channel: str
    place: str
    step: Literal["pack", "store", "load", "deliver"]


class BindingEntry(msgspec.Struct, frozen=True):
    """[[sensor_binding]]"""

    gateway: str
    channel: str
    place: str
    measurement: Literal["Temperature", "RelativeHumidity"]
    sensor: Text
    log_interval_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)]
    valid_from: Instant
    valid_to: Instant | None = None
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ProfileEntry(Profile, frozen=True, kw_only=True):
    """[[profile]]: a version of limits, in force from `valid_from`."""

    valid_from: Instant


class ProductEntry(msgspec.Struct, frozen=True):
    """[[product]]"""

    gtin: str
    name: Text
    name_en: Text
    party: str
    profile: str


class Document(msgspec.Struct, frozen=True):
    """All entries of one file."""

    party: list[PartyEntry] = []
    place: list[PlaceEntry] = []
    read_point: list[ReadPointEntry] = []
    sensor_binding: list[BindingEntry] = []
    profile: list[ProfileEntry] = []
    product: list[ProductEntry] = []


def gtin14(gtin: str) -> str:
    """A GTIN-8, -12 or -13 with its leading zeros. GS1 General Specifications §3.3.2."""
    return gtin.zfill(14)


def check(document: Document) -> None:
    """Hold a document against every rule it alone can break. Raises RegistryError with the path."""
    for at, party in enumerate(document.party):
        _require(_is_gln(party.gln), f"party[{at}].gln", f"{party.gln!r} is not a GLN (13 digits, check digit)")
    for at, place in enumerate(document.place):
        _require(_is_gln(place.gln), f"place[{at}].gln", f"{place.gln!r} is not a GLN (13 digits, check digit)")
    for at, point in enumerate(document.read_point):
        _check_channel(point.gateway, point.channel, f"read_point[{at}]")
    for at, binding in enumerate(document.sensor_binding):
        where = f"sensor_binding[{at}]"
        _check_channel(binding.gateway, binding.channel, where)
        ends_later = binding.valid_to is None or binding.valid_to > binding.valid_from
        _require(ends_later, f"{where}.valid_to", "not after valid_from")
    for at, profile in enumerate(document.profile):
        _check_profile(profile, f"profile[{at}]")
    for at, product in enumerate(document.product):
        numbered = len(product.gtin) in GTIN_LENGTHS and has_valid_check_digit(product.gtin)
        _require(numbered, f"product[{at}].gtin", f"{product.gtin!r} is not a GTIN (8 to 14 digits, check digit)")
    _check_doubles(document)


def _check_doubles(document: Document) -> None:
    _refuse_doubles("party", document.party, lambda one: one.gln)
    _refuse_doubles("place", document.place, lambda one: one.gln)
    _refuse_doubles("read_point", document.read_point, lambda one: (one.gateway, one.channel))
    _refuse_doubles(
        "sensor_binding",
        document.sensor_binding,
        lambda one: (one.gateway, one.channel, one.measurement, one.valid_from),
    )
    _refuse_doubles("profile", document.profile, lambda one: (one.name, one.version))
    _refuse_doubles("product", document.product, lambda one: gtin14(one.gtin))


def _check_channel(gateway: str, channel: str, where: str) -> None:
    _require(is_gateway_name(gateway), f"{where}.gateway", f"{gateway[:80]!r} is not a gateway name")
    _require(is_channel(channel), f"{where}.channel", f"{channel[:80]!r} is not a channel (device/point)")


def _check_profile(profile: ProfileEntry, where: str) -> None:
    _require(bool(profile.name) and len(profile.name) <= 80, f"{where}.name", "must have 1 to 80 characters")
    _require(1 <= profile.version <= VERSION_MAX, f"{where}.version", f"allowed: 1 to {VERSION_MAX}")
    for name, limit in (("low", profile.low), ("high", profile.high)):
        _require(limit is None or math.isfinite(limit), f"{where}.{name}", "not a finite number")
    band_stands = profile.low is None or profile.high is None or profile.low < profile.high
    _require(band_stands, f"{where}.low", "not below high")
    _require(0 <= profile.min_coverage <= 1, f"{where}.min_coverage", "allowed: 0 to 1")
    _require(1 <= profile.gap_factor <= 100, f"{where}.gap_factor", "allowed: 1 to 100")
    _check_kinds(profile.places, where)
    for at, rule in enumerate(profile.rules):
        _check_rule(rule, f"{where}.rules[{at}]")
    _refuse_doubles(f"{where}.rules", profile.rules, lambda one: one.name)


def _check_rule(rule: Rule, where: str) -> None:
    _require(bool(rule.name), f"{where}.name", "is empty")
    _require(rule.direction in {"above", "below"}, f"{where}.direction", "allowed: above, below")
    _require(rule.severity in {"critical", "warning"}, f"{where}.severity", "allowed: critical, warning")
    _require(rule.measurement in UNITS, f"{where}.measurement", f"allowed: {', '.join(UNITS)}")
    _require(math.isfinite(rule.threshold), f"{where}.threshold", "not a finite number: no reading is beyond it")
    _require(rule.duration_s >= 0, f"{where}.duration_s", "below 0")
    _require(is_unit(rule.unit), f"{where}.unit", f"{rule.unit!r} is not a Rec 20 code we know")
    meant, given = unit(UNITS[rule.measurement]).quantity, unit(rule.unit).quantity
    _require(given == meant, f"{where}.unit", f"{rule.unit} measures {given}, {rule.measurement} is {meant}")
    _check_kinds(rule.places, where)


def _check_kinds(places: list[str], where: str) -> None:
    _require(set(places) <= set(KINDS), f"{where}.places", f"allowed: {', '.join(KINDS)}")


def _is_gln(number: str) -> bool:
    return len(number) == 13 and has_valid_check_digit(number)


def _refuse_doubles(where: str, entries: Iterable[T], key: Callable[[T], object]) -> None:
    seen: dict[object, int] = {}
    for at, entry in enumerate(entries):
        first = seen.setdefault(key(entry), at)
        _require(first == at, f"{where}[{at}]", f"says the same as {where}[{first}]")


def _require(claim: bool, where: str, why: str) -> None:
    if not claim:
        raise RegistryError(f"{where}: {why}")
