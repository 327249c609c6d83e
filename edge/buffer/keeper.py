"""Keeps the store of one buffer file open, whatever the disk does: patience, another opening, a fresh file.

Everything here runs on the buffer's worker thread. Keeps "a corrupt file is set aside": never deleted, and the step
that found it corrupt is done again on a fresh file. And after the disk failed, nothing that the connection believes is
relied on: the file is opened again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge.buffer.base import BufferFull, BufferOptions, BufferUnusable, SealOptions
from edge.buffer.file import CorruptFile, DiskFailed, judge, open_file, set_aside
from edge.buffer.space import FreeBytes
from edge.buffer.store import Store
from edge.buffer.wal import lost_commits, read_log
from edge.durable import make_folder
from edge.keys import Identity
from edge.limits import Limits

OPEN_TRIES_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # a disk that comes up late, or is read-only: then the service restarts

log = logging.getLogger(__name__)

T = TypeVar("T")


class Keeper:
    """Translates SQLite's errors, and replaces `store` when its file or its disk has failed.

    successor: a fresh store is given it together with the identity.
    """

    store: Store  #: from `open` on

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        successor: Identity | None,
        options: BufferOptions,
        seal_options: SealOptions,
        free_bytes: FreeBytes,
        limits: Limits | None,
    ) -> None:
        self.successor = successor
        self._path = path
        self._identity = identity
        self._options = options
        self._seal_options = seal_options
        self._free_bytes = free_bytes
        self._limits = limits
        self._disk_failed = False

    def finish_change(self) -> None:
        """The successor is the only key from now on."""
        self._identity, self.successor = self.successor or self._identity, None

    def open(self) -> None:
        """Open the file, with patience for a disk that takes nothing yet. Raises BufferUnusable."""
        for pause_s in (*OPEN_TRIES_S, None):
            try:
                make_folder(self._path.parent)
                self.store = self._load_or_replace()
                return
            except (OSError, BufferFull) as error:
                if pause_s is None:
                    raise BufferUnusable(
                        f"{error}; without a disk that takes writes the gateway cannot start"
                    ) from error
                log.error("buffer cannot be opened yet, trying again: pause_s=%s why=%s", pause_s, error)
                time.sleep(pause_s)

    def run(self, step: Callable[[Store], T]) -> T:
        """Do one step, a second time if it finds the file corrupt. Raises BufferFailure."""
        if self._disk_failed:
            self._reopen()
        try:
            return self._translated(step)
        except CorruptFile as error:
            self._disk_failed = True  # until a fresh file is open: if the disk takes none now, the next call opens it
            self.store.abandon()
            self.store = self._replace(str(error))
            self._disk_failed = False
        try:
            return self._translated(step)
        except CorruptFile as error:
            raise BufferUnusable(f"{self._path}: corrupt again at once ({error}); check the disk") from error

    def _translated(self, step: Callable[[Store], T]) -> T:
        try:
            return step(self.store)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            found = judge(error, self._path)
            self._disk_failed = isinstance(found, DiskFailed)
            raise found from error

    def _reopen(self) -> None:
        """After the disk failed: what the connection believes may be wrong, the file tells. Raises BufferFull."""
        self.store.abandon()
        try:
            self.store = self._load_or_replace()
        except BufferUnusable as error:  # as when it failed: whoever calls tries again
            raise BufferFull(str(error)) from error
        self._disk_failed = False
        log.warning("buffer file is open again after the disk failed: file=%s", self._path)

    def _load_or_replace(self) -> Store:
        try:
            return self._load()
        except CorruptFile as error:
            return self._replace(str(error))

    def _replace(self, why: str) -> Store:
        try:
            target = set_aside(self._path)
        except OSError as error:  # of a disk that fails, or is read-only: whoever calls tries again
            said = f"{self._path}: corrupt ({why}) and cannot be renamed ({error}); check the disk"
            raise DiskFailed(said) from error
        log.error("buffer file is corrupt and was set aside: file=%s now=%s why=%s", self._path, target.name, why)
        try:
            return self._load()
        except CorruptFile as error:
            raise BufferUnusable(f"{self._path}: a fresh file is corrupt at once ({error}); check the disk") from error

    def _load(self) -> Store:
        try:
            claim = read_log(self._path)
        except OSError as error:
            raise DiskFailed(f"{self._path}: its log cannot be read ({error}); check the disk") from error
        connection = open_file(self._path)
        try:
            return Store(
                connection,
                self._path,
                identity=self._identity,
                options=self._options,
                seal_options=self._seal_options,
                free_bytes=self._free_bytes,
                successor=self.successor,
                limits=self._limits,
                log_damaged=lost_commits(connection, claim),
            )
        except (sqlite3.Error, UnicodeDecodeError) as error:
            connection.close()
            raise judge(error, self._path, opening=True) from error
        except BaseException:
            connection.close()
            raise
