"""Packs against their envelopes: every column is derived again; and what they settle, stream by stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from cloud.db import tables
from cloud.fsck.divergence import Book
from cloud.fsck.recorded import Recorded
from cloud.ingest.settled import Range, Stream, merge, settles
from wire import pack as wire_pack
from wire.envelope import WireError
from wire.pack import Pack

RANGES_PENDING = 512  # of a stream before they are merged: memory stays with what is settled, not with what came


class PackReader:
    """Reads the packs of a span of leaves, and gathers what all of them settle."""

    def __init__(self) -> None:
        self._settled: dict[Stream, list[Range]] = {}
        self._pending: dict[Stream, int] = {}

    def packs(self, conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
        """The packs whose leaf is in [start, end). A Reader."""
        table, tombstone = tables.pack, tables.tombstone
        query = (
            select(table, tombstone.c.hash.label("removed"))
            .join_from(table, tombstone, tombstone.c.leaf_index == table.c.leaf_index, isouter=True)
            .where(table.c.leaf_index >= start, table.c.leaf_index < end)
            .order_by(table.c.leaf_index)
        )
        for row in conn.execute(query):
            book.packs += 1
            yield self._one(book, row)

    def compare_settled(self, conn: Connection, book: Book) -> None:
        """Hold the table of settled ranges against what the packs say."""
        table = tables.settled
        streams = {
            (row.gateway, row.stream) for row in conn.execute(select(table.c.gateway, table.c.stream).distinct())
        }
        for gateway, stream in sorted(streams | set(self._settled)):
            here = (table.c.gateway == gateway, table.c.stream == stream)
            rows = conn.execute(select(table.c.first_seq, table.c.last_seq).where(*here).order_by(table.c.first_seq))
            stored = [(row.first_seq, row.last_seq) for row in rows]
            derived = merge(self._settled.get((gateway, stream), []))
            if stored != derived:
                where = f"settled numbers of stream {stream.hex()} of {gateway}"
                book.note(where, expected=_differing(derived, stored), found=_differing(stored, derived))

    def _one(self, book: Book, row: Row[Any]) -> Recorded:
        name = f"pack {row.gateway}/{row.stream.hex()}/{row.seq}"
        ref = f"{row.gateway}/{row.stream.hex()}/{row.seq}"
        stream = (row.gateway, row.stream)
        if row.removed is not None and not row.envelope:
            book.pruned += 1
            book.require(name, "hash of what was removed", row.removed, row.hash)
            self._add(stream, (row.seq, row.seq))
            return Recorded(row.leaf_index, name, None, ref)
        digest = hashlib.sha256(row.envelope).digest()
        book.require(name, "hash of its envelope", digest, row.hash)
        try:
            _, pack = wire_pack.unseal(row.envelope)
        except WireError as error:
            book.note(name, expected="the envelope of a pack", found=str(error))
            return Recorded(row.leaf_index, name, digest, ref)
        _compare(book, name, row, pack)
        for settled_stream, seqs in settles(pack):
            self._add(settled_stream, seqs)
        return Recorded(row.leaf_index, name, digest, ref)

    def _add(self, stream: Stream, seqs: Range) -> None:
        ranges = self._settled.setdefault(stream, [])
        if ranges and seqs[0] == ranges[-1][1] + 1:  # nearly always: packs come in the order of their numbers
            ranges[-1] = (ranges[-1][0], seqs[1])
            return
        ranges.append(seqs)
        self._pending[stream] = self._pending.get(stream, 0) + 1
        if self._pending[stream] >= RANGES_PENDING:
            self._settled[stream], self._pending[stream] = merge(ranges), 0


def _compare(book: Book, name: str, row: Row[Any], pack: Pack) -> None:
    """The columns against the envelope."""
    for what, derived, stored in (
        ("gateway", pack.gateway, row.gateway),
        ("stream", pack.stream, row.stream),
        ("seq", pack.seq, row.seq),
        ("prev", pack.prev, row.prev),
        ("number of observations", pack.count, row.observations),
        ("simulated", pack.simulated, bool(row.simulated)),
        ("time of sealing", pack.sealed.observed_at_ms, row.sealed_ms),
    ):
        book.require(name, f"{what} of its envelope", derived, stored)


def _differing(ranges: list[Range], others: list[Range]) -> str:
    """The first range that is not among the others."""
    known = set(others)
    different = [one for one in ranges if one not in known]
    return f"{different[0][0]}–{different[0][1]}" if different else "no other range"
