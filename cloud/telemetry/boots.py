"""What packs tell of a gateway's boots; kept as it comes, from which bounds.py says when a boot was."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from cloud.db.bulk import find, put_rows
from cloud.db.tables import boot, succession
from cloud.telemetry.place import Place
from wire.observation import ClockState
from wire.pack import Pack

BootKey = tuple[str, bytes]  # gateway, boot id


class Stored(msgspec.Struct, frozen=True):
    """A pack, the id of its row, when it was received, and where each of its scans stands."""

    id: int
    pack: Pack
    received_ms: int
    places: Sequence[Place]


def record_boots(conn: Connection, stored: Sequence[Stored]) -> None:
    """Note what these packs tell of their boots; in any order, any number of times."""
    news: dict[tuple[str, bytes, bytes], _Facts] = {}
    for one in stored:
        sealed = one.pack.sealed
        key = one.pack.gateway, sealed.boot_id, one.pack.stream
        synced = (sealed.monotonic_ms, sealed.observed_at_ms) if sealed.clock is ClockState.SYNCED else None
        told = _Facts(one.pack.seq, one.received_ms - sealed.monotonic_ms, synced)
        news[key] = _both(news[key], told) if key in news else told
    known: dict[tuple[str, bytes, bytes], _Facts] = {}
    rows = find(conn, list(boot.columns), (boot.c.gateway, boot.c.boot_id, boot.c.stream), news)
    for gateway, boot_id, stream, first_seq, ceiling_ms, monotonic_ms, wall_ms in rows:
        synced = None if wall_ms is None else (monotonic_ms, wall_ms)
        known[gateway, boot_id, stream] = _Facts(first_seq, ceiling_ms, synced)
    after = {key: _both(known[key], told) if key in known else told for key, told in news.items()}
    put_rows(conn, boot, [(*key, *facts.columns) for key, facts in after.items() if facts != known.get(key)])


def predecessors(conn: Connection, gateway: str, without: Container[int] = ()) -> dict[bytes, bytes]:
    """Stream → the one it goes on from. without: ids of packs that don't count."""
    rows = conn.execute(select(succession).where(succession.c.gateway == gateway))
    return {row.stream: row.prior_stream for row in rows if row.pack_id not in without}


class _Facts(NamedTuple):
    """What packs tell of a boot. synced: monotonic and believed wall time of the last sealing by a clock that was set.

    The last, not the highest wall time: a clock may have been set wrongly before, and set right since.
    """

    first_seq: int
    ceiling_ms: int
    synced: tuple[int, int] | None

    @property
    def columns(self) -> tuple[int, int, int | None, int | None]:
        """The columns of `boot` behind its key."""
        return (self.first_seq, self.ceiling_ms, *(self.synced or (None, None)))


def _both(one: _Facts, other: _Facts) -> _Facts:
    synced = max((told.synced for told in (one, other) if told.synced is not None), default=None)
    return _Facts(min(one.first_seq, other.first_seq), min(one.ceiling_ms, other.ceiling_ms), synced)
