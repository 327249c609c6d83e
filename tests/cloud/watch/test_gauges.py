"""What the database tells Prometheus is what it says."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.record import Arrival, record
from cloud.ledger import log
from cloud.watch.gauges import of_record
from tests.cloud.field import START_MS, Gateway


def _lag(engine: Engine) -> float | None:
    with reading(engine) as conn:
        [family] = [one for one in of_record(conn) if one.name == "follower_lag_leaves"]
    [value] = [one.value for one in family.samples if one.labels == {"follower": "gaps"}]
    return value


def test_a_follower_that_has_worked_through_every_pack_does_not_lag(engine: Engine, gateway: Gateway) -> None:
    record(engine, [Arrival(gateway.topic, gateway.envelope(1), START_MS)])
    with writing(engine) as conn:
        log.append(conn, "event", payload=b"of that pack", ref="")
    assert _lag(engine) == 3
    GapFollower(engine).run_once()
    assert _lag(engine) == 0
