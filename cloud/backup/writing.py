"""A backup of a running cloud: one moment of the database, the keys beside it, in one file that is whole or not there.

The copy is made by SQLite's own means inside one read transaction: ingest goes on, and what it commits meanwhile is not
in the copy. Invariants: nothing lies under the final name before all of it is on the disk; an existing file is never
replaced; a backup is for its owner's eyes only; what a backup that was killed left behind, the next one removes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import msgspec
from sqlalchemy import Connection, Engine, func, select, text

from cloud.backup.manifest import (
    DATABASE,
    FILE_MAX_BYTES,
    FILES,
    FILES_MAX,
    FORMAT,
    MANIFEST,
    SUFFIX,
    BackupError,
    Manifest,
    Member,
    is_allowed,
)
from cloud.db import tables
from cloud.db.engine import is_one_file, open_engine, reading, sqlite_url
from cloud.durable import sync_folder
from cloud.ledger import log

Tell = Callable[[float], None]

PARTIAL = ".coldproof-backup-"
PAGES_AT_ONCE = 2_048  # 8 MiB between two words of progress
SPARE_BYTES = 16 * 1024 * 1024
NO_KEYS = (".db", ".db-wal", ".db-shm", ".db-journal", SUFFIX)  # ends of names of what is no key, however small
COPY_SHARE = 0.6  # of the work; the rest is writing the tar


def write(engine: Engine, data_dir: Path, target: Path, *, now_ms: int, keys: bool, tell: Tell) -> Manifest:
    """Back up into the file `target`, which must not exist; its folder must. keys: with the secrets in the data folder.

    Needs room for two copies of the database in the folder, one of them for a moment. Raises BackupError.
    """
    if not is_one_file(engine):
        place = engine.url.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql")
        raise BackupError(
            f"backup: the database is on a server, which has tools of its own: run `pg_dump --format=custom "
            f"--file={target} '{place}'`, and copy the keys in {data_dir} (docs/operations.md)"
        )
    if target.exists():
        raise BackupError(f"{target}: is there already, and a backup is never replaced; choose another name")
    try:
        with _workshop(target.parent) as folder:
            _require_room(engine, folder)
            copied = folder / DATABASE
            _copy_database(engine, copied, tell)
            beside = _beside(data_dir) if keys else []
            written = folder / MANIFEST
            manifest = _write_tar(written, copied, beside, now_ms=now_ms, keys=keys, tell=tell)
            _put_in_place(written, target)
    except OSError as error:
        raise BackupError(f"backup {target}: {error.strerror}{_hint(error.errno)}; nothing was left there") from error
    except sqlite3.Error as error:
        raise BackupError(f"backup {target}: {error}; nothing was left there, look at the disk") from error
    tell(1.0)
    return manifest


def _hint(number: int | None) -> str:
    return " (it needs room for two copies of the database)" if number == errno.ENOSPC else ""


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder of our own inside `folder`, locked while we live; those whose owners are dead are removed."""
    for old in folder.glob(f"{PARTIAL}*"):
        with _locked(old) as free:
            if free:
                shutil.rmtree(old, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    try:
        with _locked(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock; False when somebody else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _require_room(engine: Engine, folder: Path) -> None:
    file = Path(str(engine.url.database))
    wal = file.with_name(file.name + "-wal")
    size_bytes = file.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < 2 * size_bytes + SPARE_BYTES:
        raise BackupError(
            f"backup in {folder.parent}: {free_bytes / 1e6:.0f} MB are free, and two copies of the database "
            f"({size_bytes / 1e6:.0f} MB each) must fit for a moment; make room, or choose another folder"
        )


def _copy_database(engine: Engine, copied: Path, tell: Tell) -> None:
    """One moment of the database: the read transaction holds it, however long the copy takes."""
    os.close(os.open(copied, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(_connect(Path(str(engine.url.database)))) as source, closing(_connect(copied)) as copy:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        copy.execute("PRAGMA synchronous = OFF")  # it is synced as a whole, below
        copy.execute("PRAGMA journal_mode = OFF")

        def told(_status: int, left: int, total: int) -> None:
            tell(COPY_SHARE * (total - left) / max(1, total))

        source.backup(copy, pages=PAGES_AT_ONCE, progress=told)
        source.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=10, isolation_level=None)


def _beside(data_dir: Path) -> list[tuple[str, Path]]:
    """What lies in the data folder and one folder below beside the database: keys, certificates, the public half.

    What cannot be a key is left out: databases, hidden files, and what is larger than FILE_MAX_BYTES.
    """
    found = []
    for path in sorted([*data_dir.glob("*"), *(one for one in data_dir.glob("*/*") if not one.parent.is_symlink())]):
        name = FILES + path.relative_to(data_dir).as_posix()
        if path.is_symlink() or not path.is_file() or path.name.endswith(NO_KEYS) or not is_allowed(name):
            continue
        if path.stat().st_size <= FILE_MAX_BYTES:
            found.append((name, path))
    if len(found) > FILES_MAX:
        raise BackupError(f"{data_dir}: {len(found)} files beside the database, at most {FILES_MAX} are backed up")
    return found


def _write_tar(
    written: Path, copied: Path, beside: list[tuple[str, Path]], *, now_ms: int, keys: bool, tell: Tell
) -> Manifest:
    engine = open_engine(sqlite_url(copied))
    with reading(engine) as conn:
        described = describe(conn)
    engine.dispose()
    total = copied.stat().st_size
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            members = [_add(tar, name, path, now_ms, lambda _done: None) for name, path in beside]
            left = 1 - COPY_SHARE
            members.append(_add(tar, DATABASE, copied, now_ms, lambda done: tell(COPY_SHARE + left * done / total)))
            manifest = msgspec.structs.replace(described, made_ms=now_ms, with_keys=keys, members=members)
            raw = msgspec.json.format(msgspec.json.encode(manifest))
            tar.addfile(_info(MANIFEST, len(raw), now_ms), io.BytesIO(raw))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def describe(conn: Connection) -> Manifest:
    """What this database holds, as a manifest without members."""
    head = log.head(conn)
    newest = conn.scalar(select(func.max(tables.pack.c.received_ms)))
    return Manifest(
        format=FORMAT,
        made_ms=0,
        revision=str(conn.scalar(text("SELECT version_num FROM alembic_version"))),
        ledger_size=head.size,
        ledger_root=head.root.hex(),
        packs=int(conn.scalar(select(func.count()).select_from(tables.pack)) or 0),
        gateways=int(conn.scalar(select(func.count()).select_from(tables.gateway)) or 0),
        newest_pack_ms=newest,
        with_keys=False,
        members=[],
    )


class _Hashing:
    """A file that is read once, hashed and counted on the way. Read by tarfile."""

    def __init__(self, file: IO[bytes], tell: Tell) -> None:
        self._file = file
        self._tell = tell
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size_bytes: int) -> bytes:
        part = self._file.read(size_bytes)
        self.digest.update(part)
        self.size_bytes += len(part)
        self._tell(self.size_bytes)
        return part


def _add(tar: tarfile.TarFile, name: str, path: Path, now_ms: int, tell: Tell) -> Member:
    with path.open("rb") as file:
        hashing = _Hashing(file, tell)
        info = _info(name, os.fstat(file.fileno()).st_size, now_ms)
        tar.addfile(info, hashing)  # type: ignore[arg-type]  # it reads, and that is all
    return Member(name, hashing.size_bytes, hashing.digest.hexdigest())


def _info(name: str, size_bytes: int, now_ms: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size_bytes, 0o600, now_ms // 1000
    return info


def _put_in_place(written: Path, target: Path) -> None:
    """Give the file its name: all of it, or nothing, and never over another file."""
    try:
        os.link(written, target)
    except FileExistsError as error:
        raise BackupError(f"{target}: somebody put a file there meanwhile; choose another name") from error
    sync_folder(target.parent)
