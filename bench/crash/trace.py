"""A record of everything that is written to a folder: SQLite's files through a VFS, side files through `os`.

    with Recorder(folder, rng) as record:
        … the real code works in the folder …
        record.mark("accepted", …)
    record.steps        in order, as they were finished

Written for one writer: the buffer's thread, or the loop while that thread rests. Random bytes the code under test
asks for (names of streams) come from `rng`, so that a recorded life is the same every time.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from bench.crash.vfs import TracedFiles

PATCHED = ("open", "fsync", "replace", "rename", "unlink", "remove", "mkdir")


class Step(msgspec.Struct, frozen=True):
    """One finished operation, or a mark. at: the offset of a write, the size of a truncate. data: what was written.

    kind: create, write, truncate, sync, unlink, rename (to `other`), mkdir, sync_folder; or a mark's name with `note`.
    """

    kind: str
    path: str = ""
    at: int = 0
    data: bytes = b""
    other: str = ""
    note: Any = None


class Recorder:
    """Records while it is entered; not from two places at once."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.steps: list[Step] = []
        self._root = str(folder)
        self._rng = rng
        self._real: dict[str, Callable[..., Any]] = {}
        self._token_bytes = secrets.token_bytes
        self._side: dict[str, bytes] = {}  # side files and what was recorded of their content
        self._opened: dict[int, str] = {}  # descriptors from os.open
        self._files = TracedFiles(self._tell)

    def __enter__(self) -> Self:
        self._files.install()
        for name in PATCHED:
            self._real[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"_{name}"))
        secrets.token_bytes = lambda size=32: self._rng.randbytes(size or 32)
        return self

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        secrets.token_bytes = self._token_bytes
        self._files.remove()

    def mark(self, kind: str, note: Any) -> None:
        """Something the outside world has seen by now."""
        self.steps.append(Step(kind, note=note))

    def _tell(self, kind: str, path: str, at: int, data: bytes) -> None:
        if kind != "about" and self._ours(path):
            self.steps.append(Step(kind, path, at, data))

    def _ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._root)

    # -- in place of functions of `os`: what they do, and a record of it --

    def _open(self, path: Any, flags: int, *given: Any, **named: Any) -> int:
        is_new = self._ours(path) and flags & os.O_CREAT and not Path(path).exists()
        descriptor: int = self._real["open"](path, flags, *given, **named)
        if self._ours(path):
            self._opened[descriptor] = os.fspath(path)
            if is_new:
                self._side[os.fspath(path)] = b""
                self.steps.append(Step("create", os.fspath(path)))
        return descriptor

    def _fsync(self, descriptor: int) -> None:
        path = self._opened.get(descriptor)
        if path is None:
            self._real["fsync"](descriptor)
        elif Path(path).is_dir():
            self._real["fsync"](descriptor)
            self.steps.append(Step("sync_folder", path))
        else:
            self._look_at(path)
            self._real["fsync"](descriptor)
            self.steps.append(Step("sync", path))

    def _look_at(self, path: str) -> None:
        """Record what was written to a side file since the last look: Python's own writes pass us by."""
        content = Path(path).read_bytes()
        if path not in self._side:
            self.steps.append(Step("create", path))
        if self._side.get(path) != content:
            self.steps.append(Step("truncate", path, 0))
            self.steps.append(Step("write", path, 0, content))
        self._side[path] = content

    def _replace(self, source: Any, target: Any) -> None:
        self._move("replace", source, target)

    def _rename(self, source: Any, target: Any) -> None:
        self._move("rename", source, target)

    def _move(self, name: str, source: Any, target: Any) -> None:
        before, after = os.fspath(source), os.fspath(target)
        if self._ours(before) and before in self._side:
            self._look_at(before)
        self._real[name](source, target)
        if self._ours(before):
            if before in self._side:
                self._side[after] = self._side.pop(before)
            self.steps.append(Step("rename", before, other=after))

    def _unlink(self, path: Any, **named: Any) -> None:
        self._real["unlink"](path, **named)
        if self._ours(path):
            self._side.pop(os.fspath(path), None)
            self.steps.append(Step("unlink", os.fspath(path)))

    _remove = _unlink

    def _mkdir(self, path: Any, *given: Any, **named: Any) -> None:
        self._real["mkdir"](path, *given, **named)
        if self._ours(path):
            self.steps.append(Step("mkdir", os.fspath(path)))
