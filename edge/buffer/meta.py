"""What the buffer file keeps beside streams and packs: whose it is, and which command counter was used last."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge.buffer.base import BufferUnusable
from edge.buffer.file import CorruptFile


def claim_file(db: sqlite3.Connection, path: Path, gateway: str) -> None:
    """Write the gateway's name into a new file, or hold it against the one there. Raises BufferUnusable."""
    owner = _read(db, "gateway")
    if owner is None:
        _write(db, "gateway", gateway)
    elif owner != gateway:
        raise BufferUnusable(
            f"{path}: the buffer of gateway {owner}, configured is {gateway}; give each gateway a data_dir of its own"
        )


def use_counter(db: sqlite3.Connection, counter: int) -> bool:
    """Use up a command counter for good; False when it, or a later one, was used before. Raises CorruptFile."""
    used = _read(db, "command_counter")
    if used is not None and not used.isdecimal():
        raise CorruptFile(f"the last command counter reads {used[:20]!r}")
    if used is not None and counter <= int(used):
        return False
    _write(db, "command_counter", str(counter))
    return True


def _read(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0].decode(errors="replace")


def _write(db: sqlite3.Connection, key: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value.encode()))
