"""What packs tell of a gateway's boots, and between which bounds the time of a boot lies that nobody ever set.

Monotonic time is true even where wall time is not, so two facts bound a boot whose clock was never set. It was sealed
before it was received: true time at monotonic 0 is at most receipt minus the monotonic time of sealing, of every pack.
And it began after the last moment that an earlier boot of the gateway saw with a clock that was set.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from cloud.db.tables import boot, succession
from cloud.telemetry.course import ancestors
from cloud.telemetry.place import Place
from wire.observation import ClockState
from wire.pack import Pack

SLACK_MS = 300_000  # clocks that count as right may differ by so much
NEAR_MS = 60_000  # from observation to receipt, where a gateway is connected
EARLIEST_MS = 1_735_689_600_000  # 2025-01-01: no gateway of ours is older

BootKey = tuple[str, bytes]  # gateway, boot id


class Stored(msgspec.Struct, frozen=True):
    """A pack, the id of its row, when it was received, and where each of its scans stands."""

    id: int
    pack: Pack
    received_ms: int
    places: Sequence[Place]


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


def record_boots(conn: Connection, stored: Sequence[Stored]) -> None:
    """Note what these packs tell of their boots; in any order, any number of times."""
    news: dict[tuple[str, bytes, bytes], tuple[int, int, int | None]] = {}
    for one in stored:
        sealed = one.pack.sealed
        key = one.pack.gateway, sealed.boot_id, one.pack.stream
        synced_ms = sealed.observed_at_ms if sealed.clock is ClockState.SYNCED else None
        told = one.pack.seq, one.received_ms - sealed.monotonic_ms, synced_ms
        news[key] = _both(news[key], told) if key in news else told
    for (gateway, boot_id, stream), told in news.items():
        where = (boot.c.gateway == gateway, boot.c.boot_id == boot_id, boot.c.stream == stream)
        known = conn.execute(select(boot.c.first_seq, boot.c.ceiling_ms, boot.c.synced_ms).where(*where)).one_or_none()
        before = None if known is None else (known.first_seq, known.ceiling_ms, known.synced_ms)
        after = told if before is None else _both(before, told)
        values = dict(zip(("first_seq", "ceiling_ms", "synced_ms"), after, strict=True))
        if before is None:
            conn.execute(insert(boot).values(gateway=gateway, boot_id=boot_id, stream=stream, **values))
        elif before != after:
            conn.execute(update(boot).where(*where).values(**values))


def bounds(conn: Connection, gateway: str, boot_id: bytes) -> Bounds:
    """Between what the true time at monotonic 0 of a boot lies, as far as packs tell."""
    rows = conn.execute(select(boot).where(boot.c.gateway == gateway)).all()
    links = predecessors(conn, gateway)
    own = [row for row in rows if row.boot_id == boot_id]
    if not own:
        return Bounds()
    synced = [
        row.synced_ms
        for row in rows
        if row.synced_ms is not None and row.boot_id != boot_id and any(_before(row, one, links) for one in own)
    ]
    return Bounds(max(synced, default=None), min(row.ceiling_ms for row in own))


def _before(row: Row[Any], own: Row[Any], links: Mapping[bytes, bytes]) -> bool:
    """Whether a boot came earlier: in the same stream or one it goes on from. Other streams have no order."""
    if row.stream == own.stream:
        return bool(row.first_seq < own.first_seq)
    return row.stream in ancestors(own.stream, links)


def predecessors(conn: Connection, gateway: str, without: Container[int] = ()) -> dict[bytes, bytes]:
    """Stream → the one it goes on from. without: ids of packs that don't count."""
    rows = conn.execute(select(succession).where(succession.c.gateway == gateway))
    return {row.stream: row.prior_stream for row in rows if row.pack_id not in without}


def _both(one: tuple[int, int, int | None], other: tuple[int, int, int | None]) -> tuple[int, int, int | None]:
    synced = [told[2] for told in (one, other) if told[2] is not None]
    return min(one[0], other[0]), min(one[1], other[1]), max(synced, default=None)
