"""The books of one open buffer file: its streams, who signs, how much waits, and the account of it all.

The modules around this one are the steps of a buffer, one room each; they share these books, and edge/buffer/store.py
puts them together. Invariant: books and file say the same between two steps. A step writes in a transaction first, and
enters the same into the books after the commit, so that one that failed leaves both as they were: what one function
saves inside the transaction of its caller, another enters behind it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edge.buffer.base import BufferOptions, BufferState, SealOptions, StreamUnknown
from edge.buffer.file import set_aside_names
from edge.buffer.groups import last_number, look_at_backlog
from edge.buffer.packs import Amount, amount_of, count_packs
from edge.buffer.seal import Sealed
from edge.buffer.space import FreeBytes, Space
from edge.buffer.state import state_of
from edge.buffer.stream import Stream, load_streams
from edge.buffer.succession import Succession
from edge.keys import Identity
from wire.pack import StreamHead


class Books:
    """What the program knows of its file. `look` before `state` is asked for."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        *,
        identity: Identity,
        successor: Identity | None,
        options: BufferOptions,
        seal_options: SealOptions,
        free_bytes: FreeBytes,
    ) -> None:
        """Read the streams and the keys; the amounts are counted by `count`. Raises CorruptFile."""
        self.db = db
        self.path = path
        self.seal_options = seal_options
        self.space = Space(db, path, options, free_bytes)
        self.streams = load_streams(db)  #: oldest first; the last one is being written
        self.keys = Succession(db, self.streams, identity, successor)
        self.identity = self.keys.signer(self.current.kid) if self.streams else identity  #: who signs now
        self.last_group = last_number(db)  #: number of the newest group that was accepted
        self.unsent = Amount()  #: sealed and not yet settled, over all streams
        self.full = False  #: the last append was refused
        self.seal_at_once = False  #: open groups are many or hold a scan, or an entry waits to be declared
        self.state: BufferState
        self._max_bytes = options.max_bytes
        self._set_aside = set_aside_names(path)

    @property
    def current(self) -> Stream:
        """The stream being written."""
        return self.streams[-1]

    def find(self, name: bytes) -> Stream:
        """The stream of this name. Raises StreamUnknown."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise StreamUnknown(f"stream {name.hex()}: this buffer never had it")

    def count(self) -> None:
        """Count what is unsent and what is archive from the file."""
        self.unsent = sum((count_packs(self.db, each, each.unsent) for each in self.streams), Amount())
        self.count_archive()

    def count_archive(self) -> None:
        """Count again what is settled and still here."""
        self.space.archive = sum((count_packs(self.db, each, each.archived) for each in self.streams), Amount())

    def advance(self, packs: Sequence[Sealed]) -> list[StreamHead]:
        """Enter fresh packs of the current stream, after their commit; their heads."""
        stream = self.current
        heads = [StreamHead(stream.name, pack.seq, pack.hash) for pack in packs]
        if heads:
            stream.last_seq, stream.last_hash = heads[-1].last_seq, heads[-1].hash
            self.unsent += amount_of(packs)
        return heads

    def look(self) -> None:
        """Bring `state` and `seal_at_once` up to date."""
        backlog = look_at_backlog(self.db)
        many = backlog.observations >= self.seal_options.max_readings
        waiting = backlog.scans > 0 or backlog.entries > 0 or any(stream.to_carry for stream in self.streams)
        self.seal_at_once = many or waiting
        self.state = state_of(
            self.db,
            self.path,
            self.streams,
            backlog,
            unsent=self.unsent,
            archive=self.space.archive,
            max_bytes=self._max_bytes,
            full=self.full,
            set_aside=self._set_aside,
        )
