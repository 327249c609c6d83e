"""The buffer's records in one SQLite file, for one thread. Every public method is one durable step.

The store owns the connection and puts the steps together, each of which has a room of its own over the books
(edge/buffer/books.py): relief and groups (append), sealing and key_change (seal), declaration, handout, settlement and
dispute (receipts), turn (a new stream). Keeps: `state` tells of the last step, also when that failed.

Raises sqlite3.Error as it comes (the caller translates it), CorruptFile for a file that contradicts itself, and
buffer errors for the rest.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path

from edge.buffer.base import BufferFull, BufferOptions, BufferState, PackName, SealedPack, SealOptions
from edge.buffer.books import Books
from edge.buffer.declaration import declare
from edge.buffer.dispute import carry_over
from edge.buffer.file import is_full, transaction
from edge.buffer.groups import group_row, insert_group
from edge.buffer.handout import Handout
from edge.buffer.head import Head, HeadFile
from edge.buffer.key_change import drop_superfluous_changes, name_successor
from edge.buffer.meta import claim_file, use_counter
from edge.buffer.packs import held_names
from edge.buffer.ranges import Range
from edge.buffer.relief import Relief
from edge.buffer.reserve import Reserve
from edge.buffer.sealing import seal_leftovers, seal_open
from edge.buffer.settlement import settle
from edge.buffer.space import FreeBytes
from edge.buffer.turn import missing_groups, must_turn, take_turn
from edge.keys import Identity
from edge.limits import Limits
from wire.observation import Observation, Stamp
from wire.pack import Correction, Loss, StreamHead
from wire.receipt import Receipt

HEAD_NAME = "head.json"

log = logging.getLogger(__name__)


class Store:
    """Streams, open groups, packs and what is settled of them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        identity: Identity,
        options: BufferOptions,
        seal_options: SealOptions,
        free_bytes: FreeBytes,
        successor: Identity | None = None,
        limits: Limits | None = None,
        log_damaged: bool = False,
    ) -> None:
        self._db = connection
        self._path = path
        self._books = Books(
            connection,
            path,
            identity=identity,
            successor=successor,
            options=options,
            seal_options=seal_options,
            free_bytes=free_bytes,
        )
        self._relief = Relief(self._books, limits or Limits(), Reserve(path.with_name(f"{path.name}.reserve")))
        head_file = HeadFile(path.with_name(HEAD_NAME))
        self._handout = Handout(self._books, head_file)
        claim_file(connection, path, self.identity.gateway)
        self._begin(head_file.read(), log_damaged=log_damaged)
        self._books.count()
        seal_leftovers(self._books)
        self._books.look()

    @property
    def state(self) -> BufferState:
        """The buffer after the last step."""
        return self._books.state

    @property
    def seal_at_once(self) -> bool:
        """Open groups are many or hold a scan, or an entry waits to be declared."""
        return self._books.seal_at_once

    @property
    def identity(self) -> Identity:
        """Who signs now."""
        return self._books.identity

    def append(self, observations: Sequence[Observation]) -> None:
        """Commit one group of admitted observations. Raises BufferFull."""
        row, stamp = group_row(observations), observations[-1].stamp
        need = len(row[-1])
        self._books.full = True
        try:
            self._relief.make_room(need, stamp)
            try:
                self._insert(row)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                self._relief.make_room_on_a_full_disk(need, stamp)
                self._insert(row)
            self._books.full = False
        finally:
            self._books.look()

    def seal(self, stamp: Stamp) -> list[StreamHead]:
        """Seal all open groups and declare what is to be declared, in as many transactions as memory allows."""
        flowing = self._handout.flowing
        try:
            heads = carry_over(self._books, stamp)
            heads += seal_open(self._books, stamp)
            if not flowing:
                self._handout.record_head()
        finally:
            self._books.look()
        return heads

    def declare(self, entry: Loss | Correction) -> None:
        """Keep a loss or a correction until the next pack carries it. Raises DeclarationRefused."""
        declare(self._books, entry)

    def change_key(self, successor: Identity, stamp: Stamp) -> list[StreamHead]:
        """Seal all, then the pack that names the successor's key; from there on the successor signs."""
        if successor.kid == self.identity.kid:
            return []
        heads = self.seal(stamp)
        self._books.keys.begin(successor)
        try:
            if successor.kid != self.identity.kid:  # a stream that was still empty has begun with it
                heads += name_successor(self._books, successor, stamp)
            self._handout.record_head()
        finally:
            self._books.look()
        return heads

    def change_arrived(self) -> bool:
        """Whether the cloud surely knows the key that is to follow."""
        return self._books.keys.arrived(self._books.streams)

    def finish_change(self) -> None:
        """The successor is the only key there is."""
        self._books.keys.finish()
        drop_superfluous_changes(self._books)
        self._books.look()

    def unsent(self, *, newest_first: bool, limit: int, exclude: Collection[PackName]) -> list[SealedPack]:
        """Up to `limit` packs to send; a pack that is damaged here is shelved, and its loss declared."""
        return self._handout.unsent(newest_first=newest_first, limit=limit, exclude=exclude)

    def fetch(self, names: Sequence[PackName]) -> list[SealedPack]:
        """Those of the named packs that are here and whole."""
        return self._handout.fetch(names)

    def held(self, name: bytes, ranges: Sequence[Range], *, limit: int) -> list[PackName]:
        """Names of packs in these ranges that are here. Raises StreamUnknown."""
        return held_names(self._db, self._books.find(name), ranges, limit)

    def head_of(self, name: bytes) -> StreamHead | None:
        """The last pack of a stream as this file knows it, None before the first. Raises StreamUnknown."""
        return self._books.find(name).head

    def settle(self, receipt: Receipt) -> int:
        """Unite a receipt with what is known; how many packs it released. Raises StreamUnknown, ReceiptBeyondHead."""
        return settle(self._books, receipt)

    def use_command(self, counter: int) -> bool:
        """Use up a command counter; False when it, or a later one, was used before."""
        return use_counter(self._db, counter)

    def close(self) -> None:
        """Fold the write-ahead log into the file, if that can be (the next start does it, too), and close it."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.warning("write-ahead log stays beside the buffer file: file=%s error=%s", self._path, error)
        finally:
            self._db.close()

    def abandon(self) -> None:
        """Close a corrupt file without waiting for its log to be folded in whole."""
        self._db.close()

    def _begin(self, head: Head | None, *, log_damaged: bool) -> None:
        """Go on in the stream of the last run, or begin a new one where that could sign a seq twice."""
        streams = self._books.streams
        if head is not None and streams and head.chain.stream == self._books.current.name:
            self._books.current.offered = head.offered
        log_damaged = log_damaged or (head is not None and missing_groups(streams, head, self._books.last_group))
        turn = must_turn(streams, head, self.identity.kid, log_damaged=log_damaged)
        if turn is not None:
            take_turn(self._books, turn)
        try:
            self._handout.record_head()
        except BufferFull as error:
            log.error("starting without a fresh head file: %s", error)

    def _insert(self, row: tuple[int, int, int, bytes]) -> None:
        number = self._books.last_group + 1
        with transaction(self._db):
            insert_group(self._db, number, row)
        self._books.last_group = number
