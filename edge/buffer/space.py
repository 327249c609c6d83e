"""Room in the buffer file: released packs give way oldest first, then shelved ones; unsent ones never do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from edge.buffer.base import BufferFull, BufferOptions
from edge.buffer.file import transaction, used_bytes
from edge.buffer.packs import Amount, count_rows
from edge.buffer.stream import Stream

RESERVE_BYTES = 1024 * 1024  # sealing, settling and declaring must still work when appending no longer may
BATCH = 64  # packs that leave in one transaction
BATCHES = 8  # in one call: an append must not wait longer than that

FreeBytes = Callable[[Path], int]


class Space:
    """Keeps one buffer file within its byte bound and the disk above its minimum."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, options: BufferOptions, free_bytes: FreeBytes
    ) -> None:
        self.archive = Amount()  #: settled packs that are still here
        self._connection = connection
        self._path = path
        self._options = options
        self._free_bytes = free_bytes

    def make(self, need: int, streams: list[Stream]) -> None:
        """Make room for `need` bytes more. Raises BufferFull, with nothing unsent touched."""
        for _ in range(BATCHES):
            if not self._is_short(need):
                return
            if not self._trim(streams):
                break
        if self._is_short(need):
            raise BufferFull(self._why(need))

    def _is_short(self, need: int) -> bool:
        over = used_bytes(self._connection) + need + RESERVE_BYTES > self._options.max_bytes
        return over or self._free_bytes(self._path.parent) < self._options.min_free_bytes

    def _why(self, need: int) -> str:
        free = self._free_bytes(self._path.parent)
        if free < self._options.min_free_bytes:
            return (
                f"{self._path.parent}: {free} bytes free, min_free_bytes is {self._options.min_free_bytes}; "
                "new observations are refused until space is freed"
            )
        return (
            f"{self._path}: unsent data fill max_bytes = {self._options.max_bytes} ({need} more needed); "
            "new observations are refused until the cloud acknowledges"
        )

    def _trim(self, streams: list[Stream]) -> bool:
        for shelved in (False, True):
            ids = self._oldest_released(streams, shelved=shelved)
            if ids:
                gone = count_rows(self._connection, ids)
                with transaction(self._connection):
                    self._connection.executemany("DELETE FROM pack WHERE id = ?", [(id_,) for id_ in ids])
                self.archive -= Amount() if shelved else gone
                if self._free_bytes(self._path.parent) < self._options.min_free_bytes:
                    self._give_back()
                return True
        return False

    def _give_back(self) -> None:
        """Return free pages to the disk; otherwise they are used again. Stepping needs executescript: the pragma
        has rows without columns, which `execute` takes for its end."""
        self._connection.executescript("PRAGMA incremental_vacuum;")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _oldest_released(self, streams: list[Stream], *, shelved: bool) -> list[int]:
        ids: list[int] = []
        for stream in streams:
            for first, last in stream.settled:
                rows = self._connection.execute(
                    "SELECT id, seq FROM pack WHERE stream_id = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                    (stream.id, first, last, BATCH + len(stream.shelved)),
                )
                ids += [id_ for id_, seq in rows if (seq in stream.shelved) == shelved]
                if len(ids) >= BATCH:
                    return ids[:BATCH]
        return ids
