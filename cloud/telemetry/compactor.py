"""Which rows of the tail are folded when: the chore that keeps the tail short.

A chunk's rows are folded once the oldest of them came a day ago, or sooner where the day is over and none of the
streams concerned has a gap. That only saves work: what comes later stands in the tail and is folded in a day later.
What must be right, fold.py keeps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection, Engine, func, select

from cloud.clock import Now
from cloud.db.engine import reading
from cloud.db.tables import chunk, settled, tail
from cloud.telemetry.body import BodyDamaged
from cloud.telemetry.chunk import DAY_MS, ChunkKey, key_of
from cloud.telemetry.fold import fold
from cloud.telemetry.waiting import Waiting, in_tail, waiting

WAIT_MS = 24 * 3_600_000  # for what fills a gap
LOOK_ROWS = 10_000  # of the tail in one look; the oldest come first
STALE_AT_ONCE = 100
KEYS_MAX, KEYS_AT_ONCE = 50_000, 500  # chunks in memory, and those handed to folding together

Progress = Callable[[int, int], None]  # rows folded so far, rows of the tail at the start


_log = logging.getLogger(__name__)


class Compactor:
    """Folds what is due, a look at a time. Several of them, in several processes, only share the work."""

    def __init__(self, engine: Engine, now: Now) -> None:
        self._engine = engine
        self._now = now
        self._damaged: set[ChunkKey] = set()  # told already
        self._after = 0  # the pack up to which the last look went, where it found nothing to fold

    def run_once(self, stop: threading.Event) -> int:
        """One look, and folding of all it found due; how many rows that were. Raises DatabaseUnavailable."""
        with reading(self._engine) as conn:
            keys, last = self._due(conn)
        folded = 0
        while keys and not stop.is_set():
            some, keys = self._fold(keys)
            folded += some
        self._after = 0 if folded or last is None else last
        return folded

    def _fold(self, keys: list[ChunkKey]) -> tuple[int, list[ChunkKey]]:
        try:
            return fold(self._engine, keys)
        except BodyDamaged:
            pass  # one of them: alone it shows which
        key, *others = keys
        try:
            folded, left = fold(self._engine, [key])
        except BodyDamaged as error:
            if key not in self._damaged:
                _log.error("series %d, boot %s, day %d: %s", key.series_id, key.boot_id.hex(), key.day, error)
            self._damaged.add(key)
            return 0, others
        return folded, [*left, *others]

    def _due(self, conn: Connection) -> tuple[list[ChunkKey], int | None]:
        now_ms, whole = self._now(), _Whole(conn)
        found = waiting(conn, self._after, LOOK_ROWS)
        by_key: dict[ChunkKey, list[Waiting]] = {}
        for one in found:
            by_key.setdefault(one.key, []).append(one)
        due = [
            key
            for key, parts in by_key.items()
            if min(one.since_ms for one in parts) <= now_ms - WAIT_MS or whole.settles(key, parts)
        ]
        is_full = sum(one.rows for one in found) == LOOK_ROWS
        last = max(one.last_pack for one in found) if is_full else None
        return list(dict.fromkeys([*due, *stale(conn, STALE_AT_ONCE)])), last


def compact(engine: Engine, progress: Progress, stop: threading.Event | None = None) -> int:
    """Fold all there is, whatever its age; what comes meanwhile stays. Returns the rows folded."""
    with reading(engine) as conn:
        total = int(conn.scalar(select(func.count()).select_from(tail)) or 0)
    folded = 0
    for keys in _every_key(engine):
        while keys and (stop is None or not stop.is_set()):
            some, keys = fold(engine, keys)
            folded += some
            progress(folded, total)
    return folded


def stale(conn: Connection, limit: int | None = None) -> list[ChunkKey]:
    """Chunks whose corrections have changed since they were described."""
    query = select(chunk.c.series_id, chunk.c.boot_id, chunk.c.day, chunk.c.carried).where(chunk.c.stale)
    return [key_of(row) for row in conn.execute(query.limit(limit))]


def _every_key(engine: Engine) -> Iterator[list[ChunkKey]]:
    after: int | None = 0
    while after is not None:
        with reading(engine) as conn:
            keys, after = in_tail(conn, after, KEYS_MAX)
        for at in range(0, len(keys), KEYS_AT_ONCE):
            yield keys[at : at + KEYS_AT_ONCE]
    with reading(engine) as conn:
        keys = stale(conn)
    yield keys


class _Whole:
    """Whether days are over and without gaps, each question asked once."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._gapless: dict[tuple[str, bytes], bool] = {}

    def settles(self, key: ChunkKey, parts: Sequence[Waiting]) -> bool:
        return self._is_over(key) and all(self._has_no_gap(one.gateway, one.stream) for one in parts)

    def _is_over(self, key: ChunkKey) -> bool:
        later = select(tail.c.pack_id).where(
            tail.c.boot_id == key.boot_id,
            tail.c.from_monotonic_ms >= (key.day + 1) * DAY_MS,
            tail.c.series_id == key.series_id,
        )
        return self._conn.scalar(later.limit(1)) is not None

    def _has_no_gap(self, gateway: str, stream: bytes) -> bool:
        if (gateway, stream) not in self._gapless:
            ranges = select(settled.c.first_seq).where(settled.c.gateway == gateway, settled.c.stream == stream)
            self._gapless[gateway, stream] = list(self._conn.scalars(ranges.limit(2))) == [1]
        return self._gapless[gateway, stream]
