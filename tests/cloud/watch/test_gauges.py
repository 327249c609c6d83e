"""What the database tells Prometheus is what it says."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from cloud.config import MirrorConfig
from cloud.db.cursor import advance
from cloud.db.engine import reading, sqlite_file, writing
from cloud.ingest import quarantine
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.quarantine import Refused
from cloud.ingest.record import Arrival, record
from cloud.ledger import log
from cloud.mirror.follower import FOLLOWER, target_of
from cloud.watch.exposition import Family
from cloud.watch.gauges import of_database, of_record
from tests.cloud.field import START_MS, Gateway

HERE = MirrorConfig("http://127.0.0.1:8428", "cold")
LEFT = MirrorConfig("http://127.0.0.1:8428", "cold-until-may")


def _family(found: list[Family], name: str) -> dict[str, float | None]:
    """The values of a family by the value of its label, "" where it has none."""
    [family] = [one for one in found if one.name == name]
    return {"".join(one.labels.values()): one.value for one in family.samples}


def _lags(engine: Engine, mirror: MirrorConfig | None = None) -> dict[str, float | None]:
    with reading(engine) as conn:
        return _family(of_record(conn, mirror), "follower_lag_leaves")


def test_a_follower_that_has_worked_through_every_pack_does_not_lag(engine: Engine, gateway: Gateway) -> None:
    record(engine, [Arrival(gateway.topic, gateway.envelope(1), START_MS)])
    with writing(engine) as conn:
        log.append(conn, "event", payload=b"of that pack", ref="")
    assert _lags(engine) == {"gaps": 3}
    GapFollower(engine).run_once()
    assert _lags(engine) == {"gaps": 0}


def test_only_the_configured_mirror_lags(engine: Engine, gateway: Gateway) -> None:
    record(engine, [Arrival(gateway.topic, gateway.envelope(seq), START_MS) for seq in range(1, 5)])
    with writing(engine) as conn:
        advance(conn, FOLLOWER, target_of(LEFT), 1)  # a bucket of before, which nothing is copied to any more
    assert _lags(engine) == {"gaps": 5}
    assert _lags(engine, HERE)["mirror"] == 5, "nothing was copied there yet"
    with writing(engine) as conn:
        advance(conn, FOLLOWER, target_of(HERE), 3)
    assert _lags(engine, HERE)["mirror"] == 1
    assert _lags(engine, LEFT)["mirror"] == 3


def test_the_quarantine_counts_messages_and_not_the_rows_that_only_count(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "ROWS_MAX", 3)
    with writing(engine) as conn:
        quarantine.keep(conn, [Refused("t", bytes([at]), "malformed", "", 1) for at in range(5)])
    with reading(engine) as conn:
        found = of_record(conn)
    assert _family(found, "quarantine_entries") == {"": 3}
    assert _family(found, "quarantine_messages_total") == {"malformed": 5}


def test_size_is_that_of_the_files_of_an_sqlite_database(engine: Engine) -> None:
    file = sqlite_file(engine.url)
    found = of_database(engine)
    if file is None:
        assert found == []
    else:
        assert _family(found, "database_size_bytes")["database"] == file.stat().st_size
