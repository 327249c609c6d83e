"""A buffer file as the first release left it when it was killed: accepted groups at schema 1, nothing sealed."""

from __future__ import annotations

import secrets
from pathlib import Path

from bench.crash.device import Diary
from edge.agent import BUFFER_NAME
from edge.buffer import file as buffer_file
from edge.buffer.groups import group_row, insert_group
from edge.keys import load_or_make
from wire.observation import ClockState, Observation, Quality, Reading, Stamp

GROUPS, READINGS = 20, 3
AT_MS = 1_760_000_000_000
OLD_LIFE = 0  # its number in the diaries


def leave_old_file(folder: Path, gateway: str) -> None:
    """Put it into the data folder of `folder`; what it has accepted is in the diary of life 0."""
    diary = Diary(folder, OLD_LIFE)
    identity = load_or_make(folder / "data", gateway)
    usual = buffer_file.migrations
    buffer_file.migrations = lambda: usual()[:1]
    try:
        db = buffer_file.open_file(folder / "data" / BUFFER_NAME)
    finally:
        buffer_file.migrations = usual
    with buffer_file.transaction(db):
        db.execute("INSERT INTO meta VALUES ('gateway', ?)", (gateway.encode(),))
        db.execute("INSERT INTO stream (name, kid) VALUES (?, ?)", (secrets.token_bytes(16), identity.kid))
        for group_number in range(1, GROUPS + 1):
            group = [_next(diary) for _ in range(READINGS)]
            insert_group(db, group_number, group_row([reading for _, reading in group]))
            diary.accepted([number for number, _ in group])
        db.execute("DELETE FROM meta WHERE key = 'schema'")  # the first release did not write it
    db.close()


def _next(diary: Diary) -> tuple[int, Observation]:
    number = diary.number()
    stamp = Stamp(AT_MS + number * 1000, number * 1000, bytes(16), ClockState.SYNCED)
    reading = Reading("old/count", "C62", number, 0, stamp, Quality.OK)
    diary.produced(number, reading)
    return number, reading
