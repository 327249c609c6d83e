"""Backups: one moment of a database that is written to, whole or not there, and back to the last byte or refused."""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from cloud.backup import reading as backup_reading
from cloud.backup import writing as backup_writing
from cloud.backup.manifest import DATABASE, MANIFEST, BackupError, Manifest
from cloud.backup.writing import PARTIAL
from cloud.db import tables
from cloud.db.engine import open_engine, reading, sqlite_url
from cloud.ingest.record import Arrival, record
from cloud.keys import PRIVATE_FILE, load_or_create
from cloud.ledger import log
from tests.cloud.field import START_MS, Gateway

NOW_MS = START_MS + 10**9


def _quiet(_share: float) -> None:
    pass


def _write(engine: Engine, tmp_path: Path, name: str = "one.backup", *, keys: bool = True) -> Manifest:
    return backup_writing.write(engine, tmp_path, tmp_path / name, now_ms=NOW_MS, keys=keys, tell=_quiet)


def _restore(file: Path, place: Path) -> Manifest:
    return backup_reading.restore(file, place, finish=lambda _engine, _folder: None, tell=_quiet)[0]


@pytest.fixture
def cloud(engine: Engine, gateway: Gateway, tmp_path: Path) -> Engine:
    """A cloud with a key, a worker's certificate and nine packs."""
    load_or_create(tmp_path)
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / "ingest.1.pem").write_text("certificate")
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in gateway.chain(9)])
    return engine


def test_what_was_backed_up_comes_back(cloud: Engine, tmp_path: Path) -> None:
    made = _write(cloud, tmp_path)
    assert (made.packs, made.gateways, made.newest_pack_ms) == (9, 1, START_MS)
    assert (tmp_path / "one.backup").stat().st_mode & 0o777 == 0o600
    place = tmp_path / "new" / "data"
    assert _restore(tmp_path / "one.backup", place) == made
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == [
        "cloud-key.pem", "cloud-public.json", "cloud.db", "ingest", "ingest/ingest.1.pem",
    ]  # fmt: skip
    assert (place / PRIVATE_FILE).read_bytes() == (tmp_path / PRIVATE_FILE).read_bytes()
    assert {path.stat().st_mode & 0o077 for path in place.rglob("*")} == {0}
    with sqlite3.connect(place / "cloud.db") as there, sqlite3.connect(tmp_path / "cloud.db") as here:
        assert list(there.iterdump()) == list(here.iterdump())


def test_backup_without_keys_holds_no_secret(cloud: Engine, tmp_path: Path) -> None:
    made = _write(cloud, tmp_path, keys=False)
    assert [one.name for one in made.members] == [DATABASE]
    assert b"PRIVATE KEY" not in (tmp_path / "one.backup").read_bytes()


def test_copy_is_one_moment_while_ingest_goes_on(cloud: Engine, gateway: Gateway, tmp_path: Path, monkeypatch) -> None:
    """Every step of the copy has new commits beside it; the copy stops at what was there when it began."""
    monkeypatch.setattr(backup_writing, "PAGES_AT_ONCE", 2)
    envelopes = iter(gateway.chain(400)[9:])
    steps = 0

    def tell(_share: float) -> None:
        nonlocal steps
        steps += 1
        other = open_engine(sqlite_url(tmp_path / "cloud.db"))
        record(other, [Arrival(gateway.topic, next(envelopes), START_MS + 1)])
        other.dispose()

    made = backup_writing.write(cloud, tmp_path, tmp_path / "one.backup", now_ms=NOW_MS, keys=True, tell=tell)
    assert steps > 10, "else nothing happened meanwhile"
    assert made.packs == 9
    assert _restore(tmp_path / "one.backup", tmp_path / "new").packs == 9
    with reading(cloud) as conn:
        assert (conn.scalar(select(func.count()).select_from(tables.pack)) or 0) > 9 + 10


def test_ingest_is_never_kept_waiting(cloud: Engine, gateway: Gateway, tmp_path: Path) -> None:
    """A thread that commits as fast as it can, while backups are made one after the other."""
    stop, begun, slowest_s = threading.Event(), threading.Event(), 0.0
    envelopes = gateway.chain(400)[9:]

    def ingest() -> None:
        nonlocal slowest_s
        for envelope in envelopes:
            if stop.is_set():
                return
            began_s = time.monotonic()
            record(cloud, [Arrival(gateway.topic, envelope, START_MS)])
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            begun.set()

    thread = threading.Thread(target=ingest)
    thread.start()
    try:
        assert begun.wait(10)
        for at in range(5):
            _write(cloud, tmp_path, f"{at}.backup")
    finally:
        stop.set()
        thread.join()
    assert slowest_s < 5, "longer than a busy disk, shorter than the lock's patience"
    counts = [_restore(tmp_path / f"{at}.backup", tmp_path / f"new-{at}").packs for at in range(5)]
    assert counts == sorted(counts)
    assert counts[0] > 9


def test_database_on_a_server_is_left_to_the_tools_of_the_server(tmp_path: Path) -> None:
    server = open_engine("postgresql://u@127.0.0.1:1/d")
    with pytest.raises(BackupError, match="pg_dump"):
        backup_writing.write(server, tmp_path, tmp_path / "b.tar", now_ms=1, keys=True, tell=lambda _share: None)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_never_replaced(cloud: Engine, tmp_path: Path) -> None:
    (tmp_path / "one.backup").write_text("precious")
    with pytest.raises(BackupError, match="never replaced"):
        _write(cloud, tmp_path)
    assert (tmp_path / "one.backup").read_text() == "precious"


def test_place_that_is_not_empty_is_refused(cloud: Engine, tmp_path: Path) -> None:
    _write(cloud, tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("precious")
    with pytest.raises(BackupError, match="is not empty"):
        _restore(tmp_path / "one.backup", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


KILLED = """
import os, sys
from pathlib import Path
from cloud.backup import writing
from cloud.db.engine import open_engine, sqlite_url
folder, at = Path(sys.argv[1]), int(sys.argv[2])
steps = 0
def step(*_):
    global steps
    steps += 1
    if steps > at:
        os._exit(9)
writing.PAGES_AT_ONCE = 8
for name in ("_add", "_put_in_place", "_info"):
    whole = getattr(writing, name)
    setattr(writing, name, lambda *given, whole=whole: (step(), whole(*given))[1])
engine = open_engine(sqlite_url(folder / "cloud.db"))
writing.write(engine, folder, folder / "out" / "one.backup", now_ms=1, keys=True, tell=step)
"""


@pytest.mark.parametrize("at", [0, 3, 10, 20, 24, 28, 30, 31, 32, 33])
def test_backup_that_is_killed_leaves_no_file_and_the_next_one_clears_up(
    cloud: Engine, tmp_path: Path, at: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(at)], check=False, timeout=30)
    if ended.returncode == 0:
        pytest.fail(f"there are fewer than {at} steps: nothing was killed")
    assert ended.returncode == 9
    left = [path.name for path in out.iterdir()]
    assert [name for name in left if not name.startswith(PARTIAL)] == []
    assert left != []
    _write(cloud, tmp_path, "out/two.backup")
    assert [path.name for path in out.iterdir()] == ["two.backup"]


def test_disk_that_fills_up_is_a_clear_error(cloud: Engine, tmp_path: Path) -> None:
    """In a process whose files may not grow beyond a limit: the same way the kernel says that a disk is full."""
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from typer.testing import CliRunner\n"
        "from coldproof.cloud_command import app\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "folder = Path(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "out = CliRunner().invoke(app, ['backup', str(folder / 'full.backup'), '--data-dir', str(folder)])\n"
        "print(out.output)\n"
        "sys.exit(out.exit_code)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=False, timeout=30, capture_output=True, text=True
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "error: backup " in ended.stdout
    assert "nothing was left there" in ended.stdout
    assert [path.name for path in tmp_path.iterdir() if "full" in path.name or path.name.startswith(PARTIAL)] == []


def test_too_little_room_is_said_before_anything_is_written(cloud: Engine, tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(backup_writing.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(BackupError, match="1 MB are free, and two copies of the database"):
        _write(cloud, tmp_path)


def _change(file: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Take a backup apart, change its members, and write it again: as somebody who can write tar files would."""
    with tarfile.open(file) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(file, "w") as tar:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))


def _moved_to_the_end(members: dict[str, bytes], name: str) -> None:
    members[name] = members.pop(name)


HOSTILE: dict[str, Callable[[dict[str, bytes]], object]] = {
    "key exchanged": lambda m: m.update({"files/cloud-key.pem": b"another"}),
    "member missing": lambda m: m.pop("files/cloud-key.pem"),
    "member added": lambda m: (m.update({"files/extra.pem": b"x"}), _moved_to_the_end(m, MANIFEST)),
    "no manifest": lambda m: m.pop(MANIFEST),
    "manifest not last": lambda m: _moved_to_the_end(m, DATABASE),
    "manifest no JSON": lambda m: m.update({MANIFEST: b"\xff{"}),
    "manifest of tomorrow": lambda m: m.update({MANIFEST: m[MANIFEST].replace(b"backup/1", b"backup/2")}),
    "way out": lambda m: (m.update({"files/../../evil": b"x"}), _moved_to_the_end(m, MANIFEST)),
    "absolute": lambda m: (m.update({"/tmp/evil": b"x"}), _moved_to_the_end(m, MANIFEST)),
    "hidden": lambda m: (m.update({"files/.evil": b"x"}), _moved_to_the_end(m, MANIFEST)),
    "huge key": lambda m: (m.update({"files/big.pem": bytes(2**20 + 1)}), _moved_to_the_end(m, MANIFEST)),
    "fewer packs than said": lambda m: m.update({MANIFEST: m[MANIFEST].replace(b'"packs": 9', b'"packs": 8')}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_changed_backup_is_refused_and_nothing_is_put_there(cloud: Engine, tmp_path: Path, what: str) -> None:
    _write(cloud, tmp_path)
    _change(tmp_path / "one.backup", lambda members: HOSTILE[what](members) and None)
    with pytest.raises(BackupError):
        _restore(tmp_path / "one.backup", tmp_path / "there" / "new")
    assert list((tmp_path / "there").iterdir()) == []


def test_link_in_a_backup_is_refused(cloud: Engine, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "one.backup", "w") as tar:
        info = tarfile.TarInfo("files/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(BackupError, match="nothing that a backup holds"):
        _restore(tmp_path / "one.backup", tmp_path / "new")


def test_any_place_where_a_file_was_cut_off_is_noticed(cloud: Engine, tmp_path: Path) -> None:
    _write(cloud, tmp_path)
    whole = (tmp_path / "one.backup").read_bytes()
    (tmp_path / "there").mkdir()
    end = whole.rindex(b"\n}") if b"\n}" in whole else len(whole)
    for at in [0, 1, 511, 512, 513, *range(1024, end, end // 25)]:
        (tmp_path / "cut.backup").write_bytes(whole[:at])
        with pytest.raises(BackupError):
            _restore(tmp_path / "cut.backup", tmp_path / "there" / "new")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE leaf SET hash = zeroblob(32) WHERE leaf_index = 3",
        "UPDATE leaf SET kind = 'event' WHERE leaf_index = 3",
        "DELETE FROM leaf WHERE leaf_index = 3",
        "UPDATE pack SET envelope = x'00' WHERE seq = 4",
        "UPDATE pack SET envelope = x'' WHERE seq = 4",
        "UPDATE pack SET hash = zeroblob(32) WHERE seq = 4",
        "DELETE FROM settled; DELETE FROM pack WHERE seq = 4",
    ],
)
def test_record_that_contradicts_its_ledger_is_refused(cloud: Engine, tmp_path: Path, damage: str) -> None:
    """The database was changed before the backup was made: every hash of the file holds."""
    with sqlite3.connect(tmp_path / "cloud.db") as conn:
        conn.executescript(damage)
    _write(cloud, tmp_path)
    with pytest.raises(BackupError, match="use another"):
        _restore(tmp_path / "one.backup", tmp_path / "new")


def test_backup_of_an_older_schema_is_brought_up_to_date(cloud: Engine, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    saved = Path(__file__).parents[1] / "db" / "saved" / "0005.sql"
    with sqlite3.connect(old / "cloud.db") as conn:
        conn.executescript(saved.read_text(encoding="utf-8"))
    opened = open_engine(sqlite_url(old / "cloud.db"))
    made = backup_writing.write(opened, old, tmp_path / "old.backup", now_ms=NOW_MS, keys=True, tell=_quiet)
    opened.dispose()
    assert made.revision == "0005"
    _restore(tmp_path / "old.backup", tmp_path / "new")
    restored = open_engine(sqlite_url(tmp_path / "new" / "cloud.db"))
    with reading(restored) as conn:
        assert log.head(conn).root.hex() == made.ledger_root
        assert conn.scalar(select(func.count()).select_from(tables.tombstone)) == 0
    restored.dispose()
