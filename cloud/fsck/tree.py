"""The tree again from its leaves: the stored right edge, every stored tile, every checkpoint with its signatures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, func, select

from cloud.db import tables
from cloud.fsck.divergence import Book
from cloud.ledger import keys
from cloud.ledger.epoch import Epoch, epochs
from standards.tlog import checkpoint, note, timestamp, tree
from standards.tlog.checkpoint import CheckpointError
from standards.tlog.key import KeyTextError, VerifierKey, cosigned_at_s, parse_vkey
from standards.tlog.note import NoteError
from standards.tlog.tile import TILE_HEIGHT, TILE_WIDTH
from standards.tlog.tree import Frontier, TreeError

PAGE = 500  # checkpoints that are read at once


class TreeCheck:
    """Takes the leaf hashes in order, and holds what was derived from them before against what they give.

    After a leaf that is missing no root can be derived; that is said once.
    """

    def __init__(self, conn: Connection, book: Book) -> None:
        self._conn, self._book = conn, book
        self._frontier = Frontier()
        self._row: list[list[bytes]] = []  # by level: the hashes of the tile that is not full yet
        self._index: list[int] = []
        self._whole = True
        self._root_told = False
        self._checkpoints = _Checkpoints(conn, book)

    def add(self, leaf: bytes) -> None:
        """One more leaf hash."""
        if not self._whole:
            return
        self._frontier = self._frontier.append(leaf)
        self._tile(0, leaf)
        while (due := self._checkpoints.next_size) is not None and due <= self._frontier.size:
            self._checkpoint()

    def lose(self) -> None:
        """A leaf is missing: nothing behind it can be derived."""
        self._whole = False

    def finish(self, size: int) -> None:
        """All leaves are there; `size` is how many rows there are."""
        self._edge(size)
        self._no_more_tiles()
        while (due := self._checkpoints.next_size) is not None:
            if self._whole and due > size:
                where = f"checkpoint of {due} leaves"
                self._book.note(where, expected=f"{due} leaves at least", found=f"{size}: leaves were removed")
            self._checkpoints.take()

    def _tile(self, level: int, value: bytes) -> None:
        if level == len(self._row):
            self._row.append([])
            self._index.append(0)
        row = self._row[level]
        row.append(value)
        if len(row) < TILE_WIDTH:
            return
        index, self._index[level], self._row[level] = self._index[level], self._index[level] + 1, []
        above = tree.root(row)
        self._stored(level, index, b"".join(row), above)
        self._tile(level + 1, above)

    def _stored(self, level: int, index: int, hashes: bytes, above: bytes) -> None:
        table = tables.ledger_tile
        stored = self._conn.execute(
            select(table.c.hashes, table.c.root).where(table.c.level == level, table.c.tile_index == index)
        ).one_or_none()
        if stored is None:
            return  # it is computed when it is asked for
        self._book.tiles += 1
        where = f"stored tile {index} of level {level}"
        if stored.hashes != hashes:
            at = next(
                (at for at in range(TILE_WIDTH) if stored.hashes[at * 32 : at * 32 + 32] != row_at(hashes, at)), 0
            )
            self._book.require(f"{where}, hash {at}", "", row_at(hashes, at), row_at(stored.hashes, at))
        self._book.require(where, "root", above, stored.root)

    def _no_more_tiles(self) -> None:
        table = tables.ledger_tile
        if not self._whole:
            return
        for level, highest in self._conn.execute(
            select(table.c.level, func.max(table.c.tile_index)).group_by(table.c.level)
        ):
            full = self._frontier.size >> (TILE_HEIGHT * (level + 1))
            if highest >= full:
                where = f"stored tile {highest} of level {level}"
                self._book.note(where, expected=f"{full} full tiles there", found="one beyond them")

    def _edge(self, size: int) -> None:
        stored = self._conn.execute(select(tables.ledger_state)).one_or_none()
        where = "ledger_state (the right edge of the tree)"
        if stored is None:
            if size:
                self._book.note(where, expected=f"that of {size} leaves", found="no row")
            return
        try:
            edge = Frontier.from_bytes(stored.frontier)
        except TreeError as error:
            self._book.note(where, expected="peaks of a tree", found=str(error))
            return
        self._book.require(where, "size in its two columns", edge.size, stored.size)
        self._book.require(where, "number of leaves", size, edge.size)
        if self._whole and edge.size == self._frontier.size:
            self._book.require(where, "root of all leaves", self._frontier.root(), edge.root())

    def _checkpoint(self) -> None:
        size, root = self._checkpoints.take()
        derived = self._frontier.root()
        if root != derived and not self._root_told:
            self._root_told = True  # every later one differs, too: it says nothing new
            self._book.require(f"checkpoint of {size} leaves", "the root its leaves give, which is", derived, root)


def row_at(hashes: bytes, at: int) -> bytes:
    """The hash at a place of a tile's bytes."""
    return hashes[at * 32 : at * 32 + 32]


class _Checkpoints:
    """The checkpoints in order; each is held against its note and the signatures under it as it is taken."""

    def __init__(self, conn: Connection, book: Book) -> None:
        self._conn, self._book = conn, book
        self._epochs = {one.number: one for one in epochs(conn)}
        self._keys = keys.verifiers(conn)
        self._rows = self._read()
        self._next: Row[Any] | None = next(self._rows, None)

    @property
    def next_size(self) -> int | None:
        """The size of the next one, None when there is none."""
        return None if self._next is None else int(self._next.size)

    def take(self) -> tuple[int, bytes]:
        """Size and root of the next one, which has been checked."""
        row = self._next
        assert row is not None, "only taken when there is one"
        self._book.checkpoints += 1
        self._check(row)
        self._next = next(self._rows, None)
        return row.size, row.root

    def _read(self) -> Iterator[Row[Any]]:
        table, after = tables.checkpoint, -1
        while rows := self._conn.execute(
            select(table).where(table.c.size > after).order_by(table.c.size).limit(PAGE)
        ).all():
            yield from rows
            after = rows[-1].size

    def _check(self, row: Row[Any]) -> None:
        where = f"checkpoint of {row.size} leaves"
        try:
            signed = note.parse(row.note)
            head = checkpoint.parse(signed.text)
            note.verify(signed, self._keys)
        except (NoteError, CheckpointError) as error:
            self._book.note(where, expected="a note signed by the ledger's key", found=str(error))
            return
        self._book.require(where, "size in its note", head.size, row.size)
        self._book.require(where, "root in its note", head.root, row.root)
        at = self._epochs.get(row.epoch, Epoch(0, "", 0, 0))
        self._book.require(where, "origin of its epoch", at.origin, head.origin)
        self._cosignatures(where, row)
        self._time_stamp(where, row)

    def _cosignatures(self, where: str, row: Row[Any]) -> None:
        table = tables.cosignature
        for one in self._conn.execute(select(table).where(table.c.size == row.size)):
            self._book.other_rows += 1
            try:
                by: VerifierKey = parse_vkey(one.vkey)
                found = note.verify(note.parse(row.note + one.line), [by])[-1]
                self._book.require(
                    f"{where}, cosignature of {by.name}", "its time in ms", cosigned_at_s(found) * 1000, one.cosigned_ms
                )
            except (NoteError, KeyTextError) as error:
                self._book.note(f"{where}, cosignature", expected=f"one by {one.vkey[:60]}", found=str(error))

    def _time_stamp(self, where: str, row: Row[Any]) -> None:
        """Whether a stamp is over the note. By whom it is, only verifiers with the authority's certificates can say."""
        table = tables.time_stamp
        response = self._conn.scalar(select(table.c.response).where(table.c.size == row.size))
        if response is None:
            return
        self._book.other_rows += 1
        try:
            over = timestamp.is_over(response, row.note.encode("utf-8"))
        except ImportError:
            return  # without the extra `timestamp` nobody here can read it
        if not over:
            self._book.note(f"{where}, time stamp", expected="one of its note", found="one of something else, or none")
