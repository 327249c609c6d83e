"""What a disk may hold after a power cut: a model that promises less than any file system we run on.

Taken for granted:
- what was written to a file before a finished fsync of it is there, byte for byte;
- a name that was created, renamed or removed before a finished fsync of its folder is as it was then;
- a rename is there or not, never half; a write changes no byte outside itself (SQLite calls it powersafe overwrite).

Everything else may have happened or not, each for itself and in any order. Of the writes since the last fsync of their
file any set has arrived, of each any of its 512-byte sectors. The file has its old or any of its newer sizes (but none
from before a cutting-off that has arrived); where it grew without its data there are zeros or old garbage. Of the names
since the last fsync of their folder any set has changed, also to a file whose content never came. An fsync of a file
says nothing of its name.

ext4 with data=ordered gives more: metadata in order, no garbage, a new file's name with its fsync. We don't use it.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

from bench.crash.trace import Step

SECTOR_BYTES = 512
FOLDER = None  # what the name of a folder leads to
MOODS = ("all of it", "nothing", "a beginning", "any writes", "any sectors", "any sectors and sizes")

Write = tuple[int, bytes | None]  # (offset, data), or (size, None) for a truncate


class _File:
    """One file, whatever its name: synced content, and what was done to it since."""

    def __init__(self, content: bytes = b"") -> None:
        self.synced = bytearray(content)
        self.pending: list[Write] = []

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.synced, write)
        self.pending = []


class Disk:
    """Files and names of one folder tree, as far as they are known to have arrived."""

    def __init__(self, root: str, content: dict[str, bytes] | None = None) -> None:
        self._root = root
        names = {path: _File(data) for path, data in (content or {}).items()}
        self._now: dict[str, _File | None] = dict(names)  # as a running program sees it
        self._synced: dict[str, _File | None] = dict(names)
        self._changes: list[dict[str, _File | str | None]] = []  # of names, not synced: path → what, or GONE

    def apply(self, step: Step) -> None:
        """Go on by one step."""
        match step.kind:
            case "create":
                self._name({step.path: _File()})
            case "mkdir":
                self._name({step.path: FOLDER})
            case "unlink":
                self._name({step.path: GONE})
            case "rename":
                self._name({step.other: self._now[step.path], step.path: GONE})
            case "write":
                self._file(step.path).pending.append((step.at, step.data))
            case "truncate":
                self._file(step.path).pending.append((step.at, None))
            case "sync":
                self._file(step.path).sync()
            case "sync_folder":
                self._sync_folder(step.path)

    def now(self) -> dict[str, bytes]:
        """The content of every file as a running program sees it, by path."""
        found = {}
        for path, file in self._now.items():
            if file is not FOLDER:
                content = bytearray(file.synced)
                for write in file.pending:
                    _apply(content, write)
                found[path] = bytes(content)
        return found

    def cut(self, rng: random.Random) -> dict[str, bytes]:
        """The power goes: the content of every file that is there afterwards, by path."""
        names = dict(self._synced)
        mood = rng.choice(MOODS)
        share = _share(mood, rng)
        for change in self._changes:
            if rng.random() < share:
                _change(names, change)
        found: dict[str, bytes] = {}
        for path, file in names.items():
            if file is not FOLDER and self._is_reached(path, names):
                found[path] = _survivor(file, mood if rng.random() < 0.7 else rng.choice(MOODS), rng)
        return found

    def _is_reached(self, path: str, names: dict[str, _File | None]) -> bool:
        """Whether every folder on the way is there; the root always is."""
        above = [str(each) for each in Path(path).parents]
        return all(each in names for each in above[: above.index(self._root)] if self._made_here(each))

    def _made_here(self, folder: str) -> bool:
        return folder in self._now and self._now[folder] is FOLDER

    def _file(self, path: str) -> _File:
        file = self._now[path]
        assert file is not None
        return file

    def _name(self, change: dict[str, _File | str | None]) -> None:
        _change(self._now, change)
        self._changes.append(change)

    def _sync_folder(self, folder: str) -> None:
        later = []
        for change in self._changes:
            if any(str(Path(path).parent) == folder for path in change):
                _change(self._synced, change)
            else:
                later.append(change)
        self._changes = later


GONE = "gone"


def _change(names: dict[str, _File | None], change: dict[str, _File | str | None]) -> None:
    for path, what in change.items():
        if isinstance(what, str):
            names.pop(path, None)
        else:
            names[path] = what


def _share(mood: str, rng: random.Random) -> float:
    """How much of what is not synced has arrived."""
    return {"all of it": 1.0, "nothing": 0.0}.get(mood, rng.random())


def _survivor(file: _File, mood: str, rng: random.Random) -> bytes:
    content = bytearray(file.synced)
    share = _share(mood, rng)
    arrived = [rng.random() < share for _ in file.pending]
    if mood == "a beginning":
        end = rng.randint(0, len(file.pending))
        arrived = [at < end for at in range(len(file.pending))]
    for (at, data), is_here in zip(file.pending, arrived, strict=True):
        if not is_here:
            continue
        if data is None or "sectors" not in mood:
            _apply(content, (at, data))
            continue
        for sector_at, sector in _sectors(at, data):
            if rng.random() < 0.5:
                _apply(content, (sector_at, sector), rng=rng)
    if mood.endswith("sizes"):
        _apply(content, (rng.choice(_sizes(file, arrived)), None), rng=rng)
    return bytes(content)


def _sectors(at: int, data: bytes) -> list[Write]:
    """The write, cut at the borders of the disk's sectors."""
    first = -at % SECTOR_BYTES
    cuts = [0, *range(first or SECTOR_BYTES, len(data), SECTOR_BYTES), len(data)]
    return [(at + low, data[low:high]) for low, high in pairwise(cuts)]


def _sizes(file: _File, arrived: list[bool]) -> list[int]:
    """Sizes the file may have: of before or after each change, but of none before a cutting-off that has arrived."""
    sizes = [len(file.synced)]
    for (at, data), is_here in zip(file.pending, arrived, strict=True):
        if data is not None:
            sizes.append(max(sizes[-1], at + len(data)))
        elif is_here:
            sizes = [at]
    return sizes


def _apply(content: bytearray, write: Write, *, rng: random.Random | None = None) -> None:
    at, data = write
    end = at if data is None else at + len(data)
    if data is None:
        del content[at:]
    hole = (at if data is not None else end) - len(content)
    if hole > 0:
        content += rng.randbytes(hole) if rng is not None and rng.random() < 0.3 else bytes(hole)
    if data is not None:
        content[at:end] = data
