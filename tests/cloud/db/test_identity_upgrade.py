"""A database of the first release gets codes, certificates and ends of keys; its gateways go on as before."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert, select

from cloud.db import engine as db
from cloud.db import tables
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import keys_of
from tests.cloud.field import START_MS, Gateway

FIRST = Gateway("gw-kho-01")


def test_gateways_of_the_first_release_keep_their_keys(tmp_path: Path):
    engine = db.open_engine(db.sqlite_url(tmp_path / "cloud.db"))
    db.migrate(engine, "0001")
    with db.writing(engine) as conn:
        raw = FIRST.key.public_key().public_bytes_raw()
        conn.execute(insert(tables.gateway).values(name=FIRST.name, simulated=False, added_ms=1))
        row = {"gateway": FIRST.name, "kid": FIRST.kid, "public_key": raw, "added_ms": 1, "revoked_ms": 7}
        conn.execute(insert(tables.gateway_key).values(row))
    db.migrate(engine)
    with db.reading(engine) as conn:
        (key,) = keys_of(conn, FIRST.name)
        assert (key.public_key, key.revoked_ms, key.end) == (raw, 7, None)
        for added in (tables.invitation, tables.link_certificate, tables.key_end, tables.revocation):
            assert conn.execute(select(added)).all() == []
    assert record(engine, [Arrival(FIRST.topic, FIRST.envelope(1), 6)]).accepted == 1
    assert record(engine, [Arrival(FIRST.topic, FIRST.envelope(2), START_MS)]).quarantined == 1
    engine.dispose()
