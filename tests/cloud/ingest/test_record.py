"""One transaction for a group: everything of it or nothing, every pack once, the first envelope for ever."""

from __future__ import annotations

import hashlib
import random

import pytest
from sqlalchemy import Engine, select, text

from cloud.db import tables
from cloud.db.cursor import advance, positions, stream_part
from cloud.db.engine import DatabaseUnavailable, reading, writing
from cloud.ingest import quarantine, settled
from cloud.ingest.conflict import KEPT_MAX as CONFLICTS_MAX
from cloud.ingest.record import Arrival, Outcome, Unstorable, record, refuse
from cloud.ledger import log
from cloud.registry.keys import add_gateway
from cloud.registry.query import gateway as find_gateway
from standards.tlog import tree
from tests.cloud.field import START_MS, Gateway, scan
from tests.cloud.field import reading as measured
from tests.cloud.refusing import refuse_rows
from wire.pack import Loss


def _arrive(engine: Engine, gateway: Gateway, *envelopes: bytes, at_ms: int = START_MS) -> Outcome:
    return record(engine, [Arrival(gateway.topic, one, at_ms) for one in envelopes])


def _packs(engine: Engine) -> list[tuple[int, bytes]]:
    with reading(engine) as conn:
        rows = conn.execute(select(tables.pack.c.seq, tables.pack.c.envelope).order_by(tables.pack.c.seq)).all()
        assert log.head(conn).root == _rederived(conn)
    return [(row.seq, row.envelope) for row in rows]


def _rederived(conn) -> bytes:
    rows = conn.execute(select(tables.leaf).order_by(tables.leaf.c.leaf_index)).all()
    assert [row.leaf_index for row in rows] == list(range(len(rows)))
    return tree.root([tree.leaf_hash(log.leaf_data(row.kind, row.hash)) for row in rows])


def test_pack_is_stored_with_everything_in_it(engine: Engine, gateway: Gateway):
    envelope = gateway.envelope(1, [measured(), measured(at_s=60), scan("(00)1"), scan("(00)2", at_s=1)])
    outcome = _arrive(engine, gateway, envelope)
    assert outcome == Outcome(1, 0, 0, 0, frozenset({(gateway.name, gateway.stream)}))
    assert _packs(engine) == [(1, envelope)]
    with reading(engine) as conn:
        pack = conn.execute(select(tables.pack)).one()
        scans = conn.execute(select(tables.scan).order_by(tables.scan.c.ordinal)).all()
        leaf = log.read_leaf(conn, pack.leaf_index)
    assert (pack.hash, pack.observations, pack.received_ms) == (hashlib.sha256(envelope).digest(), 4, START_MS)
    assert [(row.ordinal, row.code, row.seq) for row in scans] == [(2, "(00)1", 1), (3, "(00)2", 1)]
    assert leaf == log.Leaf("pack", pack.hash, f"{gateway.name}/{gateway.stream.hex()}/1")


def test_duplicate_is_stored_once_and_owed_a_receipt(engine: Engine, gateway: Gateway):
    envelope = gateway.envelope(1)
    _arrive(engine, gateway, envelope)
    for arrivals in ([envelope], [envelope, envelope]):
        outcome = _arrive(engine, gateway, *arrivals)
        assert (outcome.accepted, outcome.duplicates, len(outcome.owed)) == (0, len(arrivals), 1)
    assert _packs(engine) == [(1, envelope)]


def test_same_pack_twice_in_one_group_is_stored_once(engine: Engine, gateway: Gateway):
    outcome = _arrive(engine, gateway, gateway.envelope(1), gateway.envelope(1))
    assert (outcome.accepted, outcome.duplicates) == (1, 1)


def test_conflict_keeps_the_first_and_records_the_second(engine: Engine, gateway: Gateway):
    first, second = gateway.envelope(1), gateway.envelope(1, [measured(mantissa=400)])
    assert _arrive(engine, gateway, first, second).conflicts == 1
    assert _arrive(engine, gateway, second).conflicts == 1
    assert _packs(engine) == [(1, first)]
    with reading(engine) as conn:
        assert [row.envelope for row in conn.execute(select(tables.conflict))] == [second]


def test_conflicts_of_one_identity_are_bounded(engine: Engine, gateway: Gateway):
    many = [gateway.envelope(1, [measured(mantissa=at)]) for at in range(CONFLICTS_MAX + 4)]
    outcome = _arrive(engine, gateway, *many)
    assert (outcome.accepted, outcome.conflicts) == (1, CONFLICTS_MAX + 3)
    with reading(engine) as conn:
        assert len(conn.execute(select(tables.conflict)).all()) == CONFLICTS_MAX
        assert [one.reason for one in quarantine.headings(conn)] == ["conflict"] * 3


def test_reordered_packs_settle_the_same(engine: Engine, gateway: Gateway):
    envelopes = gateway.chain(40)
    random.Random(7).shuffle(shuffled := list(envelopes))
    for at in range(0, 40, 7):
        _arrive(engine, gateway, *shuffled[at : at + 7])
    with reading(engine) as conn:
        assert settled.ranges(conn, gateway.name, gateway.stream, 10) == [(1, 40)]
    assert [envelope for _, envelope in _packs(engine)] == envelopes


def test_declared_loss_settles_its_seqs(engine: Engine, gateway: Gateway):
    loss = Loss(gateway.stream, 1, 3, b"h" * 32, "lost", "disk full")
    outcome = _arrive(engine, gateway, gateway.seal(gateway.pack(4, losses=[loss])))
    with reading(engine) as conn:
        assert settled.ranges(conn, gateway.name, gateway.stream, 10) == [(1, 4)]
    assert outcome.owed == {(gateway.name, gateway.stream)}


def test_duplicate_is_owed_every_receipt_that_its_first_time_was(engine: Engine, gateway: Gateway):
    before = bytes(16)
    envelope = gateway.seal(gateway.pack(1, losses=[Loss(before, 1, 3, b"h" * 32, "lost", "disk full")]))
    first, second = (_arrive(engine, gateway, envelope) for _ in range(2))
    assert second.duplicates == 1
    assert second.owed == first.owed == {(gateway.name, gateway.stream), (gateway.name, before)}


def test_good_packs_among_poison_are_stored(engine: Engine, gateway: Gateway):
    envelopes = gateway.chain(50)
    poison = [bytes([at % 256, at // 256]) * 20 for at in range(1000)]
    mixed = [*envelopes, *poison]
    random.Random(3).shuffle(mixed)
    outcome = _arrive(engine, gateway, *mixed)
    assert (outcome.accepted, outcome.quarantined) == (50, 1000)
    assert [envelope for _, envelope in _packs(engine)] == envelopes
    with reading(engine) as conn:
        assert quarantine.total(conn) == 1000


def test_simulated_pack_marks_its_gateway_for_ever(engine: Engine, gateway: Gateway):
    gateway.simulated = True
    _arrive(engine, gateway, gateway.envelope(1))
    gateway.simulated = False
    _arrive(engine, gateway, gateway.envelope(2))
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
        found = find_gateway(conn, gateway.name)
    assert found is not None
    assert found.simulated


def test_group_that_fails_leaves_nothing(engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    with writing(engine) as conn:
        refuse_rows(conn, "scan", "no scans today")
    with pytest.raises(Unstorable, match="no scans today"):
        _arrive(engine, gateway, gateway.envelope(1), gateway.envelope(2, [scan("x")]))
    assert _packs(engine) == []


def test_code_is_stored_as_it_was_read_whatever_stands_in_it(engine: Engine, gateway: Gateway):
    codes = ["a\0b", "\0", "]C1\x1d01", "\ufdd0", "Đ" * 2048]
    reason = Loss(bytes(16), 1, None, None, "lost", "nul \0 in a reason")
    pack = gateway.pack(1, [scan(code, at_s=at) for at, code in enumerate(codes)], losses=[reason])
    assert _arrive(engine, gateway, gateway.seal(pack)).accepted == 1
    with reading(engine) as conn:
        assert list(conn.scalars(select(tables.scan.c.code).order_by(tables.scan.c.ordinal))) == codes
        assert list(conn.scalars(select(tables.scan.c.ordinal).where(tables.scan.c.code == "\0"))) == [1]
        assert conn.scalar(select(tables.declared_loss.c.reason)) == "nul \0 in a reason"


def test_only_a_pack_that_was_declared_lost_sends_followers_back(engine: Engine, gateway: Gateway):
    part = stream_part(gateway.name, gateway.stream)
    with writing(engine) as conn:
        advance(conn, "scans", part, 9)
        advance(conn, "scans", stream_part("gw-other", gateway.stream), 9)
    loss = Loss(gateway.stream, 3, 4, None, "lost", "disk failed")
    _arrive(engine, gateway, gateway.envelope(2), gateway.seal(gateway.pack(5, losses=[loss])))
    with reading(engine) as conn:
        assert positions(conn, "scans")[part] == 9
    _arrive(engine, gateway, gateway.envelope(4))
    with reading(engine) as conn:
        assert sorted(positions(conn, "scans").values()) == [3, 9]


def test_unstorable_message_can_be_refused(engine: Engine, gateway: Gateway):
    refuse(engine, Arrival(gateway.topic, b"raw", START_MS), "why")
    with reading(engine) as conn:
        (heading,) = quarantine.headings(conn)
        entry = quarantine.entry(conn, heading.id)
    assert entry is not None
    assert (entry.reason, entry.raw, entry.detail) == ("unstorable", b"raw", "why")


def test_missing_database_asks_to_try_again(engine: Engine, gateway: Gateway):
    with writing(engine) as conn:
        conn.execute(text("ALTER TABLE pack RENAME TO away"))
    with pytest.raises(DatabaseUnavailable):
        _arrive(engine, gateway, gateway.envelope(1))
