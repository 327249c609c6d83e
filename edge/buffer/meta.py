"""What the buffer file keeps beside streams and packs: whose it is, the last command counter, what was lost, and
where a change of key was named."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from edge.buffer.base import BufferUnusable
from edge.buffer.file import CorruptFile

COMMAND_COUNTER = "command_counter"
THINNED_READINGS = "thinned_readings"
LOST_PACKS = "lost_packs"
KEY_CHANGES = "key_changes"


def claim_file(db: sqlite3.Connection, path: Path, gateway: str) -> None:
    """Write the gateway's name into a new file, or hold it against the one there.

    Raises BufferUnusable, and CorruptFile for a name that is not the one that was written.
    """
    owner, written = read_text(db, "gateway"), read_text(db, "gateway_sum")
    if owner is None:
        write_text(db, "gateway_sum", _sum(gateway))
        write_text(db, "gateway", gateway)
    elif written not in {None, _sum(owner)}:
        raise CorruptFile(f"the name of the gateway was damaged, it reads {owner[:80]!r}")
    elif owner != gateway:
        raise BufferUnusable(
            f"{path}: the buffer of gateway {owner}, configured is {gateway}; give each gateway a data_dir of its own"
        )


def use_counter(db: sqlite3.Connection, counter: int) -> bool:
    """Use up a command counter for good; False when it, or a later one, was used before. Raises CorruptFile."""
    if counter <= tally(db, COMMAND_COUNTER):
        return False
    write_text(db, COMMAND_COUNTER, str(counter))
    return True


def tally(db: sqlite3.Connection, name: str) -> int:
    """A count that outlives the program; 0 when nothing was counted yet. Raises CorruptFile."""
    found = read_text(db, name)
    if found is not None and not found.isdecimal():
        raise CorruptFile(f"{name} reads {found[:20]!r}")
    return int(found or 0)


def add_to_tally(db: sqlite3.Connection, name: str, more: int) -> None:
    """Count `more` up; in the caller's transaction."""
    if more:
        write_text(db, name, str(tally(db, name) + more))


def read_text(db: sqlite3.Connection, key: str) -> str | None:
    """What is kept under a key, None when nothing is."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0].decode(errors="replace")


def write_text(db: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a text under a key; in the caller's transaction, or in one of its own."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value.encode()))


def _sum(name: str) -> str:
    """A flipped bit must not make the file another gateway's, which would refuse to start."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
