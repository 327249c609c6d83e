"""The scan follower over real packs: the same events in any order of arrival, once each, whatever stops it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
from sqlalchemy import Connection, Engine, func, select

from cloud.db import tables
from cloud.db.cursor import send_back
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.events import follower as follower_module
from cloud.events import query
from cloud.events.clock import event_clocks
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.instant import from_ms, to_ms
from cloud.ledger import log as ledger
from cloud.registry.keys import add_gateway
from standards.epcis.json_form import document
from standards.epcis.model import AggregationEvent
from standards.gs1 import digital_link
from standards.tlog.tree import leaf_hash, root
from tests.cloud.field import BOOT, START_MS, Gateway, scan
from tests.cloud.site import GTIN, HALL, SSCC_1, SSCC_2, STRANGE_GTIN, carton, pallet, register
from wire.observation import ClockState, Observation, Stamp
from wire.pack import Correction, Loss

LINE, DOOR = "packing/scan", "door/scan"


def now() -> int:
    return START_MS + 10**9


@pytest.fixture
def site(engine: Engine, gateway: Gateway) -> Gateway:
    register(engine)
    return gateway


@pytest.fixture
def truck(engine: Engine) -> Gateway:
    admitted = Gateway("gw-xe-01")
    with writing(engine) as conn:
        add_gateway(conn, admitted.public_half, START_MS)
    return admitted


def store(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    outcome = record(engine, [Arrival(gateway.topic, one, now()) for one in envelopes])
    assert outcome.accepted == len(envelopes)


def follow(engine: Engine) -> int:
    return ScanFollower(engine, now).run_once()


def told(engine: Engine) -> list[str]:
    """What was captured, bytes and all, in an order of its own."""
    with reading(engine) as conn:
        return sorted(conn.scalars(select(tables.event.c.body)))


def reasons(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return sorted(one.reason for one in query.findings(conn))


def at_line(*codes: str, start: float = 0, channel: str = LINE) -> list[Observation]:
    return [scan(code, at_s=start + at, channel=channel) for at, code in enumerate(codes)]


#: Pack by pack: two lots, two pallets, the pallets into the cold room. Several scans of one pack, one of several.
DAY: list[Sequence[Observation]] = [
    at_line(carton("L1"), carton("L1")),
    at_line(carton("L2"), start=10),
    at_line(pallet(SSCC_1), carton("L2"), start=20),
    at_line(carton("L2"), pallet(SSCC_2), start=30),
    at_line(pallet(SSCC_1), pallet(SSCC_2), start=100, channel=DOOR),
]


@pytest.fixture(scope="module")
def told_in_order(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The day's events when every pack came in its turn, and was followed at once."""
    opened = open_engine(sqlite_url(tmp_path_factory.mktemp("in-order") / "cloud.db"))
    migrate(opened)
    sender = Gateway("gw-kho-01")
    with writing(opened) as conn:
        add_gateway(conn, sender.public_half, START_MS)
    register(opened)
    for seq, pack in enumerate(DAY, start=1):
        store(opened, sender, sender.envelope(seq, pack))
        follow(opened)
    yield told(opened)
    opened.dispose()


def test_a_day_becomes_events(engine: Engine, site: Gateway) -> None:
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)])
    assert follow(engine) == 9
    with reading(engine) as conn:
        captured = query.of_item(conn, digital_link.lot(GTIN, "L2"))
    assert [one.event.biz_step for one in captured] == [
        *["commissioning", "packing", "commissioning", "commissioning", "packing"],
        *["storing", "storing"],
    ]
    pallets = [one.event for one in captured if one.event.biz_step == "packing"]
    contents = [
        [(element.epc_class.rsplit("/", 1)[1], element.quantity) for element in event.child_quantity_list]
        for event in pallets
        if hasattr(event, "child_quantity_list")
    ]
    assert contents == [[("L1", 2), ("L2", 1)], [("L2", 2)]]
    assert reasons(engine) == []


@pytest.mark.parametrize("order", random.Random(4).sample([*itertools.permutations(range(4))], 8))
def test_events_do_not_depend_on_the_order_of_arrival(
    engine: Engine, site: Gateway, told_in_order: list[str], order: tuple[int, ...]
) -> None:
    packs = [site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)]
    store(engine, site, packs[4])
    for index in order:
        store(engine, site, packs[index])
        follow(engine)
    assert told(engine) == told_in_order


def test_a_later_scan_waits_for_earlier_packs(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(2, at_line(pallet(SSCC_1))))
    assert follow(engine) == 0
    store(engine, site, site.envelope(1, at_line(carton())))
    assert follow(engine) == 2
    assert reasons(engine) == []


def test_a_declared_loss_does_not_hold_up_later_scans(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(1, at_line(carton())))
    loss = Loss(site.stream, 2, 3, None, "lost", "disk failed")
    declaring = site.seal(site.pack(4, at_line(pallet(SSCC_1)), losses=[loss]))
    store(engine, site, declaring)
    assert follow(engine) == 2
    assert follow(engine) == 0


def test_a_pack_behind_a_loss_of_unknown_end_is_still_worked_through(engine: Engine, site: Gateway) -> None:
    fresh_card = msgspec.structs.replace(
        site.pack(1, losses=[Loss(site.stream, 1, None, None, "lost", "card broke")]), stream=b"n" * 16
    )
    store(engine, site, site.seal(fresh_card))
    assert follow(engine) == 0
    store(engine, site, site.envelope(3, at_line(carton())))
    assert follow(engine) == 1


def test_a_pack_that_was_declared_lost_and_came_is_worked_through(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(1, at_line(carton(), pallet())))
    loss = Loss(site.stream, 2, 3, None, "lost", "card broke")
    store(engine, site, site.seal(site.pack(4, at_line(carton(), pallet(SSCC_2), start=200), losses=[loss])))
    assert follow(engine) == 4
    store(engine, site, site.envelope(3, at_line(carton("L3"), start=100)))
    store(engine, site, site.envelope(2, at_line(pallet(SSCC_1), start=90, channel=DOOR)))
    follow(engine)
    with reading(engine) as conn:
        steps = [one.event.biz_step for one in query.recent(conn)]
    assert sorted(map(str, steps)) == [*["commissioning"] * 3, *["packing"] * 2, "storing"]
    assert reasons(engine) == []
    store(engine, site, site.envelope(5, at_line(carton(), pallet(), start=300)))
    assert follow(engine) == 2
    with reading(engine) as conn:
        [last] = query.recent(conn, 1)
    assert isinstance(last.event, AggregationEvent)
    assert [element.quantity for element in last.event.child_quantity_list] == [1]


def test_a_finding_stays_when_its_scan_is_read_again(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(1, at_line(carton(), channel="new/scan")))
    follow(engine)
    with writing(engine) as conn:  # somebody explains the channel, and then the follower is sent back
        row = {"gateway": site.name, "channel": "new/scan", "place": HALL, "step": "pack"}
        conn.execute(tables.read_point.insert().values(row))
        send_back(conn, site.name, site.stream, 1)
    assert follow(engine) == 1
    assert (told(engine), reasons(engine)) == ([], ["unknown_read_point"])


def test_a_late_pack_between_two_batches_is_not_skipped(
    engine: Engine, site: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "PACKS_AT_ONCE", 1)
    loss = Loss(site.stream, 2, 2, None, "lost", "card broke")
    store(engine, site, site.envelope(1, at_line(carton())))
    store(engine, site, site.seal(site.pack(3, at_line(carton(), start=20), losses=[loss])))
    store(engine, site, site.envelope(4, at_line(carton(), start=30)))
    late = site.envelope(2, at_line(carton("L2"), start=10))
    arriving = iter([[], [late]])  # after the batch of pack 1, and after that of pack 3

    @contextmanager
    def writing_then_receiving(opened: Engine) -> Iterator[Connection]:
        with writing(opened) as conn:
            yield conn
        store(engine, site, *next(arriving, []))

    monkeypatch.setattr(follower_module, "writing", writing_then_receiving)
    follow(engine)
    assert len(told(engine)) == 4


def test_a_stop_is_noticed_between_two_batches(engine: Engine, site: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "PACKS_AT_ONCE", 1)
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)])
    stop = threading.Event()
    stop.set()
    assert ScanFollower(engine, now).run_once(stop) == 0
    assert follow(engine) == 9


def test_working_through_again_doubles_nothing(engine: Engine, site: Gateway) -> None:
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)])
    follow(engine)
    before, found = told(engine), reasons(engine)
    with writing(engine) as conn:  # as if the cursor had been restored from an old copy
        conn.execute(tables.cursor.delete())
        size = ledger.head(conn).size
    assert follow(engine) == 9
    assert (told(engine), reasons(engine)) == (before, found)
    with reading(engine) as conn:
        assert ledger.head(conn).size == size
    store(engine, site, site.envelope(6, at_line(carton("L2"), pallet(SSCC_2), start=3600)))
    follow(engine)
    with reading(engine) as conn:
        [last] = query.recent(conn, 1)
    assert isinstance(last.event, AggregationEvent)
    assert [element.quantity for element in last.event.child_quantity_list] == [1]


@pytest.mark.parametrize(
    ("codes", "channel", "expected"),
    [
        ([carton(gtin=STRANGE_GTIN)], LINE, ["unknown_product"]),
        (["no such thing"], LINE, ["unreadable_code"]),
        ([f"01{GTIN}"], LINE, ["no_lot"]),
        ([carton()], DOOR, ["lot_label_here"]),
        ([pallet()], LINE, ["empty_pallet"]),
        ([carton(), pallet(), pallet(), pallet()], LINE, ["repeated_scan", "repeated_scan"]),
        ([pallet(), pallet()], DOOR, ["repeated_scan"]),
        ([carton()], "nobody/knows", ["unknown_read_point"]),
        ([carton()], f"{LINE}.repeats", ["repeated_scan"]),
        ([carton(), f"01{GTIN}1"], f"{LINE}.refused", ["unreadable_code", "unreadable_code"]),
        (["CP:UNDO"], f"{LINE}.undo", ["command_card"]),
        (["CP:UNDO"], "nobody/knows.undo", ["unknown_read_point"]),
    ],
)
def test_a_scan_that_is_no_event_is_a_finding(
    engine: Engine, site: Gateway, codes: list[str], channel: str, expected: list[str]
) -> None:
    store(engine, site, site.envelope(1, at_line(*codes, channel=channel)))
    assert follow(engine) == len(codes)
    assert reasons(engine) == expected
    assert len(told(engine)) == len(codes) - len(expected)


def test_the_same_pallet_later_is_another_event(engine: Engine, site: Gateway) -> None:
    scans = [scan(pallet(), at_s=at, channel=DOOR) for at in (0, 59, 61, 200)]
    store(engine, site, site.envelope(1, scans))
    follow(engine)
    assert len(told(engine)) == 3
    assert reasons(engine) == ["repeated_scan"]


def test_a_pallet_nobody_built_is_an_event_and_is_listed(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(1, at_line(pallet(), channel=DOOR)))
    follow(engine)
    assert len(told(engine)) == 1
    with reading(engine) as conn:
        assert query.unbuilt_pallets(conn) == [digital_link.sscc(SSCC_1)]
    store(engine, site, site.envelope(2, at_line(carton(), pallet())))
    follow(engine)
    with reading(engine) as conn:
        assert query.unbuilt_pallets(conn) == []


def test_every_event_is_a_leaf_of_the_ledger(engine: Engine, site: Gateway) -> None:
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)])
    follow(engine)
    with reading(engine) as conn:
        for one in query.recent(conn):
            leaf = ledger.read_leaf(conn, one.leaf_index)
            assert leaf is not None
            assert (leaf.kind, leaf.ref) == ("event", one.event_id)
        leaves = conn.execute(select(tables.leaf).order_by(tables.leaf.c.leaf_index)).all()
        hashes = [leaf_hash(ledger.leaf_data(row.kind, row.hash)) for row in leaves]
        assert ledger.head(conn).root == root(hashes)


@pytest.mark.parametrize(("packs", "scans"), [(1, 200), (500, 1), (2, 2), (3, 3)])
def test_batches_smaller_than_the_work_give_the_same_events(
    engine: Engine, site: Gateway, told_in_order: list[str], monkeypatch: pytest.MonkeyPatch, packs: int, scans: int
) -> None:
    monkeypatch.setattr(follower_module, "PACKS_AT_ONCE", packs)
    monkeypatch.setattr(follower_module, "SCANS_AT_ONCE", scans)
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)])
    assert follow(engine) == 9
    assert told(engine) == told_in_order


def _follow_for_ever(url: str) -> None:
    engine = open_engine(url)
    while True:
        ScanFollower(engine, now).run_once()


def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    tmp_path: Path, engine: Engine, site: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "PACKS_AT_ONCE", 2)
    seed = 20261122
    print(f"seed {seed}")
    rng = random.Random(seed)
    codes = [carton(f"L{at % 7}") if at % 10 else pallet() for at in range(1, 401)]
    packs = [[scan(code, at_s=100 * at, channel=LINE)] for at, code in enumerate(codes)]
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(packs, start=1)])
    url = sqlite_url(tmp_path / "cloud.db")
    spawn = multiprocessing.get_context("fork")
    for _ in range(8):
        process = spawn.Process(target=_follow_for_ever, args=(url,))
        process.start()
        time.sleep(rng.uniform(0.02, 0.12))
        process.kill()
        process.join()
    follow(engine)
    with reading(engine) as conn:
        types = select(tables.event.c.type, func.count()).group_by(tables.event.c.type).order_by(tables.event.c.type)
        assert [tuple(row) for row in conn.execute(types)] == [("AggregationEvent", 40), ("ObjectEvent", 360)]
        packed = [one.event for one in query.recent(conn, 400) if one.event.biz_step == "packing"]
        assert all(
            sum(element.quantity or 0 for element in event.child_quantity_list) == 9
            for event in packed
            if hasattr(event, "child_quantity_list")
        )


def test_scans_of_two_gateways_do_not_wait_for_each_other(engine: Engine, site: Gateway, truck: Gateway) -> None:
    store(engine, truck, truck.envelope(1, at_line(pallet(), start=500, channel="load/scan")))
    assert follow(engine) == 1
    store(engine, site, site.envelope(1, at_line(carton(), pallet())))
    assert follow(engine) == 2
    with reading(engine) as conn:
        steps = [one.event.biz_step for one in query.of_item(conn, digital_link.lot(GTIN, "L1"))]
    assert steps == ["commissioning", "packing", "loading"]


def test_events_are_found_by_their_id(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(1, at_line(carton())))
    follow(engine)
    with reading(engine) as conn:
        [one] = query.recent(conn)
        assert query.by_id(conn, one.event_id) == one
        assert query.by_id(conn, "urn:uuid:nobody") is None
    assert (one.gateway, one.origin) == (site.name, f"scan:{site.name}/{site.stream.hex()}/1/0")
    assert one.record_time_ms == now()


def test_findings_keep_the_code_and_say_why(engine: Engine, site: Gateway) -> None:
    store(engine, site, site.envelope(1, at_line("hello: <world>")))
    follow(engine)
    with reading(engine) as conn:
        [one] = query.findings(conn)
    assert (one.code, one.reason, one.observed_ms) == ("hello: <world>", "unreadable_code", START_MS)
    assert one.detail


@pytest.mark.conformance
def test_a_day_of_events_is_valid_by_the_schema(engine: Engine, site: Gateway, shared_data: Path) -> None:
    schema = json.loads((shared_data / "standards/reference/epcis-json-schema-2.0.1.json").read_text())
    validator = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
    store(engine, site, *[site.envelope(seq, pack) for seq, pack in enumerate(DAY, start=1)])
    follow(engine)
    with reading(engine) as conn:
        events = [one.event for one in query.recent(conn)]
    made = document(events, created_at=from_ms(now()))
    assert [error.message for error in validator.iter_errors(made)] == []
    assert len(events) == 9


DAY_MS = 86_400_000
UNSET = ClockState.UNSYNCED


def unset_line(wrong_ms: int) -> list[Observation]:
    """Two cartons and their pallet, by a clock that nobody set and that is off by `wrong_ms`."""
    codes = (carton("L1"), carton("L1"), pallet(SSCC_1))
    return [scan(code, at_s=at, channel=LINE, wrong_ms=wrong_ms, clock=UNSET) for at, code in enumerate(codes)]


def send_unset(engine: Engine, site: Gateway, wrong_ms: int, received_ms: int) -> None:
    sealed = Stamp(START_MS + wrong_ms + 3000, 3000, BOOT, UNSET)
    envelope = site.seal(site.pack(1, unset_line(wrong_ms), sealed=sealed))
    assert record(engine, [Arrival(site.topic, envelope, received_ms)]).accepted == 1


def send_correction(engine: Engine, site: Gateway, wrong_ms: int) -> None:
    told = site.pack(2, corrections=[Correction(BOOT, 0, 599_999, -wrong_ms, 20, "ntp")])
    store(engine, site, site.seal(told))


def steps(engine: Engine) -> list[tuple[str | None, int]]:
    with reading(engine) as conn:
        captured = query.of_item(conn, digital_link.lot(GTIN, "L1"))
    return [(one.event.biz_step, to_ms(one.event.event_time) - START_MS) for one in captured]


AT_THEIR_TIME = [("commissioning", 0), ("commissioning", 1000), ("packing", 2000)]


def test_scans_of_an_unset_clock_wait_for_their_correction(engine: Engine, site: Gateway) -> None:
    received_ms = START_MS + 4000
    follower = ScanFollower(engine, lambda: received_ms + 600_000)
    send_unset(engine, site, -START_MS, received_ms)
    assert follower.run_once() == 0
    assert steps(engine) == []
    send_correction(engine, site, -START_MS)
    assert follower.run_once() == 3
    assert steps(engine) == AT_THEIR_TIME
    assert reasons(engine) == []


def test_scans_that_cannot_have_been_then_are_findings_until_a_correction_comes(engine: Engine, site: Gateway) -> None:
    received_ms = START_MS + 4000
    follower = ScanFollower(engine, lambda: received_ms + 3_600_000)
    send_unset(engine, site, -START_MS, received_ms)
    assert follower.run_once() == 3
    assert (steps(engine), reasons(engine)) == ([], ["clock_unset"] * 3)
    assert follower.run_once() == 0
    send_correction(engine, site, -START_MS)
    follower.run_once()
    assert (steps(engine), reasons(engine)) == (AT_THEIR_TIME, [])


@pytest.mark.parametrize("wait_ms", [3_600_000, 3 * DAY_MS], ids=["at once", "when that time has come"])
def test_scans_from_the_future_are_findings_until_a_correction_comes(
    engine: Engine, site: Gateway, wait_ms: int
) -> None:
    """The kernel says that the clock is set, and it is a day ahead."""
    received_ms = START_MS + 4000
    codes = (carton("L1"), carton("L1"), pallet(SSCC_1))
    ahead: list[Observation] = [scan(code, at_s=at, channel=LINE, wrong_ms=DAY_MS) for at, code in enumerate(codes)]
    envelope = site.seal(site.pack(1, ahead, sealed=Stamp(START_MS + DAY_MS + 3000, 3000, BOOT, ClockState.SYNCED)))
    assert record(engine, [Arrival(site.topic, envelope, received_ms)]).accepted == 1
    assert ScanFollower(engine, lambda: received_ms + 600_000).run_once() == 0
    follower = ScanFollower(engine, lambda: received_ms + wait_ms)
    assert follower.run_once() == 3
    assert (steps(engine), reasons(engine)) == ([], ["from_future"] * 3)
    send_correction(engine, site, DAY_MS)
    follower.run_once()
    assert (steps(engine), reasons(engine)) == (AT_THEIR_TIME, [])


def test_an_event_that_a_correction_moves_beyond_its_receipt_is_told(engine: Engine, site: Gateway) -> None:
    received_ms = START_MS + 4000
    envelope = site.envelope(1, at_line(carton("L1")))
    assert record(engine, [Arrival(site.topic, envelope, received_ms)]).accepted == 1
    ScanFollower(engine, lambda: received_ms).run_once()
    send_correction(engine, site, -DAY_MS)
    with reading(engine) as conn:
        clocks = event_clocks(conn, query.recent(conn))
    assert [(one.future, one.moved_ms) for one in clocks] == [(True, DAY_MS)]


def test_an_event_at_a_time_that_may_be_true_is_captured_and_never_edited(engine: Engine, site: Gateway) -> None:
    received_ms = START_MS + DAY_MS
    follower = ScanFollower(engine, lambda: received_ms + 3_600_000)
    send_unset(engine, site, -60_000, received_ms)
    assert follower.run_once() == 3
    captured = told(engine)
    with reading(engine) as conn:
        clocks = event_clocks(conn, query.recent(conn))
    assert [(one.unset, one.moved_ms) for one in clocks] == [(True, 0)] * 3
    send_correction(engine, site, -60_000)
    follower.run_once()
    assert told(engine) == captured
    with reading(engine) as conn:
        clocks = event_clocks(conn, query.recent(conn))
    assert [(one.unset, one.moved_ms) for one in clocks] == [(False, 60_000)] * 3


def test_an_unset_clock_that_agrees_with_the_receipt_keeps_nobody_waiting(engine: Engine, site: Gateway) -> None:
    received_ms = START_MS + 4000
    send_unset(engine, site, 20_000, received_ms)
    assert ScanFollower(engine, lambda: received_ms + 1000).run_once() == 3
    assert steps(engine) == [(step, at_ms + 20_000) for step, at_ms in AT_THEIR_TIME]
    with reading(engine) as conn:
        assert all(one.unset for one in event_clocks(conn, query.recent(conn)))


def test_scans_behind_one_that_waits_keep_their_order(engine: Engine, site: Gateway) -> None:
    received_ms = START_MS + 4000
    follower = ScanFollower(engine, lambda: received_ms + 1000)
    sealed = Stamp(START_MS + 3000, 3000, BOOT, UNSET)
    mixed = [scan(carton("L1"), channel=LINE), *unset_line(-START_MS)[1:]]
    envelope = site.seal(site.pack(1, mixed, sealed=sealed))
    assert record(engine, [Arrival(site.topic, envelope, received_ms)]).accepted == 1
    store(engine, site, site.envelope(2, at_line(pallet(SSCC_1), start=9, channel=DOOR)))
    assert follower.run_once() == 1
    assert steps(engine) == AT_THEIR_TIME[:1]
    told_later = site.pack(3, corrections=[Correction(BOOT, 1, 8000, START_MS, 20, "ntp")])
    store(engine, site, site.seal(told_later))
    follower.run_once()
    assert steps(engine) == [*AT_THEIR_TIME, ("storing", 9000)]
