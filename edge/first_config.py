"""What enrolment does to the configuration: writes a first one, or adds the way to the cloud to one that is there.

Nothing a person wrote is ever changed: tables are added behind the end, or what should stand there is said.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from edge.config import CONFIG_MAX_BYTES, ConfigError, GatewayTable
from edge.config_table import Problem
from edge.durable import replace_file
from edge.enrol import CLOUD, LINK, TRUST, Place

FIRST = """\
[gateway]
name = {name}
data_dir = {folder}
"""
UPLINK = """\
[uplink]
host = {host}
port = {port}
cloud_key = {cloud}

[uplink.tls]
ca = {trust}
certificate = {link}
key = {link}
"""


class Named(msgspec.Struct, frozen=True):
    """Who a configuration is for, and where it keeps its data."""

    name: str
    data_dir: Path
    simulated: bool


def read_gateway_table(path: Path) -> Named | None:
    """What a configuration says about the gateway itself, None when there is none. Raises ConfigError.

    Nothing else in it is looked at: before enrolment it cannot be complete.
    """
    raw = _read(path)
    if raw is None:
        return None
    try:
        table = msgspec.convert(raw.get("gateway"), GatewayTable, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise ConfigError(path, [Problem(0, "gateway", str(error))]) from error
    clock = raw.get("clock")
    simulated = isinstance(clock, dict) and "simulated" in clock
    return Named(table.name, path.absolute().parent / table.data_dir, simulated)


def settle_configuration(path: Path, name: str, folder: Path, place: Place) -> str:
    """See to it that the configuration leads to the cloud; what was done, or what a person must do.

    Raises ConfigError.
    """
    uplink = UPLINK.format(
        host=_quoted(place.broker_host),
        port=place.broker_port,
        cloud=_quoted(folder / CLOUD),
        trust=_quoted(folder / TRUST),
        link=_quoted(folder / LINK),
    )
    raw = _read(path)
    if raw is None:
        _write(path, FIRST.format(name=_quoted(name), folder=_quoted(folder)) + "\n" + uplink)
        return f"written: {path}; add the devices, and see that it is right with `coldproof edge check {path}`"
    if "uplink" not in raw:
        _write(path, path.read_text("utf-8").rstrip("\n") + "\n\n" + uplink)
        return f"added to {path}: [uplink] and [uplink.tls]"
    wanted = tomllib.loads(uplink)["uplink"]
    found = raw["uplink"] if isinstance(raw["uplink"], dict) else {}
    if all(found.get(key) == value for key, value in wanted.items()):
        return f"{path}: leads there already"
    return f"{path} has an [uplink] of its own, which was left alone; it should say:\n\n{uplink}"


def _quoted(text: str | Path) -> str:
    """A TOML basic string: JSON writes strings in the same way."""
    return msgspec.json.encode(str(text)).decode()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > CONFIG_MAX_BYTES:
            raise ConfigError(path, [Problem(0, "", f"longer than {CONFIG_MAX_BYTES} bytes")])
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(path, [Problem(0, "", f"cannot be read ({error.strerror})")]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(path, [Problem(0, "", f"not TOML: {error}")]) from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode(), mode=path.stat().st_mode & 0o777 if path.exists() else 0o640)
    except OSError as error:
        what = f"cannot be written ({error.strerror}); the gateway is enrolled, run this again as who may write it"
        raise ConfigError(path, [Problem(0, "", what)]) from error


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError
