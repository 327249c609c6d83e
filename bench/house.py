"""Our own house under test: a real cloud and a real gateway, as processes, the way a site runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Engine, distinct, func, select

from bench.account import Kept
from bench.counting import GATEWAY, Channel, profile_file
from bench.port import is_well, quiet_port
from bench.system import Place
from cloud.db.engine import migrate, open_engine, reading, sqlite_url
from cloud.db.tables import correction, declared_loss, pack
from cloud.keys import load_or_create
from cloud.telemetry.query import count, list_series, readings
from coldproof.demo.stage import Stage, StageError
from edge.enrol import CLOUD, LINK, TRUST
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
        self._web_port = quiet_port()
        self.cloud_file = self._write_cloud()
        self._extra = extra or {}
        load_or_create(self.folder / "cloud")
        migrate(self.engine)
        self._gateway_file = write_gateway(self.folder, place, self._extra)

    @property
    def data(self) -> Path:
        """The gateway's data folder."""
        return self.folder / "data"

    def start(self) -> None:
        """Cloud first, the gateway enrolled and started; return when every channel has come once."""
        self.start_cloud()
        self.enrol()
        self.start_gateway()
        if self._place.channels:
            self.stage.wait_for("the first readings", lambda: self.count() >= self._place.channels, within_s=READY_S)

    def start_cloud(self) -> None:
        """Start it, and wait until it is well."""
        self.stage.start("cloud", "cloud", "serve", str(self.cloud_file))
        self.stage.wait_for("cloud", lambda: is_well(self._web_port), within_s=READY_S)

    def enrol(self) -> None:
        """As an installer does it: a one-time code from the cloud, and `coldproof edge enrol` at the gateway."""
        code = _run("cloud", "gateway", "invite", GATEWAY, "--config", str(self.cloud_file)).strip()
        _run("edge", "enrol", code, "--config", str(self._gateway_file))

    def start_gateway(self) -> None:
        """Start it; returns at once."""
        self.start_gateway_on("gateway")

    def start_gateway_on(self, name: str) -> None:
        """Start a gateway as process `name`, on the data folder of that name (see `data_of`)."""
        path = self.folder / f"{name}.toml"
        if not path.exists():
            path = write_gateway(self.folder, self._place, self._extra, data=self.data_of(name).name, name=name)
        self.stage.start(name, "edge", "run", str(path))

    def data_of(self, name: str) -> Path:
        """Where the gateway process `name` keeps its data."""
        return self.data if name == "gateway" else self.folder / name

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
            return count(conn)

    def stored(self) -> Mapping[Channel, list[Kept]]:
        """As the pages show them; rows that say only that a device is silent are no readings."""
        kept: dict[Channel, list[Kept]] = defaultdict(list)
        with reading(self.engine) as conn:
            for series in list_series(conn):
                if not series.channel.startswith("dev-"):
                    continue  # what the gateway says of itself
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

    def ages_s(self, from_ms: int, until_ms: int) -> list[float]:
        """How old the oldest reading of each pack was when it was stored; of what was observed in [from, until)."""
        oldest: dict[int, tuple[int, int]] = {}  # pack → when it was observed, when it was received
        with reading(self.engine) as conn:
            for one in list_series(conn):
                for row in readings(conn, one.gateway, one.channel, 0, MAX_TIME_MS):
                    seen = row.observed_ms, row.received_ms
                    oldest[row.pack_id] = min(seen, oldest.get(row.pack_id, seen))
        return [(received - at) / 1000 for at, received in oldest.values() if from_ms <= at < until_ms]

    def losses(self) -> list[str]:
        """The reasons of the losses that gateways declared, as the cloud shows them."""
        with reading(self.engine) as conn:
            return list(conn.execute(select(declared_loss.c.reason)).scalars().all())

    def corrections(self) -> int:
        """How many corrections of the clock the cloud knows."""
        with reading(self.engine) as conn:
            return conn.execute(select(func.count()).select_from(correction)).scalar_one()

    def streams(self) -> int:
        """How many streams the gateways of this house have written."""
        with reading(self.engine) as conn:
            return conn.execute(select(func.count(distinct(pack.c.stream)))).scalar_one()

    def restore_cloud(self, backup: Path) -> None:
        """Put the stopped cloud's data folder back from a copy."""
        self.engine.dispose()
        shutil.rmtree(self.folder / "cloud")
        shutil.copytree(backup, self.folder / "cloud")

    def _write_cloud(self) -> Path:
        tables: dict[str, dict[str, object]] = {
            "cloud": {"data_dir": "cloud", "public_url": f"http://127.0.0.1:{self._web_port}"},
            "web": {"port": self._web_port},
            "enrol": {"broker_host": "127.0.0.1", "broker_port": self._place.uplink_port},
        }
        if self._place.time_file is not None:
            tables["clock"] = {"simulated": str(self._place.time_file)}
        path = self.folder / "cloud.toml"
        path.write_text(_toml(tables) + self._place.cloud_tables)
        return path


def write_gateway(folder: Path, place: Place, extra: Tables, *, data: str = "data", name: str = "gateway") -> Path:
    """A gateway's configuration. A device has 5 s to answer: on a busy machine none is lost on the way."""
    home = folder / data
    link = str(home / LINK)
    tables: dict[str, dict[str, object]] = {
        "gateway": {"name": GATEWAY, "data_dir": data},
        "uplink": {"host": "127.0.0.1", "port": place.uplink_port, "cloud_key": str(home / CLOUD)},
        "uplink.tls": {"ca": str(home / TRUST), "certificate": link, "key": link},
        "buffer": {"commit_window_ms": COMMIT_WINDOW_MS},
    }
    if place.time_file is not None:
        tables["clock"] = {"simulated": str(place.time_file)}
    for table, values in extra.items():
        tables.setdefault(table, {}).update(values)
    device = {
        "driver": "modbus",
        "interval_s": place.interval_s,
        "profile": str(profile_file(place.registers)),
        "host": "127.0.0.1",
        "timeout_s": 5.0,
    }
    devices = [
        f"[[device]]\n{_assignments({**device, 'name': f'dev-{at}', 'tcp_port': one.port, 'unit_id': one.unit_id})}"
        for at, one in enumerate(place.devices, start=place.first_device)
    ]
    path = folder / f"{name}.toml"
    path.write_text(_toml(tables) + "\n".join(devices), encoding="utf-8")
    return path


def _toml(tables: Tables) -> str:
    return "".join(f"[{table}]\n{_assignments(values)}\n" for table, values in tables.items())


def _assignments(values: Mapping[str, object]) -> str:
    """TOML lines; JSON writes strings, numbers and booleans as TOML does."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _run(*words: str) -> str:
    """What a `coldproof` command prints. Raises StageError with what it complains about."""
    done = subprocess.run([sys.executable, "-m", "coldproof.main", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"`coldproof {' '.join(words[:3])}` failed: {done.stderr.strip()}")
    return done.stdout
