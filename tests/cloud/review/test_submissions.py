"""The review: what may follow what, who may do it, and that of two decisions at once only one is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import sha256

import pytest
from sqlalchemy import Engine, select

from cloud.auth.people import Person
from cloud.db import tables
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.evidence import versions
from cloud.ledger import log as ledger
from cloud.review.submissions import (
    REASON_MAX,
    Decision,
    ReviewError,
    Submission,
    approve,
    decision_bytes,
    return_,
    submission,
    submit,
)
from standards.tlog.tree import leaf_hash, root
from tests.cloud.field import reading
from tests.cloud.journey import NOW_MS, at, send, travel
from tests.cloud.site import GTIN

OPERATOR = Person("van-hanh", "Vận hành", "operator")
OFFICIAL = Person("can-bo-1", "Cán bộ 1", "official")
OTHER_OFFICIAL = Person("can-bo-2", "Cán bộ 2", "official")


@pytest.fixture
def travelled(engine: Engine) -> Engine:
    travel(engine)
    return engine


def do_submit(engine: Engine, by: Person = OPERATOR, now_ms: int = NOW_MS, lot: str = "L1") -> Decision:
    with writing(engine) as conn:
        return submit(conn, GTIN, lot, by=by, now_ms=now_ms)


def do_approve(engine: Engine, by: Person = OFFICIAL, now_ms: int = NOW_MS, version: int | None = None) -> Decision:
    with writing(engine) as conn:
        return approve(conn, GTIN, "L1", by=by, now_ms=now_ms, version=version)


def do_return(
    engine: Engine, reason: str = "thiếu phiếu", by: Person = OFFICIAL, version: int | None = None
) -> Decision:
    with writing(engine) as conn:
        return return_(conn, GTIN, "L1", by=by, reason=reason, now_ms=NOW_MS, version=version)


def stand(engine: Engine) -> Submission:
    with look(engine) as conn:
        return submission(conn, GTIN, "L1")


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(ReviewError) as error:
        act()
    assert error.value.code == code
    assert str(error.value)


def test_a_lot_is_submitted_returned_submitted_again_and_approved(travelled: Engine) -> None:
    assert stand(travelled).state == "draft"
    do_submit(travelled)
    assert stand(travelled).state == "submitted"
    do_return(travelled, "  thiếu phiếu kiểm nghiệm\n")
    at_now = stand(travelled)
    assert (at_now.state, at_now.last and at_now.last.reason) == ("returned", "thiếu phiếu kiểm nghiệm")
    do_submit(travelled)
    do_approve(travelled)
    history = stand(travelled).history
    assert [(one.kind, one.person, one.evidence_version) for one in history] == [
        ("submitted", "van-hanh", 1),
        ("returned", "can-bo-1", 1),
        ("submitted", "van-hanh", 1),
        ("approved", "can-bo-1", 1),
    ]


def test_only_what_waits_can_be_decided(travelled: Engine) -> None:
    refused("not_submitted", lambda: do_approve(travelled))
    refused("not_submitted", lambda: do_return(travelled))
    do_submit(travelled)
    do_approve(travelled)
    refused("not_submitted", lambda: do_approve(travelled))
    refused("not_submitted", lambda: do_return(travelled))


def test_nothing_is_submitted_twice_without_need(travelled: Engine) -> None:
    do_submit(travelled)
    refused("already_submitted", lambda: do_submit(travelled))
    do_approve(travelled)
    refused("already_approved", lambda: do_submit(travelled))


def test_roles_are_kept_apart(travelled: Engine) -> None:
    refused("wrong_role", lambda: do_submit(travelled, by=OFFICIAL))
    do_submit(travelled)
    refused("wrong_role", lambda: do_approve(travelled, by=OPERATOR))
    refused("wrong_role", lambda: do_return(travelled, by=OPERATOR))


def test_nobody_approves_what_they_submitted(travelled: Engine) -> None:
    do_submit(travelled, by=Person("can-bo-1", "Cán bộ 1", "operator"))  # before the role changed
    refused("own_submission", lambda: do_approve(travelled))
    do_approve(travelled, by=OTHER_OFFICIAL)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("", "reason_required"), (" \n\t", "reason_required"), ("ệ" * (REASON_MAX + 1), "reason_too_long")],
)
def test_a_return_needs_a_reason_that_can_be_read(travelled: Engine, reason: str, code: str) -> None:
    do_submit(travelled)
    refused(code, lambda: do_return(travelled, reason))
    assert stand(travelled).state == "submitted"
    do_return(travelled, "ệ" * REASON_MAX)


def test_a_lot_nobody_knows_cannot_be_submitted(travelled: Engine) -> None:
    refused("unknown_lot", lambda: do_submit(travelled, lot="L9"))


def test_changed_evidence_must_be_submitted_again(engine: Engine) -> None:
    store, _ = travel(engine)
    do_submit(engine)
    send(engine, store, 2, [reading(channel="room-1/air", at_s=60 * 20 + 30, mantissa=-1400)])
    refused("evidence_changed", lambda: do_approve(engine))
    assert do_submit(engine).evidence_version == 2
    refused("version_changed", lambda: do_approve(engine, version=1))
    refused("version_changed", lambda: do_return(engine, version=1))
    assert do_approve(engine, version=2).evidence_version == 2


def test_an_approved_lot_whose_evidence_changes_can_be_submitted_again(engine: Engine) -> None:
    store, _ = travel(engine)
    do_submit(engine)
    do_approve(engine)
    send(engine, store, 2, [reading(channel="room-1/air", at_s=60 * 20 + 30, mantissa=-1400)])
    do_submit(engine)
    assert [one.evidence_version for one in stand(engine).history] == [1, 1, 2]


def test_a_lot_in_the_cold_room_can_be_approved_while_time_goes_on(travelled: Engine) -> None:
    do_submit(travelled, now_ms=at(30))
    do_approve(travelled, now_ms=at(40))


def test_a_lot_that_moved_on_must_be_submitted_again(travelled: Engine) -> None:
    do_submit(travelled, now_ms=at(30))
    refused("evidence_changed", lambda: do_approve(travelled, now_ms=at(90)))


def test_a_refused_decision_leaves_nothing_behind(travelled: Engine) -> None:
    with look(travelled) as conn:
        before = ledger.head(conn)
    refused("wrong_role", lambda: do_submit(travelled, by=OFFICIAL))
    refused("not_submitted", lambda: do_approve(travelled))
    with look(travelled) as conn:
        assert ledger.head(conn) == before


def test_every_decision_is_a_leaf_over_its_own_bytes(travelled: Engine) -> None:
    do_submit(travelled)
    do_return(travelled)
    with look(travelled) as conn:
        frozen = versions.read(conn, GTIN, "L1", 1)
        assert frozen is not None
        for one in submission(conn, GTIN, "L1").history:
            leaf = ledger.read_leaf(conn, one.leaf_index)
            assert leaf is not None
            assert leaf.kind == "decision"
            assert leaf.hash == sha256(decision_bytes(GTIN, "L1", one, frozen.hash)).digest()
        rows = conn.execute(select(tables.leaf).order_by(tables.leaf.c.leaf_index))
        leaves = [leaf_hash(ledger.leaf_data(row.kind, row.hash)) for row in rows]
        assert ledger.head(conn).root == root(leaves)


def test_of_two_officials_at_once_one_decides_and_the_other_is_told(travelled: Engine) -> None:
    do_submit(travelled)
    ready = threading.Barrier(2)
    outcomes: list[str] = []

    def decide(act: Callable[[], Decision]) -> None:
        ready.wait()
        try:
            outcomes.append(act().kind)
        except ReviewError as error:
            outcomes.append(error.code)

    acts: list[Callable[[], Decision]] = [
        lambda: do_approve(travelled, by=OFFICIAL),
        lambda: do_return(travelled, by=OTHER_OFFICIAL),
    ]
    threads = [threading.Thread(target=decide, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) in (["approved", "not_submitted"], ["not_submitted", "returned"])
    assert len(stand(travelled).history) == 2
