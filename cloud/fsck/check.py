"""fsck: every root again from the raw rows, every row that was promised against its leaf, and both ways round.

One look at one moment of the database, a span of leaves at a time: memory doesn't grow with the record. What diverges
is named in the order of leaves, so that the first one is where to look. What retention removed is counted as pruned:
its leaf and a tombstone are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, select

from cloud.db import tables
from cloud.fsck import beside, recorded
from cloud.fsck.divergence import Book, Report
from cloud.fsck.pack import PackReader
from cloud.fsck.recorded import GatewayKeys, Reader, Recorded
from cloud.fsck.tree import TreeCheck
from cloud.ledger.log import leaf_data
from standards.tlog.tree import leaf_hash

SPAN = 256  # leaves at a time: at most 64 MiB of envelopes, and as many as a tile has
BESIDE_SHARE = 0.1  # of the work, for what stands beside the leaves


def check(conn: Connection, tell: Callable[[float], None] = lambda _: None) -> Report:
    """Check everything this connection sees. tell: the share that is done."""
    book = Book()
    beside.check_file(conn, book)
    _Walk(conn, book).run(lambda share: tell(share * (1 - BESIDE_SHARE)))
    beside.check_vouched(conn, book)
    beside.check_removed(conn, book)
    beside.check_signers(conn, book)
    beside.check_kept_bytes(conn, book)
    beside.check_chain(conn, book)
    tell(1.0)
    return book.report()


class _Walk:
    """Leaves in order, each with what it records."""

    def __init__(self, conn: Connection, book: Book) -> None:
        self._conn, self._book = conn, book
        self._packs = PackReader()
        self._gateway_keys = GatewayKeys(conn, book)
        self._readers: dict[str, tuple[Reader, ...]] = {
            "pack": (self._packs.packs,),
            "event": (recorded.events,),
            "evidence": (recorded.evidence,),
            "decision": (recorded.decisions,),
            "key": (recorded.revocations,),
            "hold": (recorded.holds,),
            "pruning": (recorded.prunings,),
            "signer": (recorded.signers,),
            "epoch": (recorded.epochs,),
        }
        self._tree = TreeCheck(conn, book)

    def run(self, tell: Callable[[float], None]) -> None:
        """All leaves."""
        highest = self._conn.scalar(select(func.max(tables.leaf.c.leaf_index)))
        size = 0 if highest is None else highest + 1
        for start in range(0, size, SPAN):
            self._span(start, min(size, start + SPAN))
            tell(min(size, start + SPAN) / size)
        self._tree.finish(size)
        beside.check_leaf_columns(self._conn, self._book, size)
        self._gateway_keys.finish(self._book)
        self._packs.compare_settled(self._conn, self._book)

    def _span(self, start: int, end: int) -> None:
        query = select(tables.leaf).where(tables.leaf.c.leaf_index >= start, tables.leaf.c.leaf_index < end)
        leaves = {row.leaf_index: row for row in self._conn.execute(query)}
        records = self._records(start, end)
        for index in range(start, end):
            here = records.pop(index, [])
            row = leaves.get(index)
            if row is None:
                self._missing(index, here)
                continue
            self._book.leaves += 1
            self._leaf(row, here)
            self._grow(row)

    def _records(self, start: int, end: int) -> dict[int, list[tuple[str, Recorded]]]:
        found: dict[int, list[tuple[str, Recorded]]] = {}
        for kind, readers in self._readers.items():
            for read in readers:
                for one in read(self._conn, self._book, start, end):
                    found.setdefault(one.leaf_index, []).append((kind, one))
                    self._book.other_rows += kind != "pack"
        return found

    def _missing(self, index: int, here: Iterable[tuple[str, Recorded]]) -> None:
        names = " and ".join(one.name for _, one in here)
        said = f"a leaf (it recorded {names})" if names else "a leaf"
        self._book.note(
            f"leaf {index}", expected=said, found="no row: it was deleted; no root behind it can be derived"
        )
        self._tree.lose()

    def _leaf(self, row: Row[Any], here: list[tuple[str, Recorded]]) -> None:
        where = f"leaf {row.leaf_index} ({row.kind} {row.ref})"
        fitting = [one for kind, one in here if kind == row.kind]
        for kind, one in here:
            if kind != row.kind:
                self._book.note(where, expected=f"a leaf of kind {kind}, which {one.name} names", found=row.kind)
        if not fitting:
            if row.kind == "key" and self._gateway_keys.take(row.ref, row.hash):
                return
            self._book.note(where, expected=f"a row with the bytes {row.hash.hex()}", found="none that names this leaf")
            return
        for one in fitting:
            if one.digest is not None and one.digest != row.hash:
                expected = f"{one.name} with bytes whose SHA-256 is {row.hash.hex()}"
                self._book.note(where, expected=expected, found=f"{one.digest.hex()}: row or leaf was changed")
            if one.ref is not None and one.ref != row.ref:
                self._book.note(where, expected=f"{one.ref} as what it records", found=row.ref)

    def _grow(self, row: Row[Any]) -> None:
        try:
            self._tree.add(leaf_hash(leaf_data(row.kind, row.hash)))
        except ValueError as error:
            self._book.note(f"leaf {row.leaf_index}", expected="a known kind and a SHA-256", found=str(error))
            self._tree.lose()
