"""The follower that copies readings to a time-series database, for dashboards: a mirror, never the record.

It reads packs by leaf index and writes a batch at a time; the cursor moves after the server has taken the batch. So
every reading gets there, whatever stops either of us; after a kill the batch in hand is written again, which the
server overwrites or keeps beside it (equal series and times).

Ingest is never kept waiting: everything is read in read transactions that end before a request begins; the cursor's
move is the only write. One batch is in flight, nothing is queued: a server that is slow or away only lets the lag grow.
Catching up takes at most 1 / (1 + REST_PER_WORK) of this thread's time.

What a server refuses for good is cut in halves until the bad lines are alone; these are counted and logged, and the
rest goes on. Whatever else it says is waited out, with back-off.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import Engine

from cloud.chore import Chore
from cloud.clock import Now
from cloud.config import MirrorConfig
from cloud.db.cursor import advance, position
from cloud.db.engine import reading, writing
from cloud.health import PartHealth
from cloud.mirror.sink import Away, InfluxSink, Refused, Sink
from cloud.mirror.source import Batch, held_before, next_batch, places_of

_log = logging.getLogger(__name__)

FOLLOWER = "mirror"
BACK_OFF_S = (1.0, 30.0)  # first and longest pause
HALVINGS_MAX = 400  # requests that look for bad lines in one batch; what is not told apart by then is refused whole
REST_PER_WORK = 4.0  # CPU seconds left to others for each of ours while catching up
LOOK_EVERY_S = 1.0  # how soon a reading is copied
LATE_S = 300.0  # a mirror that is away for longer is not well


class MirrorCounters(msgspec.Struct):
    """Since the start: what was copied, held back for want of a time, refused by the server; and how far behind."""

    readings: int = 0
    held_back: int = 0
    refused: int = 0
    lag_leaves: int = 0
    lag_s: int = 0


class Mirror:
    """One bucket's follower. target: names the bucket; another one is filled from the beginning."""

    def __init__(
        self,
        engine: Engine,
        now: Now,
        sink: Sink,
        *,
        target: str,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = MirrorCounters()
        self._engine = engine
        self._now = now
        self._sink = sink
        self._target = target
        self._rng = rng or random.SystemRandom()
        self._monotonic = monotonic
        self._measured = False
        self._away: Away | None = None
        self._away_since_s = 0.0
        self._tries = 0
        self._next_try_s = 0.0

    @property
    def health(self) -> PartHealth:
        """How far behind it is, and why. Not well when the server has been away for LATE_S."""
        counts = self.counters
        if not self._measured:
            return PartHealth(True, "has not looked yet")
        lag = f"{counts.lag_leaves} leaves, {counts.lag_s} s behind" if counts.lag_leaves else "up to date"
        if counts.refused:
            lag += f"; {counts.refused} readings refused by the server, see the log"
        if self._away is None:
            return PartHealth(True, lag)
        return PartHealth(self._monotonic() - self._away_since_s < LATE_S, f"{lag}; {self._away}")

    def run_once(self, stop: threading.Event) -> int:
        """Copy one batch, unless there is none or the server is being waited for; how many packs that were."""
        if self._monotonic() < self._next_try_s:
            return 0
        worked_s = time.thread_time()
        with reading(self._engine) as conn:
            stands_at = position(conn, FOLLOWER, self._target)
            batch = next_batch(conn, -1 if stands_at is None else stands_at)
        if not batch.packs:
            self._measure(batch, done=True)
            return 0
        self._measure(batch, done=False)
        try:
            if not self._copy(batch, stop):
                return 0
        except Away as error:
            self._wait(error)
            return 0
        if self._away is not None:
            _log.info("the mirror goes on")
            self._away, self._tries = None, 0
        self._keep(batch)
        stop.wait(REST_PER_WORK * (time.thread_time() - worked_s))
        return batch.packs

    def _copy(self, batch: Batch, stop: threading.Event) -> bool:
        """Write a batch, and what was held back until its corrections came; whether all of it. Raises Away."""
        if not self._send(batch.lines, stop):
            return False
        if not batch.corrected:
            return True
        with reading(self._engine) as conn:
            places = places_of(conn, batch.corrected)
        while places:
            with reading(self._engine) as conn:
                lines, following = held_before(conn, places.pop(), batch.through)
            if stop.is_set() or not self._send(lines, stop):
                return False
            places += [] if following is None else [following]
        return True

    def _send(self, lines: list[str], stop: threading.Event) -> bool:
        """Write lines, but for those that the server refuses for good; False when stopped amid. Raises Away."""
        pieces, halvings, refused = [lines] if lines else [], 0, 0
        while pieces:
            piece = pieces.pop()
            try:
                self._sink.write("\n".join(piece))
            except Refused as error:
                if stop.is_set():
                    return False
                if len(piece) == 1 or halvings >= HALVINGS_MAX:
                    if not refused:
                        _log.error("the mirror's server refuses a reading: %s: %r", error, piece[0][:200])
                    refused += len(piece)
                    continue
                halvings += 1
                middle = len(piece) // 2
                pieces += [piece[middle:], piece[:middle]]
        self.counters.refused += refused
        self.counters.readings += len(lines) - refused
        return True

    def _keep(self, batch: Batch) -> None:
        self.counters.held_back += batch.held_back
        with writing(self._engine) as conn:
            stands_at = position(conn, FOLLOWER, self._target)
            if stands_at is None or stands_at < batch.through:  # or another process is further
                advance(conn, FOLLOWER, self._target, batch.through)
        self._measure(batch, done=True)

    def _measure(self, batch: Batch, *, done: bool) -> None:
        """done: whether the batch is copied, so that only what follows it lags."""
        counts = self.counters
        counts.lag_leaves = batch.waiting if done else batch.waiting + batch.packs
        behind_ms = 0 if batch.since_ms is None else self._now() - batch.since_ms
        self._measured = True
        counts.lag_s = max(0, behind_ms // 1_000) if counts.lag_leaves else 0

    def _wait(self, error: Away) -> None:
        now_s = self._monotonic()
        if self._away is None:
            _log.warning("the mirror waits: %s", error)
            self._away_since_s = now_s
        self._away = error
        first_s, longest_s = BACK_OFF_S
        pause_s = min(longest_s, first_s * 2.0 ** min(self._tries, 10))
        self._tries += 1
        self._next_try_s = now_s + pause_s * self._rng.uniform(0.5, 1.0)


def target_of(config: MirrorConfig) -> str:
    """What names the bucket of a configuration: the part of FOLLOWER under which its position is kept."""
    return f"{config.url} {config.org}/{config.bucket}"


def mirror_chore(config: MirrorConfig, engine: Engine, now: Now) -> Chore:
    """The mirror as the cloud runs it. Raises Fatal when it cannot be set up."""
    mirror = Mirror(engine, now, InfluxSink(config), target=target_of(config))
    return Chore("mirror", mirror.run_once, rest_s=LOOK_EVERY_S, tells=mirror)
