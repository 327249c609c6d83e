"""The table of sealed packs, as functions over one connection. Counting never reads an envelope."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from edge.buffer.base import PackName, SealedPack
from edge.buffer.ranges import Range, contains
from edge.buffer.seal import Sealed
from edge.buffer.stream import Stream
from wire.envelope import envelope_hash
from wire.pack import TEXT_MAX
from wire.receipt import Receipt


class Amount(msgspec.Struct, frozen=True):
    """How much some packs are: envelopes, the observations in them, and their bytes."""

    packs: int = 0
    observations: int = 0
    size_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.packs + other.packs, self.observations + other.observations, self.size_bytes + other.size_bytes
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            self.packs - other.packs, self.observations - other.observations, self.size_bytes - other.size_bytes
        )


def amount_of(packs: Sequence[Sealed]) -> Amount:
    """The amount of fresh packs."""
    return Amount(len(packs), sum(p.readings + p.scans for p in packs), sum(len(p.envelope) for p in packs))


def insert_packs(
    db: sqlite3.Connection, stream: Stream, packs: Sequence[Sealed], *, sealed_ms: int, rows: Sequence[int] = ()
) -> None:
    """Store fresh packs and move the stored head of their stream; in the caller's transaction.

    rows: ids for the first of them, so that a pack takes the place in age of those it replaces.
    """
    ids = [*rows, *[None] * len(packs)]
    db.executemany(
        "INSERT INTO pack (id, stream_id, seq, readings, scans, from_ms, to_ms, sealed_ms, hash, pressure, envelope) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (id_, stream.id, p.seq, p.readings, p.scans, p.from_ms, p.to_ms, sealed_ms, p.hash, p.pressure, p.envelope)
            for id_, p in zip(ids, packs, strict=False)
        ],
    )
    if packs:
        head = (packs[-1].seq, packs[-1].hash, stream.id)
        db.execute("UPDATE stream SET last_seq = ?, last_hash = ? WHERE id = ?", head)


def read_pack(db: sqlite3.Connection, stream: Stream, seq: int) -> SealedPack | None:
    """One pack as it was sealed; None when it is not here or its bytes no longer have their hash."""
    row = db.execute(
        "SELECT envelope, hash, readings + scans FROM pack WHERE stream_id = ? AND seq = ?", (stream.id, seq)
    ).fetchone()
    if row is None or envelope_hash(row[0]) != row[1]:
        return None
    return SealedPack(stream.name, seq, *row)


def held_names(db: sqlite3.Connection, stream: Stream, ranges: Sequence[Range], limit: int) -> list[PackName]:
    """Names of up to `limit` packs of these ranges that are here."""
    found: list[PackName] = []
    for first, last in ranges:
        rows = db.execute(
            "SELECT seq FROM pack WHERE stream_id = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            (stream.id, first, last, limit - len(found)),
        )
        found += [(stream.name, seq) for (seq,) in rows]
    return found


def count_packs(db: sqlite3.Connection, stream: Stream, ranges: Iterable[Range]) -> Amount:
    """What of these ranges is here. SQLite tells the length of an envelope without reading it."""
    found = Amount()
    for first, last in ranges:
        row = db.execute(
            "SELECT count(*), coalesce(sum(readings + scans), 0), coalesce(sum(length(envelope)), 0) FROM pack "
            "WHERE stream_id = ? AND seq BETWEEN ? AND ?",
            (stream.id, first, last),
        ).fetchone()
        found += Amount(*row)
    return found


def count_rows(db: sqlite3.Connection, ids: Sequence[int]) -> Amount:
    """The packs of these rows."""
    row = db.execute(
        "SELECT count(*), coalesce(sum(readings + scans), 0), coalesce(sum(length(envelope)), 0) FROM pack "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (msgspec.json.encode(ids).decode(),),
    ).fetchone()
    return Amount(*row)


def oldest_ms(db: sqlite3.Connection, stream: Stream, seq: int) -> int | None:
    """Time of a pack's oldest observation; None when it carries none or is not here."""
    row = db.execute("SELECT from_ms FROM pack WHERE stream_id = ? AND seq = ?", (stream.id, seq)).fetchone()
    return None if row is None else row[0]


def refused_here(db: sqlite3.Connection, stream: Stream, receipt: Receipt) -> list[tuple[int, str]]:
    """(seq, reason) of packs that the receipt refuses by the very bytes we hold, and that were not refused before."""
    found: list[tuple[int, str]] = []
    for seq, digest, reason in receipt.refused:
        if stream.shelved.get(seq) == "refused" or contains(stream.carried, seq) or contains(stream.to_carry, seq):
            continue
        row = db.execute("SELECT hash FROM pack WHERE stream_id = ? AND seq = ?", (stream.id, seq)).fetchone()
        if row is not None and row[0] == digest:
            found.append((seq, reason[:TEXT_MAX]))
    return found


def insert_shelved(db: sqlite3.Connection, stream: Stream, kind: str, rows: Sequence[tuple[int, str]]) -> None:
    """Shelve packs (seq, reason); in the caller's transaction."""
    db.executemany(
        "INSERT OR REPLACE INTO shelved (stream_id, seq, kind, reason) VALUES (?, ?, ?, ?)",
        [(stream.id, seq, kind, reason) for seq, reason in rows],
    )
