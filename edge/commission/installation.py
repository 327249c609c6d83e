"""What only people know of an installation, beside the configuration: who, where, and the probes' calibration.

`installation.toml` lies beside the configuration; nothing reads it but the installation report. Places and positions
are taken from the registry document, so that they are written once.

    customer = "Công ty …"         # all keys are optional
    address = "…"
    installer = "…"
    [[calibration]]
    channel = "room-1/air"
    sensor = "XY-MD02 #1234"
    certificate = "K-2026-0815"
    laboratory = "…"
    date = 2026-11-01
    due = 2027-11-01
    uncertainty = "0.3 °C"
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

NAME = "installation.toml"
REGISTRY_NAME = "registry.toml"
MAX_BYTES = 4 * 1024 * 1024
Text = Annotated[str, msgspec.Meta(max_length=300)]


class InstallationError(ValueError):
    """A document cannot be used; `str()` says which and why."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one channel."""

    channel: Text
    sensor: Text = ""
    certificate: Text = ""
    laboratory: Text = ""
    date: datetime.date | None = None
    due: datetime.date | None = None
    uncertainty: Text = ""


class Installation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document."""

    customer: Text = ""
    address: Text = ""
    installer: Text = ""
    calibration: list[Calibration] = []


class Position(msgspec.Struct, frozen=True):
    """Where a channel is, by the registry document. gln: of the place."""

    gln: str
    place: str
    note: str
    sensor: str


def read_installation(config: Path) -> Installation:
    """The document beside a configuration; an empty one where there is none. Raises InstallationError."""
    path = config.with_name(NAME)
    try:
        return msgspec.convert(_read(path), Installation)
    except msgspec.ValidationError as error:
        raise InstallationError(f"{path}: {error}") from error


def read_positions(registry: Path, gateway: str, *, language: str) -> dict[str, Position]:
    """Channel → where it is, the newest binding of each. Raises InstallationError."""
    document = _read(registry)
    name = "name_en" if language == "en" else "name"
    try:
        places = {place["gln"]: place.get(name) or place.get("name", "") for place in document.get("place", [])}
        found = {}
        for table in ("read_point", "sensor_binding"):
            for one in document.get(table, []):
                if one["gateway"] == gateway:
                    found[one["channel"]] = _position(one, places)
    except (KeyError, TypeError, AttributeError) as error:
        raise InstallationError(f"{registry}: not a registry document ({error!r})") from error
    return found


def _position(one: Mapping[str, Any], places: Mapping[str, str]) -> Position:
    gln = str(one["place"])
    return Position(gln, str(places.get(gln, "")), str(one.get("note", "")), str(one.get("sensor", "")))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InstallationError(f"{path}: longer than {MAX_BYTES} bytes")
        return tomllib.loads(data.decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InstallationError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InstallationError(f"{path}: not TOML: {error}") from error
