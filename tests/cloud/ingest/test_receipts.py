"""Receipts say what is committed, all of it, and no more; none is dropped, and none comes too often."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.ingest import receipts, settled
from cloud.ingest.receipts import ReceiptSchedule
from cloud.ingest.record import Arrival, record
from cloud.keys import load_or_create
from cloud.ledger import log
from tests.cloud.field import START_MS, Gateway
from tests.cloud.field import reading as measured
from wire import receipt as wire_receipt
from wire.envelope import envelope_hash
from wire.receipt import RANGES_MAX, Receipt

A, B = ("gw-a", b"a" * 16), ("gw-b", b"b" * 16)


def _receipt(engine: Engine, gateway: Gateway) -> Receipt:
    with reading(engine) as conn:
        return receipts.build(conn, gateway.name, gateway.stream, issued_at_ms=START_MS)


def _arrive(engine: Engine, gateway: Gateway, *seqs: int) -> None:
    record(engine, [Arrival(gateway.topic, gateway.envelope(seq), START_MS) for seq in seqs])


def test_unknown_stream_has_nothing_settled(engine: Engine, gateway: Gateway):
    found = _receipt(engine, gateway)
    assert (found.through, found.ranges, found.refused) == (0, [], [])


def test_receipt_names_through_and_the_islands_behind_it(engine: Engine, gateway: Gateway):
    _arrive(engine, gateway, 5, 6, 9)
    assert (_receipt(engine, gateway).through, _receipt(engine, gateway).ranges) == (0, [(5, 6), (9, 9)])
    _arrive(engine, gateway, 1, 2)
    assert (_receipt(engine, gateway).through, _receipt(engine, gateway).ranges) == (2, [(5, 6), (9, 9)])
    _arrive(engine, gateway, 4, 3)
    assert (_receipt(engine, gateway).through, _receipt(engine, gateway).ranges) == (6, [(9, 9)])


def test_receipt_carries_the_ledger_head(engine: Engine, gateway: Gateway):
    _arrive(engine, gateway, 1)
    found = _receipt(engine, gateway)
    with reading(engine) as conn:
        head = log.head(conn)
    assert found.checkpoint is not None
    assert (found.checkpoint.size, found.checkpoint.root) == (head.size, head.root)


def test_receipt_names_the_refused_envelope(engine: Engine, gateway: Gateway):
    other = gateway.envelope(1, [measured(mantissa=1)])
    _arrive(engine, gateway, 1)
    record(engine, [Arrival(gateway.topic, other, START_MS)])
    assert _receipt(engine, gateway).refused == [(1, envelope_hash(other), "conflict")]


def test_more_ranges_than_a_receipt_holds(engine: Engine, gateway: Gateway, tmp_path: Path):
    with writing(engine) as conn:
        islands = [(seq, seq) for seq in range(3, 3 * RANGES_MAX * 2, 3)]
        settled.settle(conn, {(gateway.name, gateway.stream): [(1, 1), *islands]})
    found = _receipt(engine, gateway)
    assert (found.through, found.ranges) == (1, islands[:RANGES_MAX])
    key = load_or_create(tmp_path)
    message, again = wire_receipt.unseal(receipts.seal(found, key))
    assert again == found
    assert message.is_signed_by(key.private.public_key())


def test_whole_number_line_settled_is_a_valid_receipt(engine: Engine, gateway: Gateway, tmp_path: Path):
    with writing(engine) as conn:
        settled.settle(conn, {(gateway.name, gateway.stream): [(1, 2**63 - 1)]})
    sealed = receipts.seal(_receipt(engine, gateway), load_or_create(tmp_path))
    assert wire_receipt.unseal(sealed)[1].settles(2**63 - 1)


def test_second_receipt_is_delayed_not_dropped():
    schedule = ReceiptSchedule(0.2)
    schedule.owe([A])
    assert schedule.due(0.0) == [A]
    schedule.sent(A, 0.0)
    schedule.owe([A, A])
    assert schedule.due(0.1) == []
    assert round(schedule.wait_s(0.1, 9.0), 6) == 0.1
    assert schedule.due(0.2) == [A]


def test_streams_do_not_wait_for_each_other():
    schedule = ReceiptSchedule(0.2)
    schedule.owe([A])
    schedule.sent(A, 0.0)
    schedule.owe([A, B])
    assert schedule.due(0.1) == [B]
    assert schedule.wait_s(0.1, 9.0) == 0.0
    assert schedule.all_owed == [A, B]


def test_nobody_owed_nothing_due():
    schedule = ReceiptSchedule(0.2)
    assert schedule.due(0.0) == []
    assert schedule.wait_s(0.0, 9.0) == 9.0


def test_unsent_receipt_stays_owed():
    schedule = ReceiptSchedule(0.2)
    schedule.owe([A])
    assert schedule.due(0.0) == [A]
    assert schedule.due(5.0) == [A]


def test_refused_envelopes_are_found_by_an_index_of_their_own(engine: Engine):
    """A receipt is asked for a few times a second, of streams with millions of packs."""
    with reading(engine) as conn:
        if conn.dialect.name == "sqlite":
            query = str(receipts._CONFLICTS.compile(conn))
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("gw", b"s", 10, 0)).all()
            assert [row[3] for row in plan] == [
                "SEARCH conflict USING INDEX ix_conflict_stream (gateway=? AND stream=?)"
            ]
