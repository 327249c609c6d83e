"""A backup back into an empty place: taken apart, checked to the last byte, and only then put there.

Invariants: nothing is ever written over; the place holds all of a checked backup or nothing; what the file says is
believed only as far as its hashes, the database's own checks and the ledger bear it out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, select

from cloud.backup.manifest import (
    DATABASE,
    FILE_MAX_BYTES,
    FILES,
    MANIFEST,
    MANIFEST_MAX_BYTES,
    BackupError,
    Manifest,
    Member,
    decode,
    is_allowed,
)
from cloud.backup.writing import describe
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url
from cloud.durable import sync_folder
from cloud.ledger import log
from standards.tlog.tree import Frontier, leaf_hash

Tell = Callable[[float], None]
Finish = Callable[[Engine, Path], None]  # what is done in the new place before it gets its name

CHUNK_BYTES = 1024 * 1024
ROWS_AT_ONCE = 2_000
UNPACK_SHARE, CHECK_SHARE = 0.4, 0.2  # of the work; the rest is the ledger


class Checked(msgspec.Struct, frozen=True):
    """What the checks of a restore went through. pruned: packs whose bytes retention removed."""

    leaves: int
    packs: int
    pruned: int


def restore(file: Path, place: Path, *, finish: Finish, tell: Tell) -> tuple[Manifest, Checked]:
    """Restore the backup `file` into the folder `place`, which must be empty or not there. Raises BackupError."""
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BackupError(f"{place}: is not empty, and nothing is ever written over; name another folder")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _staging(place) as folder:
            manifest = unpack(file, folder, lambda share: tell(UNPACK_SHARE * share))
            checked = _check(folder, manifest, lambda share: tell(UNPACK_SHARE + (1 - UNPACK_SHARE) * share))
            engine = open_engine(sqlite_url(folder / DATABASE))
            try:
                finish(engine, folder)
            finally:
                engine.dispose()
            _put_in_place(folder, place)
    except OSError as error:
        raise BackupError(f"restore {file} to {place}: {error.strerror or error}; nothing was put there") from error
    tell(1.0)
    return manifest, checked


@contextmanager
def _staging(place: Path) -> Iterator[Path]:
    """A folder beside the place, removed unless it became the place."""
    folder = Path(tempfile.mkdtemp(prefix=f".{place.name}-restore-", dir=place.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unpack(file: Path, folder: Path, tell: Tell) -> Manifest:
    """Take a backup apart into `folder`; every byte is as its manifest says. Raises BackupError, OSError."""
    total = max(1, file.stat().st_size)
    found: dict[str, Member] = {}
    try:
        with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
            for info in tar:
                name = info.name
                if MANIFEST in found:
                    raise BackupError(
                        f"{file}: something comes behind the manifest; it was changed, use another backup"
                    )
                if info.type != tarfile.REGTYPE or name in found or not (name == MANIFEST or is_allowed(name)):
                    raise BackupError(f"{file}: {name[:100]!r} is nothing that a backup holds; use another backup")
                found[name] = _extract(tar, info, folder / name, lambda: tell(raw.tell() / total))
    except tarfile.TarError as error:
        raise BackupError(f"{file}: is no backup, or damaged ({error}); use another one") from error
    if MANIFEST not in found:
        raise BackupError(f"{file}: ends before its manifest: it is not whole, or no backup; use another one")
    manifest = decode((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).unlink()
    del found[MANIFEST]
    for one in manifest.members:
        if found.get(one.name) != one:
            raise BackupError(
                f"{file}: {one.name} is missing, or other bytes than when it was made; use another backup"
            )
    if len(found) != len(manifest.members):
        raise BackupError(f"{file}: holds files that its manifest does not name; it was changed, use another backup")
    _lay_out(folder)
    return manifest


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo, to: Path, told: Callable[[], None]) -> Member:
    most = {DATABASE: None, MANIFEST: MANIFEST_MAX_BYTES}.get(info.name, FILE_MAX_BYTES)
    if most is not None and info.size > most:
        raise BackupError(f"{info.name[:100]} has {info.size} bytes, at most {most} belong there; use another backup")
    source = tar.extractfile(info)
    assert source is not None, "a regular file has bytes"
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size_bytes = hashlib.sha256(), 0
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while part := source.read(CHUNK_BYTES):
            digest.update(part)
            size_bytes += len(part)
            file.write(part)
            told()
    return Member(info.name, size_bytes, digest.hexdigest())


def _lay_out(folder: Path) -> None:
    """What lay beside the database goes back beside it."""
    beside = folder / FILES
    for path in sorted(beside.glob("*")) if beside.exists() else ():
        path.rename(folder / path.name)
    if beside.exists():
        beside.rmdir()


def _check(folder: Path, manifest: Manifest, tell: Tell) -> Checked:
    """The database's own checks, and the ledger against every row it speaks of. Raises BackupError."""
    database = folder / DATABASE
    try:
        with closing(sqlite3.connect(database)) as conn:
            damages = [str(row[0]) for row in conn.execute("PRAGMA integrity_check(5)")]
            orphans = conn.execute("PRAGMA foreign_key_check").fetchmany(1)
    except sqlite3.Error as error:
        raise BackupError(f"{DATABASE}: {error}; the backup is damaged, use another one") from error
    if damages != ["ok"] or orphans:
        what = "; ".join(damages) if damages != ["ok"] else f"a row of {orphans[0][0]} refers to nothing"
        raise BackupError(f"{DATABASE}: {what}; the backup is damaged, use another one")
    tell(CHECK_SHARE)
    engine = open_engine(sqlite_url(database))
    try:
        with reading(engine) as connection:
            found = msgspec.structs.replace(describe(connection), made_ms=manifest.made_ms)
        if found != msgspec.structs.replace(manifest, members=[], with_keys=False):
            raise BackupError(f"{DATABASE}: is not what the manifest says of it; use another backup")
        migrate(engine)
        with reading(engine) as connection:
            return check_ledger(connection, lambda share: tell(CHECK_SHARE + (1 - CHECK_SHARE) * share))
    finally:
        engine.dispose()


def check_ledger(conn: Connection, tell: Tell) -> Checked:
    """The root again from all leaves, and each pack against its leaf. Raises BackupError at the first that differs."""
    head = log.head(conn)
    frontier, leaves = Frontier(), 0
    leaf = tables.leaf
    while rows := conn.execute(
        select(leaf).where(leaf.c.leaf_index >= leaves).order_by(leaf.c.leaf_index).limit(ROWS_AT_ONCE)
    ).all():
        if [row.leaf_index for row in rows] != list(range(leaves, leaves + len(rows))):
            raise BackupError(f"ledger: leaf {leaves} or one behind it is missing; use another backup")
        frontier = frontier.extend([leaf_hash(log.leaf_data(row.kind, row.hash)) for row in rows])
        leaves += len(rows)
        tell(0.3 * leaves / max(1, head.size))
    if (frontier.size, frontier.root()) != (head.size, head.root):
        raise BackupError("ledger: the leaves do not give the root that is stored; use another backup")
    packs, pruned = _check_packs(conn, lambda share: tell(0.3 + 0.7 * share))
    return Checked(leaves, packs, pruned)


def _check_packs(conn: Connection, tell: Tell) -> tuple[int, int]:
    pack, leaf, tombstone = tables.pack, tables.leaf, tables.tombstone
    query = (
        select(
            pack.c.id, pack.c.hash, pack.c.envelope, leaf.c.hash.label("in_ledger"), tombstone.c.hash.label("removed")
        )
        .join_from(pack, leaf, leaf.c.leaf_index == pack.c.leaf_index, isouter=True)
        .join(tombstone, tombstone.c.leaf_index == pack.c.leaf_index, isouter=True)
        .order_by(pack.c.id)
        .limit(ROWS_AT_ONCE)
    )
    last = conn.scalar(select(pack.c.id).order_by(pack.c.id.desc()).limit(1)) or 1
    packs, pruned, after = 0, 0, 0
    while rows := conn.execute(query.where(pack.c.id > after)).all():
        for row in rows:
            removed = row.removed == row.hash and not row.envelope
            if row.hash != row.in_ledger or not (removed or hashlib.sha256(row.envelope).digest() == row.hash):
                raise BackupError(f"pack {row.id}: its bytes are not those in the ledger; use another backup")
            pruned += removed
        packs, after = packs + len(rows), rows[-1].id
        tell(after / last)
    return packs, pruned


def _put_in_place(folder: Path, place: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
    folder.rename(place)  # over an empty folder, too; never over one that holds something
    sync_folder(place.parent)
