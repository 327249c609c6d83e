"""Between which bounds the time of a boot lies that nobody ever set.

Monotonic time is true even where wall time is not, so two facts bound a boot whose clock was never set. It was sealed
before it was received: true time at monotonic 0 is at most receipt minus the monotonic time of sealing, of every pack.
And it began after the last moment that an earlier boot of the gateway saw with a clock that was set: by its corrected
time, and only where that is not after its own receipt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from cloud.db.tables import boot
from cloud.telemetry.boots import predecessors
from cloud.telemetry.corrections import courses
from wire.course import NOTHING, Course, ancestors

SLACK_MS = 300_000  # clocks that count as right may differ by so much
NEAR_MS = 60_000  # from observation to receipt, where a gateway is connected
EARLIEST_MS = 1_735_689_600_000  # 2025-01-01: no gateway of ours is older


class Bounds(msgspec.Struct, frozen=True):
    """True time at monotonic 0 of a boot: not before, not after; None where nothing is known."""

    floor_ms: int | None = None
    ceiling_ms: int | None = None

    def around(self, monotonic_ms: int) -> tuple[int | None, int | None]:
        """Between what a row of this boot was observed."""
        floor_ms = None if self.floor_ms is None else self.floor_ms + monotonic_ms
        return floor_ms, None if self.ceiling_ms is None else self.ceiling_ms + monotonic_ms

    def allow(self, observed_ms: int, monotonic_ms: int) -> bool:
        """Whether a row of this boot can have been observed then, as far as anybody knows."""
        floor_ms, ceiling_ms = self.around(monotonic_ms)
        after = observed_ms >= max(EARLIEST_MS, EARLIEST_MS if floor_ms is None else floor_ms - SLACK_MS)
        return after and (ceiling_ms is None or observed_ms <= ceiling_ms + SLACK_MS)

    def agree(self, observed_ms: int, monotonic_ms: int) -> bool:
        """Whether a row says about the time of its receipt: a clock that is wrong would do so by chance only."""
        _, ceiling_ms = self.around(monotonic_ms)
        return ceiling_ms is not None and abs(observed_ms - ceiling_ms) <= NEAR_MS


def bounds(conn: Connection, gateway: str, boot_id: bytes) -> Bounds:
    """Between what the true time at monotonic 0 of a boot lies, as far as packs tell."""
    rows = conn.execute(select(boot).where(boot.c.gateway == gateway)).all()
    links = predecessors(conn, gateway)
    own = [row for row in rows if row.boot_id == boot_id]
    if not own:
        return Bounds()
    earlier = [
        row
        for row in rows
        if row.synced_ms is not None and row.boot_id != boot_id and any(_before(row, one, links) for one in own)
    ]
    corrected = courses(conn, {(gateway, row.boot_id) for row in earlier})
    known = [_last_known(row, corrected.get((gateway, row.boot_id), NOTHING)) for row in earlier]
    floor_ms = max((at for at in known if at is not None), default=None)
    return Bounds(floor_ms, min(row.ceiling_ms for row in own))


def _last_known(row: Row[Any], course: Course) -> int | None:
    """When a boot was last sealed by a clock that was set, as corrected; None where its receipts say otherwise."""
    correction = course.at(row.synced_monotonic_ms)
    at_ms: int = row.synced_ms if correction is None else row.synced_ms + correction.offset_ms
    return at_ms if at_ms <= row.ceiling_ms + row.synced_monotonic_ms + SLACK_MS else None


def _before(row: Row[Any], own: Row[Any], links: Mapping[bytes, bytes]) -> bool:
    """Whether a boot came earlier: in the same stream or one it goes on from. Other streams have no order."""
    if row.stream == own.stream:
        return bool(row.first_seq < own.first_seq)
    return row.stream in ancestors(own.stream, links)
