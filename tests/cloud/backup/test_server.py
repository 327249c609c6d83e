"""A record on a PostgreSQL server: the command says plainly what to run, and that works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bench.postgres import Server, programs
from cloud.backup import writing
from cloud.backup.manifest import BackupError
from cloud.backup.reading import check_ledger
from cloud.db import tables
from cloud.db.engine import open_engine, reading
from cloud.db.engine import writing as write
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway


def test_what_it_says_to_run_backs_up_and_restores(
    postgres: Server, migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = (programs() / "initdb").resolve().parent
    if not (tools / "pg_dump").exists():
        pytest.skip(f"not tested: pg_dump is not in {tools}")
    name = postgres.create(migrated_database)
    engine = open_engine(postgres.url(name))
    gateway = Gateway("gw-kho-01")
    with write(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in gateway.chain(5)])
    with pytest.raises(BackupError) as caught:
        writing.write(engine, tmp_path, tmp_path / "one.dump", now_ms=1, keys=True, tell=lambda _share: None)
    engine.dispose()
    said = re.search(r"`(pg_dump .+?)`", str(caught.value))
    assert said is not None, str(caught.value)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    subprocess.run(shlex.split(said[1]), check=True, timeout=60)
    empty = postgres.create()
    restored = postgres.url(empty)
    subprocess.run(
        ["pg_restore", "--no-owner", f"--dbname={restored.replace('postgresql+psycopg', 'postgresql')}",
         str(tmp_path / "one.dump")],
        check=True, timeout=60,
    )  # fmt: skip
    again = open_engine(restored)
    with reading(again) as conn:
        assert conn.scalar(select(func.count()).select_from(tables.pack)) == 5
        assert check_ledger(conn, lambda _share: None).packs == 5
    again.dispose()
    postgres.drop(name)
    postgres.drop(empty)
