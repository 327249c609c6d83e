"""What stands beside the leaves: rows that name leaves which are not there, refused messages, conflicts, the chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, and_, exists, func, or_, select

from cloud.db import tables
from cloud.fsck.divergence import Book
from cloud.fsck.recorded import body_object
from cloud.ingest.finding import CHAIN_BROKEN, KEPT_MAX
from cloud.ledger.epoch import epochs
from cloud.ledger.keys import known

FILE_DAMAGES = 10  # more of them say no more
PAGE = 100  # rows with bytes that are read at once: 25 MiB at most

#: Every column that names a leaf.
LEAF_COLUMNS: tuple[Column[Any], ...] = (
    tables.pack.c.leaf_index,
    tables.event.c.leaf_index,
    tables.evidence_version.c.leaf_index,
    tables.decision.c.leaf_index,
    tables.revocation.c.leaf_index,
    tables.hold.c.leaf_index,
    tables.hold.c.release_leaf_index,
    tables.pruning.c.leaf_index,
    tables.ledger_epoch.c.leaf_index,
    tables.ledger_key.c.leaf_index,
    tables.tombstone.c.leaf_index,
)


def check_file(conn: Connection, book: Book) -> None:
    """The structure of an SQLite file, which sound rows may hide; a server looks after its own."""
    if conn.dialect.name == "sqlite":
        for said in conn.exec_driver_sql(f"PRAGMA quick_check({FILE_DAMAGES})").scalars():
            book.require("database file", "SQLite's check of its structure", "ok", said)


def check_leaf_columns(conn: Connection, book: Book, size: int) -> None:
    """No row names a leaf beyond the log."""
    for column in LEAF_COLUMNS:
        beyond = conn.execute(select(func.count(), func.min(column)).where(or_(column >= size, column < 0))).one()
        if beyond[0]:
            where = f"{column.table.name}: {beyond[0]} rows"
            book.note(where, expected=f"leaves below {size}", found=f"leaf {beyond[1]}, which is not in the log")


def check_vouched(conn: Connection, book: Book) -> None:
    """Nobody vouches for a checkpoint that is not there."""
    for table in (tables.cosignature, tables.time_stamp):
        signed = exists().where(tables.checkpoint.c.size == table.c.size)
        for size in conn.scalars(select(table.c.size).where(~signed).distinct().order_by(table.c.size)):
            book.note(f"checkpoint of {size} leaves", expected=f"a row, for there is its {table.name}", found="none")


def check_removed(conn: Connection, book: Book) -> None:
    """No bytes are said to be removed by a pruning that is not there; holds are numbered in the order of their leaves.

    The words that end holds name them by number.
    """
    tombstone, hold, later = tables.tombstone, tables.hold, tables.hold.alias("later")
    done = exists().where(tables.pruning.c.id == tombstone.c.pruning_id)
    for index in conn.scalars(select(tombstone.c.leaf_index).where(~done).order_by(tombstone.c.leaf_index)):
        book.note(f"tombstone of leaf {index}", expected="the pruning that it names", found="no such row")
    before = and_(later.c.id > hold.c.id, later.c.leaf_index < hold.c.leaf_index)
    for number in conn.scalars(select(hold.c.id).where(exists().where(before)).order_by(hold.c.id)):
        book.note(f"hold {number}", expected="a leaf before those of higher numbers", found="one behind")


def check_signers(conn: Connection, book: Book) -> None:
    """Only the first key and epoch have no leaf, and an epoch that is still to be opened; keys end when leaves say."""
    for epoch in epochs(conn)[1:-1]:
        if epoch.leaf_index is None:
            book.note(f"epoch {epoch.number}", expected="a leaf that opens it", found="none")
    ends_ms: int | None = None
    for at, key in reversed(list(enumerate(known(conn)))):
        name = f"ledger key {key.number}"
        book.require(name, "its end in ms, by the leaves of later keys,", ends_ms, key.ends_ms)
        if at and key.leaf_index is None:
            book.note(name, expected="a leaf that brings it in", found="none")
        told = body_object(key.body).get("old_ends_ms")
        if isinstance(told, int):
            ends_ms = told if ends_ms is None else min(ends_ms, told)


_IDENTITY = tables.pack.c.gateway, tables.pack.c.stream, tables.pack.c.seq


def check_kept_bytes(conn: Connection, book: Book) -> None:
    """Conflicts and refused messages against their hashes; of the latter those that were kept whole."""
    conflict, quarantine = tables.conflict, tables.quarantine
    for row in _pages(conn, conflict):
        name = f"conflict {row.id}"
        book.require(name, "hash of its envelope", hashlib.sha256(row.envelope).digest(), row.hash)
        kept = conn.execute(select(*_IDENTITY).where(tables.pack.c.id == row.pack_id)).one_or_none()
        disputed = row.gateway, row.stream, row.seq
        book.require(name, "identity of the pack it disputes", None if kept is None else tuple(kept), disputed)
        book.other_rows += 1
    for row in _pages(conn, quarantine):
        book.other_rows += 1
        if row.topic and "(kept: the first" not in row.detail:
            digest = hashlib.sha256(row.raw).digest()
            book.require(f"refused message {row.id}", "hash of its bytes", digest, row.hash)


def check_chain(conn: Connection, book: Book) -> None:
    """Every link between two packs that does not hold is a finding, up to the KEPT_MAX of a stream that are kept."""
    pack, before, finding = tables.pack, tables.pack.alias("before"), tables.finding
    known = and_(finding.c.kind == CHAIN_BROKEN, finding.c.gateway == pack.c.gateway, finding.c.stream == pack.c.stream)
    kept = select(func.count()).select_from(finding).where(known).scalar_subquery()
    broken = (
        select(pack.c.gateway, pack.c.stream, pack.c.seq, pack.c.prev, before.c.hash)
        .join_from(
            pack,
            before,
            and_(
                before.c.gateway == pack.c.gateway,
                before.c.stream == pack.c.stream,
                before.c.seq == pack.c.seq - 1,
            ),
        )
        .where(or_(pack.c.prev != before.c.hash, pack.c.prev.is_(None)))
        .where(~exists().where(known, finding.c.seq == pack.c.seq), kept < KEPT_MAX)
        .order_by(pack.c.gateway, pack.c.stream, pack.c.seq)
    )
    for row in conn.execute(broken):
        where = f"pack {row.gateway}/{row.stream.hex()}/{row.seq}"
        book.require(where, "the hash of the pack before it as its prev, or a finding;", row.hash, row.prev)


def _pages(conn: Connection, table: Table) -> Iterator[Row[Any]]:
    after = 0
    while rows := conn.execute(select(table).where(table.c.id > after).order_by(table.c.id).limit(PAGE)).all():
        yield from rows
        after = rows[-1].id
