"""Our own house under test: a real cloud and a real gateway, as processes, the way a site runs them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Engine, func, select

from bench.account import Kept
from bench.devices import GATEWAY, Channel, profile_file
from bench.system import Place
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import pack, tail
from cloud.keys import load_or_create
from cloud.registry import keys as gateway_keys
from cloud.telemetry.query import list_series, readings
from coldproof.demo.broker import free_port
from coldproof.demo.stage import Stage
from edge import keys as edge_keys
from wire.observation import MAX_TIME_MS, Quality

Tables = Mapping[str, Mapping[str, object]]

READY_S = 60.0
COMMIT_WINDOW_MS = 250


class House:
    """A System; `extra` overrides tables of the gateway's configuration, e.g. {"seal": {"after_s": 1}}."""

    name = "coldproof"

    def __init__(self, place: Place, *, extra: Tables | None = None) -> None:
        self._place = place
        self.folder = place.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stage = Stage(self.folder)
        self.engine: Engine = open_engine(sqlite_url(self.folder / "cloud" / "cloud.db"))
        self._web_port = free_port()
        self.cloud_file = self._write_cloud(place.broker_port)
        self.gateway_file = write_gateway(self.folder, place, extra or {})
        load_or_create(self.folder / "cloud")
        migrate(self.engine)
        self.introduce(self.data)

    @property
    def data(self) -> Path:
        """The gateway's data folder."""
        return self.folder / "data"

    def introduce(self, data: Path) -> None:
        """Make the gateway's key, and hand its public half to the cloud."""
        edge_keys.load_or_make(data, GATEWAY)
        half = gateway_keys.read_public_half(data / edge_keys.PUBLIC_NAME)
        with writing(self.engine) as conn:
            gateway_keys.add_gateway(conn, half, time.time_ns() // 1_000_000)

    def start(self) -> None:
        """Cloud first, then the gateway; return when every channel has come once."""
        self.start_cloud()
        self.start_gateway()
        if self._place.channels:
            self.stage.wait_for("the first readings", lambda: self.count() >= self._place.channels, within_s=READY_S)

    def start_cloud(self) -> None:
        """Start it, and wait until it is well."""
        self.stage.start("cloud", "cloud", "serve", str(self.cloud_file))
        self.stage.wait_for("cloud", self._is_well, within_s=READY_S)

    def start_gateway(self) -> None:
        """Start it; returns at once."""
        self.stage.start("gateway", "edge", "run", str(self.gateway_file))

    def kill_gateway(self) -> float:
        """SIGKILL."""
        return self.stage.kill("gateway")

    def stop_gateway(self) -> None:
        """SIGTERM, and wait."""
        self.stage.stop("gateway")

    def gateway_pid(self) -> int:
        """Of `coldproof edge run`."""
        return self.stage.pid("gateway")

    def storing_pid(self) -> int:
        """Of `coldproof cloud serve`."""
        return self.stage.pid("cloud")

    def check(self) -> None:
        """Raise StageError when cloud or gateway ended on its own."""
        self.stage.check()

    def count(self) -> int:
        """Readings in the record."""
        with reading(self.engine) as conn:
            found: int = conn.execute(select(func.coalesce(func.sum(tail.c.count), 0))).scalar_one()
            return found

    def stored(self) -> Mapping[Channel, list[Kept]]:
        """As the pages show them; rows that say only that a device is silent are no readings."""
        kept: dict[Channel, list[Kept]] = defaultdict(list)
        with reading(self.engine) as conn:
            for series in list_series(conn):
                rows = readings(conn, series.gateway, series.channel, 0, MAX_TIME_MS)
                kept[series.channel] += [
                    Kept(row.mantissa, row.observed_ms)
                    for row in rows
                    if row.mantissa is not None and row.quality != Quality.STALE
                ]
        return {channel: values for channel, values in kept.items() if values}

    def first_arrival_ms(self, since_ms: int) -> int | None:
        """When the cloud took the first pack at or after `since_ms`."""
        with reading(self.engine) as conn:
            return conn.execute(
                select(func.min(pack.c.received_ms)).where(pack.c.received_ms >= since_ms)
            ).scalar_one_or_none()

    def close(self) -> None:
        """End gateway and cloud."""
        self.stage.clear()
        self.engine.dispose()

    def _write_cloud(self, broker_port: int) -> Path:
        path = self.folder / "cloud.toml"
        path.write_text(
            f'[cloud]\ndata_dir = "cloud"\n[broker]\nport = {broker_port}\n[web]\nport = {self._web_port}\n'
        )
        return path

    def _is_well(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._web_port}/healthz", timeout=2):
                return True
        except (urllib.error.HTTPError, OSError):  # not up, or not connected to the broker yet
            return False


def write_gateway(folder: Path, place: Place, extra: Tables, *, data: str = "data", name: str = "gateway") -> Path:
    """A gateway's configuration. A device has 5 s to answer: on a busy machine none is lost on the way."""
    tables: dict[str, dict[str, object]] = {
        "gateway": {"name": GATEWAY, "data_dir": data},
        "uplink": {"host": "127.0.0.1", "port": place.uplink_port, "cloud_key": "cloud/cloud-public.json"},
        "buffer": {"commit_window_ms": COMMIT_WINDOW_MS},
    }
    for table, values in extra.items():
        tables.setdefault(table, {}).update(values)
    device = {
        "driver": "modbus",
        "interval_s": place.interval_s,
        "profile": str(profile_file(place.registers)),
        "host": "127.0.0.1",
        "unit_id": 1,
        "timeout_s": 5.0,
    }
    lines = [f"[{table}]\n{_assignments(values)}" for table, values in tables.items()]
    lines += [
        f"[[device]]\n{_assignments({**device, 'name': f'dev-{at}', 'tcp_port': port})}"
        for at, port in enumerate(place.ports)
    ]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _assignments(values: Mapping[str, object]) -> str:
    """TOML lines; JSON writes strings, numbers and booleans as TOML does."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
