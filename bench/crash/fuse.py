"""Death at a chosen point of a process, by SIGKILL: what the children that get killed have in common."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from bench.crash.vfs import TracedFiles, Unreachable


class Fuse:
    """Counts hits of one phase down, and then the process is gone, at that very instruction.

    Phase `timer` counts milliseconds. A phase that is hit too seldom ends after `enough_s` all the same.
    """

    def __init__(self, phase: str, count: int, *, enough_s: float) -> None:
        self.phase = phase
        self.step = "open"  #: the phase that SQL statements belong to now
        self._left = count
        threading.Timer(count / 1000 if phase == "timer" else enough_s, die).start()

    def hit(self, phase: str) -> None:
        """One more of `phase`. Opening may have fewer statements than that: then death comes with the first commit."""
        if phase == self.phase:
            self._left -= 1
        if self._left <= 0 or (self.phase == "open" and phase == "commit"):
            die()

    def around(self, owner: Any, name: str, phase: str) -> None:
        """Hit before and after every call of a function; its SQL statements stay what they are."""
        real: Callable[..., Any] = getattr(owner, name)

        def around(*given: Any, **named: Any) -> Any:
            self.hit(phase)
            result = real(*given, **named)
            self.hit(phase)
            return result

        setattr(owner, name, around)

    def at_statements(self) -> None:
        """Hit `step` at every SQL statement of connections opened from now on."""
        for module in (sqlite3, sqlite3.dbapi2):
            connect: Callable[..., sqlite3.Connection] = getattr(module, "connect")  # noqa: B009 - typed as overloads
            setattr(module, "connect", self._traced(connect))  # noqa: B010

    def at_file_operations(self) -> None:
        """Hit `io` before and after everything SQLite does to a file. Raises Unreachable if that is the phase."""
        try:
            TracedFiles(lambda *_: self.hit("io")).install()
        except Unreachable:
            if self.phase == "io":
                raise

    def _traced(self, connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        def traced(*given: Any, **named: Any) -> sqlite3.Connection:
            connection = connect(*given, **named)
            connection.set_trace_callback(lambda _: self.hit(self.step))
            return connection

        return traced


def die() -> None:
    """No handler, no flush, no farewell."""
    os.kill(os.getpid(), signal.SIGKILL)
