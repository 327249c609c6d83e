"""Gives a found device its name and place: a `[[device]]` for the gateway, bindings for the cloud's registry. Pure.

Nothing a person wrote is changed; tables are added behind the end. A probe without a place cannot go live: what it says
would belong to no lot. The registry document is the one that `coldproof cloud registry load` takes.
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge.clock import BUILD_MS
from edge.commission.finder import Finding
from edge.config import parse_config
from edge.drivers.registry import load_driver
from standards.gs1.check_digit import has_valid_check_digit

Step = Literal["pack", "store", "load", "deliver"]
Kind = Literal["packing", "storage", "vehicle", "customer"]
TEXT_MAX = 200
INTERVAL_S = 60.0


class BindRefused(ValueError):
    """The device cannot be bound so; `str()` says why and what to do."""


class NewPlace(msgspec.Struct, frozen=True):
    """A place that the registry may not know yet."""

    name: str
    name_en: str
    kind: Kind
    party: str


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a found device. sensor: model and serial number, as on its label.

    above, below: limits of its temperatures, for warnings at the site. step: what a scan here means.
    """

    name: str
    place: str
    sensor: str = ""
    note: str = ""
    interval_s: float = INTERVAL_S
    above: float | None = None
    below: float | None = None
    step: Step | None = None
    new_place: NewPlace | None = None
    valid_from: datetime.datetime


class Bound(msgspec.Struct, frozen=True):
    """The two documents as they should be now, and what was added to each."""

    config: str
    registry: str
    added_config: str
    added_registry: str


def bind(config_path: Path, config: str, registry: str, *, gateway: str, finding: Finding, wish: Wish) -> Bound:
    """Add the device. Raises BindRefused, or ConfigError when the configuration would not be right with it."""
    _check(finding, wish)
    added = "".join(_config_tables(finding, wish))
    whole = _joined(config, added)
    parse_config(whole, config_path)
    added_registry = "".join(_registry_tables(_read(registry), gateway, finding, wish))
    return Bound(whole, _joined(registry, added_registry), added, added_registry)


def instant_of(text: str) -> datetime.datetime:
    """A point in time as a person writes it; empty: now. Raises BindRefused."""
    if not text:
        return datetime.datetime.now(datetime.UTC).astimezone()
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise BindRefused(f"--from {text!r}: write an instant as 2026-11-24T08:00:00+07:00") from error
    return found if found.tzinfo else found.astimezone()


def measurement_of(point: str, unit: str) -> str | None:
    """What the registry calls the measurement of a channel; None where it is none that evidence knows."""
    if unit == "CEL":
        return "Temperature"
    return "RelativeHumidity" if unit == "P1" and "hum" in point else None


def toml_value(value: Any) -> str:
    """A TOML value: JSON writes strings, numbers and lists of them in the same way."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float) and not math.isfinite(value):
        raise BindRefused(f"{value} is no number")
    return msgspec.json.encode(value).decode()


def table_text(header: str, table: Mapping[str, Any]) -> str:
    """One `[[table]]` with a line for each key; nested tables become inline ones."""
    lines = [f"{key} = {_inline(value)}" for key, value in table.items()]
    return "\n".join([f"[[{header}]]", *lines]) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_inline(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return toml_value(value)


def _check(finding: Finding, wish: Wish) -> None:
    if not finding.table:
        raise BindRefused(f"{finding.where}: there is nothing to bind ({finding.fault or finding.what})")
    if finding.device:
        raise BindRefused(f"{finding.where} is the device {finding.device} of this gateway already")
    if len(wish.place) != 13 or not wish.place.isdecimal() or not has_valid_check_digit(wish.place):
        raise BindRefused(f"place {wish.place[:40]!r} is not a GLN: 13 digits with a right check digit")
    if wish.valid_from.timestamp() * 1000 < BUILD_MS:
        raise BindRefused("this machine's clock is not set, and a binding needs its beginning: set it, or give --from")
    for name, text in (("sensor", wish.sensor), ("note", wish.note)):
        if len(text) > TEXT_MAX or "\0" in text:
            raise BindRefused(f"{name}: at most {TEXT_MAX} characters")
    if not finding.channels and wish.step is None:
        raise BindRefused("say what a scan here means: pack, store, load or deliver (--step)")


def _config_tables(finding: Finding, wish: Wish) -> Iterator[str]:
    """The device, and its limits."""
    table: dict[str, Any] = {"name": wish.name, **finding.table}
    if finding.channels:
        table["interval_s"] = wish.interval_s
    yield table_text("device", table)
    bounds = {name: bound for name, bound in (("above", wish.above), ("below", wish.below)) if bound is not None}
    if not bounds:
        return
    temperatures = [point for point, unit in finding.channels if measurement_of(point, unit) == "Temperature"]
    if not temperatures:
        raise BindRefused("limits are for temperatures, and this device measures none")
    for point in temperatures:
        yield "\n" + table_text("limit", {"channel": f"{wish.name}/{point}", **bounds})


def _registry_tables(known: Mapping[str, Any], gateway: str, finding: Finding, wish: Wish) -> Iterator[str]:
    """The place, if it is new, and a binding for each measurement or the read point."""
    places = known.get("place", [])
    if wish.new_place is not None and not any(place.get("gln") == wish.place for place in places):
        new = wish.new_place
        yield table_text("place", {"gln": wish.place, **msgspec.structs.asdict(new), "custody": new.kind != "customer"})
        yield "\n"
    if not finding.channels:
        channel = f"{wish.name}/{_point_of(finding)}"
        yield table_text("read_point", {"gateway": gateway, "channel": channel, "place": wish.place, "step": wish.step})
        return
    yield "\n".join(_bindings(gateway, finding.channels, finding.what, wish))


def _point_of(finding: Finding) -> str:
    """Where its scans come, as its driver has it."""
    fields = msgspec.structs.fields(load_driver(str(finding.table["driver"])).config_type)
    usual = next((field.default for field in fields if field.encode_name == "point"), "scan")
    return str(finding.table.get("point", usual))


def _bindings(gateway: str, channels: Sequence[tuple[str, str]], what: str, wish: Wish) -> Iterator[str]:
    for point, unit in channels:
        measurement = measurement_of(point, unit)
        if measurement is None:
            continue
        yield table_text(
            "sensor_binding",
            {
                "gateway": gateway,
                "channel": f"{wish.name}/{point}",
                "place": wish.place,
                "measurement": measurement,
                "sensor": wish.sensor or f"{what} ({wish.name})"[:TEXT_MAX],
                "log_interval_s": max(1, round(wish.interval_s)),
                "valid_from": wish.valid_from,
                "note": wish.note,
            },
        )


def _joined(text: str, added: str) -> str:
    if not added:
        return text
    return (text.rstrip("\n") + "\n\n" if text.strip() else "") + added


def _read(registry: str) -> dict[str, Any]:
    try:
        return tomllib.loads(registry)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BindRefused(f"the registry document is not TOML ({error}); mend it first") from error
