"""Lays out the demonstration's folder: the cloud's and the gateways' configurations, their keys, the people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from cloud.auth import people
from cloud.db.engine import migrate, writing
from cloud.keys import load_or_create
from cloud.registry import keys as gateway_keys
from cloud.registry import load as registry
from edge import keys as edge_keys

MARK = ".coldproof-demo"  # only a folder that carries it is ever emptied
COMMIT_WINDOW_MS = 250


class SiteError(RuntimeError):
    """The folder cannot be used."""


class SignIn(msgspec.Struct, frozen=True):
    """One way into the pages; made anew for every demonstration."""

    role: str
    login: str
    password: str


def prepare(folder: Path) -> None:
    """Make or empty the demonstration's folder. Refuses to touch one that is not ours."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise SiteError(f"{folder} holds something else; name an empty folder with --data")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def write_cloud(folder: Path, *, broker_port: int, web_port: int) -> Path:
    """The cloud's configuration file."""
    path = folder / "cloud.toml"
    path.write_text(
        f'[cloud]\ndata_dir = "cloud"\n\n[clock]\nsimulated = "time.json"\n\n'
        f"[broker]\nport = {broker_port}\n\n[web]\nport = {web_port}\n"
    )
    return path


def write_gateway(folder: Path, name: str, devices: Sequence[dict[str, object]], *, broker_port: int) -> Path:
    """One gateway's configuration file."""
    home = folder / name
    home.mkdir()
    head: dict[str, dict[str, object]] = {
        "gateway": {"name": name, "data_dir": "data"},
        "clock": {"simulated": "../time.json"},
        "uplink": {"host": "127.0.0.1", "port": broker_port, "cloud_key": "../cloud/cloud-public.json"},
        "buffer": {"commit_window_ms": COMMIT_WINDOW_MS},
        "seal": {"after_s": 1},
    }
    tables = [f"[{table}]\n{_assignments(values)}" for table, values in head.items()]
    tables += [f"[[device]]\n{_assignments(device)}" for device in devices]
    path = home / "gateway.toml"
    path.write_text("\n".join(tables))
    return path


def open_cloud(folder: Path, engine: Engine, registry_file: Path, now_ms: int) -> list[SignIn]:
    """Create the database, load the registry, make the keys and the people; returns how to sign in."""
    load_or_create(folder / "cloud")
    migrate(engine)
    sign_ins = [
        SignIn("operator", "vanhanh", people.new_password()),
        SignIn("official", "canbo", people.new_password()),
    ]
    names = {"operator": "Nhân viên vận hành (demo)", "official": "Cán bộ xem xét (demo)"}
    with writing(engine) as conn:
        registry.load(conn, registry.read_file(registry_file))
        for one in sign_ins:
            people.add_person(conn, one.login, names[one.role], one.role, one.password, now_ms)
    return sign_ins


def introduce_gateway(engine: Engine, home: Path, name: str, now_ms: int) -> None:
    """Make a gateway's key and hand its public half to the cloud."""
    edge_keys.load_or_make(home / "data", name, simulated=True)
    half = gateway_keys.read_public_half(home / "data" / edge_keys.PUBLIC_NAME)
    with writing(engine) as conn:
        gateway_keys.add_gateway(conn, half, now_ms)


def _assignments(values: Mapping[str, object]) -> str:
    """TOML lines; JSON writes strings, numbers, booleans and lists of them as TOML does."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
