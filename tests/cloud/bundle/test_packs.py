"""Which packs a bundle takes."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud.bundle.packs import Wanted, choose
from cloud.db.engine import reading as look
from cloud.ingest.record import Arrival, record
from tests.cloud.field import BOOT, START_MS, Gateway, reading
from wire.observation import INT64_MAX, ClockState, Stamp


def test_numbers_as_high_as_they_get_are_taken(engine: Engine, gateway: Gateway) -> None:
    sealed = Stamp(START_MS, 0, BOOT, ClockState.SYNCED)
    highest = gateway.seal(gateway.pack(INT64_MAX, [reading()], sealed=sealed))
    assert record(engine, [Arrival(gateway.topic, highest, START_MS)]).accepted == 1
    wanted = [Wanted(gateway.name, "room-1/air", START_MS, START_MS + 1)]
    with look(engine) as conn:
        assert [one.seq for one in choose(conn, wanted, [], size=99, packs_max=9)] == [INT64_MAX]
