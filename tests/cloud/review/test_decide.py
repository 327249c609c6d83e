"""Evidence is examined without the write lock, and never decided on when it has moved since."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, update

from cloud.auth.people import Person
from cloud.db import tables
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.evidence import versions
from cloud.evidence.basis import basis, stands
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.review import submissions
from cloud.review.submissions import TRIES, Decision, decide, submit
from tests.cloud.field import START_MS, Gateway, reading
from tests.cloud.journey import NOW_MS, send, travel
from tests.cloud.site import GTIN

OPERATOR = Person("van-hanh", "Vận hành", "operator")
STRANGER = Gateway("gw-la")


@pytest.fixture
def store(engine: Engine) -> Gateway:
    """The gateway of the cold store, after the whole journey."""
    with writing(engine) as conn:
        add_gateway(conn, STRANGER.public_half, START_MS)
    return travel(engine)[0]


def submitted(engine: Engine) -> Decision:
    return decide(
        engine,
        GTIN,
        "L1",
        NOW_MS,
        lambda conn, seen: submit(conn, GTIN, "L1", by=OPERATOR, now_ms=NOW_MS, examined=seen),
    )


def warmest(engine: Engine, version: int) -> float:
    """The highest temperature in the cold room that a frozen version tells."""
    with look(engine) as conn:
        frozen = versions.read(conn, GTIN, "L1", version)
    assert frozen is not None
    found = [one.max for stay in frozen.evidence.stays for one in stay.series if one.channel == "room-1/air"]
    return max(one for one in found if one is not None)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Has something happen after each examination, before what it found is decided on; counts them."""
    examine = submissions.examine

    def arrange(*happenings: Callable[[], None]) -> list[int]:
        done: list[int] = []

        def examined(*args: object, **named: object) -> object:
            found = examine(*args, **named)  # type: ignore[arg-type]
            done.append(len(done))
            if len(done) <= len(happenings):
                happenings[len(done) - 1]()
            return found

        monkeypatch.setattr(submissions, "examine", examined)
        return done

    return arrange


def test_ingest_goes_on_while_evidence_is_examined(
    engine: Engine, store: Gateway, meanwhile: Callable[..., list[int]]
) -> None:
    done = meanwhile(lambda: send(engine, STRANGER, 1, [reading(channel="other/air")]))
    assert submitted(engine).kind == "submitted"
    assert done == [0], "what a gateway without part in it sends changes nothing"


def test_what_came_meanwhile_is_in_what_is_decided_on(
    engine: Engine, store: Gateway, meanwhile: Callable[..., list[int]]
) -> None:
    late = reading(channel="room-1/air", at_s=60 * 30 + 7, mantissa=-1234)
    done = meanwhile(lambda: send(engine, store, 2, [late]))
    assert warmest(engine, submitted(engine).evidence_version) == -12.34
    assert done == [0, 1]


def test_a_change_of_the_registry_is_seen(engine: Engine, store: Gateway, meanwhile: Callable[..., list[int]]) -> None:
    def rename() -> None:
        with writing(engine) as conn:
            conn.execute(update(tables.place).values(name="Kho khác"))

    done = meanwhile(rename)
    version = submitted(engine).evidence_version
    with look(engine) as conn:
        frozen = versions.read(conn, GTIN, "L1", version)
    assert frozen is not None
    assert {stay.place_name for stay in frozen.evidence.stays} == {"Kho khác"}
    assert done == [0, 1]


def test_a_lot_that_never_rests_is_examined_under_the_lock_in_the_end(
    engine: Engine, store: Gateway, meanwhile: Callable[..., list[int]]
) -> None:
    def more(seq: int) -> Callable[[], None]:
        return lambda: send(engine, store, seq, [reading(channel="room-1/air", at_s=60 * 30 + seq)])

    done = meanwhile(*(more(seq) for seq in range(2, 2 + TRIES)))
    assert submitted(engine).kind == "submitted"
    assert len(done) == TRIES + 1


def test_a_basis_stands_until_something_concerns_it(engine: Engine, store: Gateway) -> None:
    with look(engine) as conn:
        on = basis(conn)
    for seq in (1, 2):
        assert record(engine, [Arrival(STRANGER.topic, STRANGER.envelope(seq), NOW_MS)]).accepted == 1
    with look(engine) as conn:
        assert stands(conn, on, {"gw-kho-01", "gw-xe-01"})
        assert stands(conn, on, [])
        assert not stands(conn, on, {"gw-kho-01", "gw-la"})
