"""Room in the buffer file: released packs give way oldest first, then shelved ones. Unsent ones: see pressure.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from edge.buffer.base import BufferFull, BufferOptions
from edge.buffer.file import free_page_bytes, transaction, used_bytes
from edge.buffer.packs import Amount, count_rows
from edge.buffer.ranges import contains, subtract
from edge.buffer.stream import Stream

RESERVE_BYTES = 1024 * 1024  # sealing, settling, declaring and thinning must still work when appending no longer may
SLACK_BYTES = 64 * 1024  # of pages freed inside the file: for sealing what was appended
BATCH = 64  # packs that leave in one transaction

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

    def is_short(self, need: int) -> bool:
        """Whether something has to give way before `need` bytes more are taken in."""
        return self._over(need, RESERVE_BYTES) or self._disk_short(need, self._options.min_free_bytes)

    def require(self, need: int) -> None:
        """Raises BufferFull unless `need` bytes more fit, at worst into half of what is kept in reserve.

        So nothing is refused while making room goes on, a bounded step at a time.
        """
        if self._over(need, RESERVE_BYTES // 2):
            raise BufferFull(
                f"{self._path}: unsent data that may not give way fill max_bytes = {self._options.max_bytes} "
                f"({need} more needed); new observations are refused until the cloud acknowledges"
            )
        if self._disk_short(need, self._options.min_free_bytes // 2):
            raise BufferFull(
                f"{self._path.parent}: {self._free_bytes(self._path.parent)} bytes free, min_free_bytes is "
                f"{self._options.min_free_bytes}; new observations are refused until space is freed"
            )

    def trim(self, streams: list[Stream]) -> bool:
        """Let the oldest of the archive go, what was shelved last of all; whether there was any."""
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

    def _over(self, need: int, reserve: int) -> bool:
        return used_bytes(self._connection) + need + reserve > self._options.max_bytes

    def spare_bytes(self) -> int:
        """What the disk has beyond what must stay free."""
        return self._free_bytes(self._path.parent) - self._options.min_free_bytes

    def is_cramped(self, need: int) -> bool:
        """Whether `need` bytes do not fit into pages that are free inside the file."""
        return free_page_bytes(self._connection) < need + SLACK_BYTES

    def _disk_short(self, need: int, least: int) -> bool:
        """A disk below its minimum gives the file nothing more: what comes has to fit into pages freed inside."""
        if self._free_bytes(self._path.parent) >= least:
            return False
        return self.is_cramped(need)

    def _give_back(self) -> None:
        """Return free pages to the disk; otherwise they are used again. Stepping needs executescript: the pragma
        has rows without columns, which `execute` takes for its end."""
        self._connection.executescript("PRAGMA incremental_vacuum;")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _oldest_released(self, streams: list[Stream], *, shelved: bool) -> list[int]:
        ids: list[int] = []
        for stream in streams:
            for first, last in subtract(stream.settled, stream.archived) if shelved else stream.archived:
                rows = self._connection.execute(
                    "SELECT id, seq FROM pack WHERE stream_id = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                    (stream.id, first, last, BATCH),
                )
                ids += [id_ for id_, seq in rows if not contains(stream.to_carry, seq)]
                if len(ids) >= BATCH:
                    return ids[:BATCH]
        return ids
