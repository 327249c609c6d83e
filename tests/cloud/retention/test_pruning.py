"""Retention: what nothing refers to goes, with leaf and tombstone; what anything refers to stays."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from cloud.auth.people import Person
from cloud.backup.reading import check_ledger
from cloud.db import tables
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.evidence.lot import lot_evidence
from cloud.ingest.record import Arrival, record
from cloud.ingest.settled import is_settled
from cloud.ledger import log
from cloud.registry.keys import add_gateway
from cloud.retention import holds, pruning
from cloud.retention.holds import Hold, HoldRejected, Release
from cloud.retention.pruning import Pruned, Why, prune
from cloud.review.submissions import submit
from cloud.telemetry.compactor import compact
from cloud.telemetry.forget import forget
from cloud.telemetry.query import readings
from tests.cloud.field import START_MS, Gateway, reading
from tests.cloud.journey import LOADED, NOW_MS, STORED, at, travel
from tests.cloud.site import GTIN, ROOM
from wire.pack import Correction

DAY_MS = 86_400_000
BEFORE_MS = START_MS + 100 * DAY_MS
TODAY_MS = START_MS + 200 * DAY_MS
WHY = Why("a test's rule", "because", "lan")
OLD_DAYS = range(10, 60)  # on which nothing was at the places


@pytest.fixture
def store(engine: Engine) -> Gateway:
    """A lot's journey on the first day; then fifty packs of an empty cold room, one a day, and one of yesterday."""
    gateway, _ = travel(engine)
    with look(engine) as conn:
        first = conn.scalar(select(tables.pack.c.hash).where(tables.pack.c.gateway == gateway.name))
    _come(engine, gateway, 2, _day(0, minute=STORED + 5), prev=first)
    for seq, day in enumerate(OLD_DAYS, start=3):
        _come(engine, gateway, seq, _day(day))
    _come(engine, gateway, 60, _day(199))
    return gateway


def _day(day: int, *, minute: float = 0, channel: str = "room-1/air") -> list:
    return [reading(channel=channel, at_s=86_400 * day + 60 * (minute + each)) for each in range(5)]


def _come(engine: Engine, gateway: Gateway, seq: int, observed: Sequence, **more: object) -> None:
    envelope = gateway.seal(gateway.pack(seq, observed, **more))  # type: ignore[arg-type]
    received_ms = max([one.stamp.observed_at_ms for one in observed], default=NOW_MS) + 1000
    assert record(engine, [Arrival(gateway.topic, envelope, max(received_ms, NOW_MS))]).accepted == 1


def _prune(engine: Engine, *, dry: bool = False, before_ms: int = BEFORE_MS) -> Pruned:
    return prune(engine, before_ms, TODAY_MS, why=None if dry else WHY, tell=lambda _share: None)


def _left(engine: Engine) -> list[tuple[str, int]]:
    with look(engine) as conn:
        pack = tables.pack
        query = select(pack.c.gateway, pack.c.seq).where(func.length(pack.c.envelope) > 0).order_by(pack.c.id)
        return [tuple(row) for row in conn.execute(query)]


def _hold(engine: Engine, **more: object) -> int:
    with writing(engine) as conn:
        return holds.add(conn, Hold(**({"reason": "a complaint", "person": "lan", "added_ms": 1} | more)))  # type: ignore[arg-type]


KEPT = [("gw-kho-01", 1), ("gw-xe-01", 1), ("gw-kho-01", 2), ("gw-kho-01", 60)]


@pytest.mark.parametrize("compacted", [False, True])
def test_what_nothing_refers_to_goes_and_the_lot_stays_as_it_was(
    engine: Engine, store: Gateway, compacted: bool
) -> None:
    if compacted:
        assert compact(engine, lambda _done, _total: None) > len(OLD_DAYS)
    with look(engine) as conn:
        before = lot_evidence(conn, GTIN, "L1", TODAY_MS)
    counted = _prune(engine, dry=True)
    assert len(_left(engine)) == len(KEPT) + len(OLD_DAYS), "a dry run removes nothing"
    done = _prune(engine)
    assert done == counted
    assert (done.removed, done.needed, done.other, done.later) == (len(OLD_DAYS), 1, 2, 0)
    assert _left(engine) == KEPT
    with look(engine) as conn:
        assert lot_evidence(conn, GTIN, "L1", TODAY_MS) == before
        gone = readings(conn, store.name, "room-1/air", at(0) + 2 * DAY_MS, START_MS + 100 * DAY_MS)
        assert gone == []
    assert _prune(engine) == Pruned(needed=1, other=2)


def test_removed_packs_keep_leaf_hash_and_tombstone(engine: Engine, store: Gateway) -> None:
    with look(engine) as conn:
        size = log.head(conn).size
    _prune(engine)
    with look(engine) as conn:
        row = conn.execute(select(tables.pruning)).one()
        body = json.loads(row.body)
        stones = conn.execute(select(tables.tombstone).order_by(tables.tombstone.c.leaf_index)).all()
        named = [index for first, last in body["leaves"] for index in range(first, last + 1)]
        assert named == [stone.leaf_index for stone in stones]
        assert len(stones) == len(OLD_DAYS)
        leaf = log.read_leaf(conn, row.leaf_index)
        assert leaf is not None
        assert (row.leaf_index, leaf.hash) == (size, hashlib.sha256(row.body.encode()).digest())
        assert (body["rule"], body["reason"], body["person"]) == ("a test's rule", "because", "lan")
        checked = check_ledger(conn, lambda _share: None)
    assert checked.pruned == len(OLD_DAYS)


def test_pack_that_comes_again_is_known_and_settled(engine: Engine, store: Gateway) -> None:
    envelope = store.envelope(20, _day(27))
    _prune(engine)
    outcome = record(engine, [Arrival(store.topic, envelope, TODAY_MS)])
    assert (outcome.duplicates, outcome.accepted) == (1, 0)
    assert outcome.owed == {(store.name, store.stream)}
    outcome = record(engine, [Arrival(store.topic, store.envelope(20, _day(28)), TODAY_MS)])
    assert outcome.conflicts == 1
    with look(engine) as conn:
        assert is_settled(conn, store.name, store.stream, (3, 52))
    assert ("gw-kho-01", 20) not in _left(engine)


@pytest.mark.parametrize(
    ("what", "kept"),
    [
        ({"kind": "place", "place": ROOM}, len(OLD_DAYS)),
        ({"kind": "series", "gateway": "gw-kho-01", "channel": "room-1/air"}, len(OLD_DAYS)),
        ({"kind": "series", "gateway": "gw-kho-01", "channel": "hall/air"}, 0),
        ({"kind": "period", "from_ms": START_MS + 20 * DAY_MS, "to_ms": START_MS + 30 * DAY_MS}, 10),
        ({"kind": "lot", "gtin": GTIN, "lot": "L1"}, 0),
        ({"kind": "place", "place": ROOM, "from_ms": START_MS + 20 * DAY_MS, "to_ms": START_MS + 30 * DAY_MS}, 12),
    ],
)
def test_hold_keeps_what_it_names_until_it_is_released(
    engine: Engine, store: Gateway, what: dict[str, object], kept: int
) -> None:
    hold_id = _hold(engine, **what)
    assert _prune(engine).removed == len(OLD_DAYS) - kept
    assert len(_left(engine)) == len(KEPT) + kept
    with writing(engine) as conn:
        holds.release(conn, Release(hold_id, "settled", "lan", 2))
    assert _prune(engine).removed == kept


def test_hold_and_release_are_leaves(engine: Engine) -> None:
    hold_id = _hold(engine, kind="place", place=ROOM)
    with writing(engine) as conn:
        holds.release(conn, Release(hold_id, "settled", "lan", 2))
    with look(engine) as conn:
        row = conn.execute(select(tables.hold)).one()
        for index, body in ((row.leaf_index, row.body), (row.release_leaf_index, row.release)):
            leaf = log.read_leaf(conn, index)
            assert leaf is not None
            assert (leaf.kind, leaf.hash) == ("hold", hashlib.sha256(body.encode()).digest())
    with writing(engine) as conn, pytest.raises(HoldRejected, match="released before"):
        holds.release(conn, Release(hold_id, "again", "lan", 3))
    with writing(engine) as conn, pytest.raises(HoldRejected, match="there is none"):
        holds.release(conn, Release(hold_id + 1, "again", "lan", 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "place"},
        {"kind": "lot", "gtin": GTIN},
        {"kind": "series", "gateway": "gw"},
        {"kind": "period"},
        {"kind": "period", "from_ms": 2, "to_ms": 2},
        {"kind": "place", "place": ROOM, "reason": " "},
        {"kind": "place", "place": ROOM, "person": ""},
        {"kind": "place", "place": ROOM, "reason": "x" * 2_001},
    ],
)
def test_impossible_hold_is_refused(engine: Engine, wrong: dict[str, object]) -> None:
    with pytest.raises(HoldRejected):
        _hold(engine, **wrong)


def test_frozen_evidence_is_kept_though_its_events_would_say_otherwise(engine: Engine, store: Gateway) -> None:
    """Somebody deletes the projection of events: what a decision was made on still stands."""
    with writing(engine) as conn:
        submit(conn, GTIN, "L1", by=Person("van-hanh", "Vận hành", "operator"), now_ms=NOW_MS)
        conn.execute(tables.event_item.delete())
    assert _prune(engine).needed == 1
    assert ("gw-kho-01", 2) in _left(engine)


def test_hold_that_comes_while_it_is_removed_counts_at_once(
    engine: Engine, store: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PACKS_AT_ONCE", 10)
    shares: list[float] = []

    def tell(share: float) -> None:
        if not shares:
            _hold(engine, kind="place", place=ROOM)
        shares.append(share)

    done = prune(engine, BEFORE_MS, TODAY_MS, why=WHY, tell=tell)
    assert len(shares) > 4, "else it was one step"
    assert done.removed == 10 - 2, "of the first ten of the stream two are of the journey"
    assert done.needed == 1 + len(OLD_DAYS) - done.removed


def test_binding_corrected_while_it_is_removed_counts_at_once(
    engine: Engine, store: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A correction of a binding adds no row."""
    monkeypatch.setattr(pruning, "PACKS_AT_ONCE", 10)
    bound = tables.sensor_binding
    of_room = (bound.c.gateway == store.name, bound.c.channel == "room-1/air")
    _hold(engine, kind="place", place=ROOM)
    with writing(engine) as conn:
        elsewhere = conn.scalar(select(tables.place.c.gln).where(tables.place.c.gln != ROOM).limit(1))
        conn.execute(update(bound).where(*of_room).values(place=elsewhere))
    shares: list[float] = []

    def tell(share: float) -> None:
        if not shares:
            with writing(engine) as conn:
                conn.execute(update(bound).where(*of_room).values(place=ROOM))
        shares.append(share)

    done = prune(engine, BEFORE_MS, TODAY_MS, why=WHY, tell=tell)
    assert len(shares) > 4, "else it was one step"
    assert 0 < done.removed < 10


def test_one_step_removes_neighbours_whatever_came_between(
    engine: Engine, store: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it makes few chunks anew."""
    other = Gateway("gw-kho-00")
    with writing(engine) as conn:
        add_gateway(conn, other.public_half, START_MS)
    for seq, day in enumerate(OLD_DAYS[:10], start=1):
        _come(engine, other, seq, _day(day))
        _come(engine, store, 60 + seq, _day(day))
    steps: list[set[str]] = []

    def watched(conn: Connection, ids: Sequence[int]) -> int:
        steps.append(set(conn.scalars(select(tables.pack.c.gateway).where(tables.pack.c.id.in_(ids)))))
        return forget(conn, ids)

    monkeypatch.setattr(pruning, "forget", watched)
    monkeypatch.setattr(pruning, "PACKS_AT_ONCE", 10)
    assert _prune(engine).removed == len(OLD_DAYS) + 20
    assert steps[0] == {other.name}
    assert other.name not in set().union(*steps[1:])


def test_stop_or_death_between_steps_is_made_up_for(
    engine: Engine, store: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PACKS_AT_ONCE", 10)
    stop = threading.Event()
    first = prune(engine, BEFORE_MS, TODAY_MS, why=WHY, tell=lambda _share: stop.set(), stop=stop)
    assert 0 < first.removed < 10
    assert first.removed + _prune(engine).removed == len(OLD_DAYS)
    with look(engine) as conn:
        assert check_ledger(conn, lambda _share: None).pruned == len(OLD_DAYS)


def test_packs_that_say_more_or_are_disputed_stay(engine: Engine, store: Gateway) -> None:
    from tests.cloud.field import BOOT

    corrected = [Correction(BOOT, 0, 10**12, 5, 20, "ntp")]
    _come(engine, store, 53, _day(60), corrections=corrected)
    disputed = store.envelope(54, _day(61))
    _come(engine, store, 54, _day(61))
    assert record(engine, [Arrival(store.topic, store.envelope(54, _day(62)), NOW_MS)]).conflicts == 1
    assert disputed
    assert _prune(engine).other == 2 + 2
    assert {("gw-kho-01", 53), ("gw-kho-01", 54)} <= set(_left(engine))


def test_reading_of_a_later_time_keeps_its_pack(engine: Engine, store: Gateway) -> None:
    """Received before the day, with a clock that was ahead: by what is known, it is of after it."""
    envelope = store.seal(store.pack(53, _day(150)))
    assert record(engine, [Arrival(store.topic, envelope, NOW_MS)]).accepted == 1
    assert _prune(engine).later == 1


def test_lot_that_is_still_there_keeps_its_room(engine: Engine) -> None:
    """Delivered away or not: an open stay needs whatever comes."""
    from cloud.events.follower import ScanFollower
    from tests.cloud.field import scan
    from tests.cloud.site import SSCC_2, carton, pallet

    gateway, _ = travel(engine)
    scans = [
        scan(carton("L2"), at_s=200 * 60, channel="packing/scan"),
        scan(pallet(SSCC_2), at_s=201 * 60, channel="packing/scan"),
        scan(pallet(SSCC_2), at_s=202 * 60, channel="door/scan"),
    ]
    _come(engine, gateway, 2, [*_day(1), *scans])
    ScanFollower(engine, lambda: TODAY_MS).run_once()
    _come(engine, gateway, 3, _day(50))
    _come(engine, gateway, 4, _day(51, channel="somewhere/else"))
    assert _prune(engine) == Pruned(removed=1, removed_bytes=_prune_bytes(), needed=1, other=3)
    assert LOADED > STORED


def _prune_bytes() -> int:
    gateway = Gateway("gw-kho-01")
    return len(gateway.envelope(4, _day(51, channel="somewhere/else")))
