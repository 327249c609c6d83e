"""What SQLite's write-ahead log claims to hold, so that a damaged one does not lose commits in silence.

SQLite takes a log up to the first frame whose checksum is wrong, and says nothing: a flipped bit in the middle undoes
everything after it. After a power cut that is right, and at most the one transaction that was being written is
undone: each is synced before the next begins. So a log with two or more commits behind the last one SQLite took has
been damaged, and so has one whose own header is wrong. A damage to the very last commit can't be told from a power
cut, nor can a log that was cut off: only by what head.json knows to have been accepted (edge/buffer/turn.py).

Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import msgspec

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
MAGIC = {0x377F0682: "<", 0x377F0683: ">"}  # by the byte order of the checksums
UNDER_WAY = 1  # commits that a power cut may have left half written

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">4I")  # page, size of the database after a commit or 0, both salts


class LogClaim(msgspec.Struct, frozen=True):
    """commits: which frames, counted from 1, end a transaction of this log. damaged: its header is wrong."""

    commits: list[int]
    damaged: bool = False


def read_log(path: Path) -> LogClaim:
    """The claim of the log of the database `path`; call it before SQLite opens the database. Raises OSError."""
    log = path.with_name(f"{path.name}-wal")
    if not log.exists():
        return LogClaim([])
    size = log.stat().st_size
    with log.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return LogClaim([])
        magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack(header)
        if magic not in MAGIC or _checksum(header[:24], MAGIC[magic]) != (first, second):
            return LogClaim([], damaged=size > HEADER_BYTES)
        commits = []
        for number, at in enumerate(range(HEADER_BYTES, size, FRAME_HEADER_BYTES + page_bytes), start=1):
            file.seek(at)
            frame = file.read(_FRAME.size)
            if len(frame) == _FRAME.size:
                _, database_pages, *found = _FRAME.unpack(frame)
                if found == salts and database_pages:
                    commits.append(number)
        return LogClaim(commits)


def lost_commits(connection: sqlite3.Connection, claim: LogClaim) -> bool:
    """Whether SQLite, which has opened the database since, left out more of the log than a power cut explains.

    Folds the log into the database, which tells how many frames were taken. Raises sqlite3.Error.
    """
    if claim.damaged or len(claim.commits) <= UNDER_WAY:
        return claim.damaged
    _, taken, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return len([number for number in claim.commits if number > taken]) > UNDER_WAY


def _checksum(data: bytes, order: str) -> tuple[int, int]:
    first = second = 0
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
