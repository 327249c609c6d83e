"""A broker and the real cloud beside it, as processes, with the gateways of a load in its registry."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from sqlalchemy import Engine, func, select

from bench.broker import Mosquitto, Shipped
from bench.ingest.load import LoadFile
from bench.ingest.publisher import Told
from bench.port import is_well, quiet_port
from bench.process import Cost, cost
from cloud.clock import system_now_ms
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import leaf, pack
from cloud.enrol import authority as ca
from cloud.keys import load_or_create
from cloud.registry.keys import PublicHalf, add_gateway
from coldproof.demo.stage import Stage

READY_S = 60.0


class Site:
    """Cloud and broker for one run. shipped: the broker's configuration that we ship, with TLS; else plain loopback."""

    def __init__(self, folder: Path, *, shipped: bool = False, database_url: str | None = None) -> None:
        self.folder = folder
        self.data = folder / "cloud"
        self.data.mkdir(parents=True)
        self.shipped = shipped
        self.cloud_key = load_or_create(self.data).private.public_key().public_bytes_raw()
        self.broker: Mosquitto = Shipped(folder, self.data) if shipped else Mosquitto(folder)
        self.database_url = database_url or sqlite_url(self.data / "cloud.db")
        self.engine: Engine = open_engine(self.database_url)
        migrate(self.engine)
        self.stage = Stage(folder)
        self._web_port = quiet_port()
        self.config = self._write_config()

    def __enter__(self) -> Self:
        self.broker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stage.clear()
        self.broker.stop()
        self.engine.dispose()

    def admit(self, load: LoadFile) -> Path | None:
        """Put a load's gateways into the registry; the folder of their certificates, where the broker asks for them."""
        senders = load.heading.senders
        with writing(self.engine) as conn:
            for one in senders:
                add_gateway(conn, PublicHalf(one.name, one.public_key), system_now_ms())
        if not self.shipped:
            return None
        folder = self.folder / "links"
        folder.mkdir(exist_ok=True)
        authority = ca.load_or_create(self.data, system_now_ms())
        (folder / "ca.pem").write_bytes(authority.pem)
        for one in senders:
            key, lifetime = ca.new_key(), datetime.timedelta(days=90)
            made = ca.issue_client(authority, one.name, key.public_key(), now_ms=system_now_ms(), lifetime=lifetime)
            ca.write_key_and_certificate(folder / f"{one.name}.pem", key, made)
        return folder

    def start_cloud(self) -> int:
        """Start `coldproof cloud serve`, wait until it is well; its process id."""
        self.stage.start("cloud", "cloud", "serve", str(self.config))
        self.stage.wait_for("cloud", lambda: is_well(self._web_port), within_s=READY_S)
        return self.stage.pid("cloud")

    def stored(self) -> int:
        """Readings in the record."""
        with reading(self.engine) as conn:
            return int(conn.scalar(select(func.coalesce(func.sum(pack.c.observations), 0))) or 0)

    def leaves(self) -> int:
        """Leaves in the ledger."""
        with reading(self.engine) as conn:
            return int(conn.scalar(select(func.count()).select_from(leaf)) or 0)

    def publisher(self, file: Path, *words: str, tls: Path | None = None, sealed: bool = True) -> Publisher:
        """A publisher of a file, ready and waiting for `go`."""
        more = [*words, *([] if tls is None else ["--tls", str(tls)])]
        more += ["--cloud-key", self.cloud_key.hex()] if sealed else []
        return Publisher(file, self.broker.port, more)

    def compact(self) -> float:
        """Fold all that was taken in; the CPU seconds of it, without those of a start of the program."""
        spent = [self._run("cloud", "compact", "--config", str(self.config)) for _ in range(2)]
        return spent[0] - spent[1]  # the second one finds nothing to do

    def _run(self, *words: str) -> float:
        process = subprocess.Popen([sys.executable, "-m", "coldproof.main", *words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"coldproof {' '.join(words)} failed")
        return usage.ru_utime + usage.ru_stime

    def broker_cost(self) -> Cost:
        """Of mosquitto, so far."""
        return cost(self.broker.pid)

    def _write_config(self) -> Path:
        tables = f'[cloud]\ndata_dir = "cloud"\ndatabase_url = "{self.database_url}"\n'
        tables += f"[web]\nport = {self._web_port}\n"
        if isinstance(self.broker, Shipped):
            tables += self.broker.cloud_tables
        else:
            tables += f'[broker]\nhost = "127.0.0.1"\nport = {self.broker.port}\n'
        path = self.folder / "cloud.toml"
        path.write_text(tables)
        return path


class Publisher:
    """`bench.ingest.publisher` as a process."""

    def __init__(self, file: Path, port: int, words: list[str]) -> None:
        command = [sys.executable, "-m", "bench.ingest.publisher", str(file), str(port), "--wait", *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit("the publisher did not start")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None  # its costs stay to be read

    def go(self) -> None:
        """Begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait(self) -> tuple[Told, float]:
        """How it went, and the CPU seconds of the process."""
        assert self._process.stdout is not None
        with self._process.stdout as said:
            told = msgspec.json.decode(said.read(), type=Told)
        if self._process.stdin is not None:
            self._process.stdin.close()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return told, usage.ru_utime + usage.ru_stime

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
