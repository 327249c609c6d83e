"""What can go wrong around a cloud that runs: its disk, its lag, its clock. A chore looks every few seconds.

The clock is asked three ways, for each misses something: the kernel (is it synchronised?), our own monotonic clock (was
it stepped?), and the gateways' signed times (do several of them, with nothing in common but the time, say we lag?).
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from cloud.clock import Now, system_now_ms
from cloud.config import WatchConfig
from cloud.db.engine import reading
from cloud.db.tables import pack
from cloud.health import PartHealth

LOOK_EVERY_S = 5.0
STEP_MIN_MS = 2_000  # more than scheduling and slewing ever take between two looks
STEP_TOLD_S = 600.0
AHEAD_MS, AHEAD_GATEWAYS = 60_000, 3
AHEAD_PACKS = 2_000  # to look at: two of the largest groups, in each of which packs are in order of their gateways
TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_TIMEX_BYTES, _STATUS_AT, _STA_UNSYNC, _TIME_ERROR = 512, 40, 0x40, 5

OldestS = Callable[[], float]  # for how long the oldest message in hand has waited for its commit
Synchronised = Callable[[], bool | None]


def clock_synchronised() -> bool | None:
    """Whether the kernel says that the clock is synchronised; None where it can't be asked."""
    if TIMESYNCD.exists():
        return True
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only asks
    state = adjtimex(buffer)
    if state < 0:
        assert ctypes.get_errno() in {errno.EPERM, errno.ENOSYS, errno.EACCES, errno.EFAULT}, os.strerror(
            ctypes.get_errno()
        )
        return None
    (status,) = struct.unpack_from("i", buffer.raw, _STATUS_AT)
    return bool(state != _TIME_ERROR and not status & _STA_UNSYNC)


class Vitals:
    """The last look. folder: on the disk that fills up; oldest_s: of the ingest worker."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        config: WatchConfig,
        *,
        oldest_s: OldestS,
        wall_ms: Now = system_now_ms,
        monotonic: Callable[[], float] = time.monotonic,
        synchronised: Synchronised = clock_synchronised,
    ) -> None:
        self._engine, self._folder, self._config, self._oldest_s = engine, folder, config, oldest_s
        self._wall_ms, self._monotonic, self._synchronised = wall_ms, monotonic, synchronised
        self._before: tuple[int, float] | None = None
        self._stepped: tuple[int, float] | None = None
        self._ahead: Sequence[str] = ()
        self.disk_free_bytes: int | None = None
        self.clock_synchronised: bool | None = None

    @property
    def parts(self) -> dict[str, PartHealth]:
        """Disk, lag and clock, as `/healthz` shows them."""
        return {"disk": self._disk(), "lag": self._lag(), "clock": self._clock()}

    def run_once(self, _stop: threading.Event) -> int:
        """Look once; never more work to do. Raises DatabaseUnavailable."""
        wall_ms, now_s = self._wall_ms(), self._monotonic()
        if self._before is not None:
            step_ms = wall_ms - self._before[0] - round(1000 * (now_s - self._before[1]))
            if abs(step_ms) >= STEP_MIN_MS:
                self._stepped = (step_ms, now_s)
        self._before = (wall_ms, now_s)
        self.clock_synchronised = self._synchronised()
        try:
            self.disk_free_bytes = shutil.disk_usage(self._folder).free
        except OSError:
            self.disk_free_bytes = None
        with reading(self._engine) as conn:
            self._ahead = gateways_ahead(conn)
        return 0

    def _disk(self) -> PartHealth:
        if self.disk_free_bytes is None:
            return PartHealth(self._before is None, f"{self._folder}: cannot be asked how full it is")
        free_mb, least_mb = self.disk_free_bytes // 1_000_000, self._config.disk_free_min_mb
        if free_mb < least_mb:
            return PartHealth(False, f"{free_mb} MB free at {self._folder}, at least {least_mb} are wanted")
        return PartHealth(True, f"{free_mb} MB free")

    def _lag(self) -> PartHealth:
        oldest_s = self._oldest_s()
        if oldest_s > self._config.lag_max_s:
            return PartHealth(False, f"a message has waited {oldest_s:.0f} s for its commit: database or disk is slow")
        return PartHealth(True, "nothing waits" if oldest_s < 1 else f"a message waits {oldest_s:.0f} s for its commit")

    def _clock(self) -> PartHealth:
        if self._stepped is not None and self._monotonic() - self._stepped[1] < STEP_TOLD_S:
            return PartHealth(False, f"was stepped by {self._stepped[0] / 1000:+.0f} s within the last 10 minutes")
        if self._ahead:
            named = ", ".join(self._ahead)
            return PartHealth(False, f"{named} seal more than {AHEAD_MS // 1000} s after we receive: ours is behind")
        if self.clock_synchronised is False:
            return PartHealth(not self._config.clock_must_sync, "the kernel says that it is not synchronised")
        return PartHealth(
            True, "synchronised" if self.clock_synchronised else "whether it is synchronised is not known"
        )


def gateways_ahead(conn: Connection) -> list[str]:
    """Gateways whose newest packs were sealed well after we received them, if those are several and the most of all."""
    query = select(pack.c.gateway, pack.c.sealed_ms, pack.c.received_ms).where(~pack.c.simulated)
    newest: dict[str, int] = {}
    for row in conn.execute(query.order_by(pack.c.id.desc()).limit(AHEAD_PACKS)):
        newest.setdefault(row.gateway, row.sealed_ms - row.received_ms)
    ahead = sorted(name for name, by_ms in newest.items() if by_ms > AHEAD_MS)
    return ahead if len(ahead) >= AHEAD_GATEWAYS and 2 * len(ahead) > len(newest) else []
