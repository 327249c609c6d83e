"""The mirror's follower: everything once, in the order of the leaves, whatever the server does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import Engine, update

from cloud.db.cursor import position
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.db.tables import pack
from cloud.ingest.record import Arrival, record
from cloud.ledger import log
from cloud.mirror import follower, source
from cloud.mirror.follower import FOLLOWER, Mirror
from cloud.mirror.sink import Away, Refused
from tests.cloud.field import BOOT, START_MS, Gateway, reading
from wire.envelope import envelope_hash
from wire.observation import INT64_MAX, ClockState, Stamp
from wire.pack import CarriedFrom, Correction, Pack

HOUR_MS = 3_600_000
TARGET = "http://there org/bucket"


class Server:
    """A sink that keeps what it is given; `refuses` and `away` say what it does not take."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.taken: list[str] = []
        self.away: Callable[[], bool] = lambda: False
        self.refuses: Callable[[str], bool] = lambda _line: False

    def write(self, text: str) -> None:
        lines = text.split("\n")
        self.requests.append(lines)
        if self.away():
            raise Away("there cannot be reached")
        if any(self.refuses(line) for line in lines):
            raise Refused("400 Bad Request: unable to parse")
        self.taken += lines

    @property
    def values(self) -> list[float]:
        return [float(line.split(" ")[1].removeprefix("value=")) for line in self.taken]


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mirror(engine: Engine, server: Server, clock: Clock) -> Mirror:
    return Mirror(engine, lambda: START_MS + HOUR_MS, server, target=TARGET, monotonic=clock)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "REST_PER_WORK", 0.0)


def store(engine: Engine, gateway: Gateway, *packs: Pack) -> None:
    arrivals = [Arrival(gateway.topic, gateway.seal(pack), START_MS + HOUR_MS) for pack in packs]
    assert record(engine, arrivals).accepted == len(packs)


def all_of(mirror: Mirror) -> int:
    return sum(iter(lambda: mirror.run_once(threading.Event()), 0))


def test_packs_come_in_the_order_of_their_leaves_and_once(
    engine: Engine, gateway: Gateway, server: Server, mirror: Mirror
):
    for seq in (3, 1, 2):
        store(engine, gateway, gateway.pack(seq, [reading(at_s=seq, mantissa=seq, exponent=0)]))
    assert all_of(mirror) == 3
    assert server.values == [3.0, 1.0, 2.0]
    store(engine, gateway, gateway.pack(4, [reading(at_s=4, mantissa=4, exponent=0)]))
    assert all_of(mirror) == 1
    assert server.values == [3.0, 1.0, 2.0, 4.0]
    assert mirror.counters.readings == 4


def test_leaves_that_are_no_packs_are_stepped_over(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    for seq in (1, 2):
        with writing(engine) as conn:
            log.append(conn, "decision", payload=b"x", ref="x")
        store(engine, gateway, gateway.pack(seq))
    with writing(engine) as conn:
        log.append(conn, "decision", payload=b"x", ref="x")
    assert all_of(mirror) == 2
    assert len(server.taken) == 2
    assert (mirror.counters.lag_leaves, mirror.counters.lag_s) == (0, 0)


def test_the_next_life_goes_on_where_the_last_one_was(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    store(engine, gateway, gateway.pack(1))
    all_of(mirror)
    store(engine, gateway, gateway.pack(2))
    assert all_of(Mirror(engine, lambda: START_MS, server, target=TARGET)) == 1
    assert len(server.taken) == 2


def test_another_bucket_is_filled_from_the_beginning(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    store(engine, gateway, gateway.pack(1))
    all_of(mirror)
    assert all_of(Mirror(engine, lambda: START_MS, server, target="http://there org/other")) == 1


def test_it_does_not_claim_to_be_up_to_date_before_it_looked(mirror: Mirror):
    assert mirror.health.state == "has not looked yet"
    mirror.run_once(threading.Event())
    assert mirror.health.state == "up to date"


def test_a_batch_is_one_request_and_bounded(
    engine: Engine, gateway: Gateway, server: Server, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(source, "LINES_AT_ONCE", 10)
    monkeypatch.setattr(source, "PACKS_AT_ONCE", 6)
    for seq in range(1, 8):
        store(engine, gateway, gateway.pack(seq, [reading(at_s=seq + at / 10) for at in range(4)]))
    store(engine, gateway, *[gateway.pack(seq) for seq in range(8, 20)])
    all_of(mirror)
    assert [len(request) for request in server.requests] == [12, 12, 9, 6, 1]


def test_server_that_is_away_is_waited_for_and_nothing_is_lost(
    engine: Engine, gateway: Gateway, server: Server, mirror: Mirror, clock: Clock, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    store(engine, gateway, *[gateway.pack(seq) for seq in range(1, 4)])
    server.away = lambda: True
    pauses = []
    for _ in range(8):
        assert mirror.run_once(threading.Event()) == 0
        asked, began_s = len(server.requests), clock.s
        while len(server.requests) == asked:
            clock.s += 0.25
            mirror.run_once(threading.Event())
        pauses.append(clock.s - began_s)
    assert max(pauses) <= 30.25
    assert pauses[-1] > 10 > pauses[0]
    assert mirror.counters.lag_leaves == 3
    assert "cannot be reached" in mirror.health.state
    clock.s += 1_000
    assert not mirror.health.ok
    server.away = lambda: False
    assert all_of(mirror) == 3
    assert mirror.health.ok
    assert mirror.health.state == "up to date"
    assert len(server.taken) == 3
    assert [one.message.split(":")[0] for one in caplog.records if one.name == "cloud.mirror.follower"] == [
        "the mirror waits",
        "the mirror goes on",
    ]


def test_lag_is_told_in_leaves_and_seconds(engine: Engine, gateway: Gateway, server: Server):
    mirror = Mirror(engine, lambda: START_MS + HOUR_MS + 90_000, server, target=TARGET)
    store(engine, gateway, *[gateway.pack(seq) for seq in range(1, 101)])
    server.away = lambda: True
    mirror.run_once(threading.Event())
    with look(engine) as conn:
        leaves = log.head(conn).size
        first = position(conn, FOLLOWER, TARGET)
    assert first is None
    assert mirror.counters.lag_leaves == leaves - 1  # the first leaf is the gateway's key
    assert mirror.counters.lag_s == 90
    assert mirror.health.state.startswith(f"{leaves - 1} leaves, 90 s behind; ")


def test_bad_line_is_found_counted_and_passed_over(
    engine: Engine, gateway: Gateway, server: Server, mirror: Mirror, caplog: pytest.LogCaptureFixture
):
    bad = {3, 17, 18}
    store(engine, gateway, gateway.pack(1, [reading(at_s=at, mantissa=at, exponent=0) for at in range(40)]))
    server.refuses = lambda line: any(f"value={at}.0 " in line for at in bad)
    assert all_of(mirror) == 1
    assert server.values == [float(at) for at in range(40) if at not in bad]
    assert (mirror.counters.readings, mirror.counters.refused) == (37, 3)
    (said,) = [one.message for one in caplog.records]
    assert "refuses a reading" in said
    assert "value=3.0" in said
    assert "3 readings refused" in mirror.health.state


def test_server_that_refuses_everything_costs_a_bounded_number_of_requests(
    engine: Engine, gateway: Gateway, server: Server, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(follower, "HALVINGS_MAX", 20)
    store(engine, gateway, gateway.pack(1, [reading(at_s=at) for at in range(1_000)]))
    server.refuses = lambda _line: True
    assert all_of(mirror) == 1
    assert len(server.requests) <= 2 * 20 + 1
    assert mirror.counters.refused == 1_000


def test_a_stop_amid_the_search_keeps_the_batch(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    store(engine, gateway, gateway.pack(1, [reading(at_s=at) for at in range(100)]))
    stop = threading.Event()
    stop.set()
    server.refuses = lambda _line: True
    assert mirror.run_once(stop) == 0
    with look(engine) as conn:
        assert position(conn, FOLLOWER, TARGET) is None


@pytest.mark.parametrize("batches", [64, 1])
def test_what_was_held_back_comes_with_its_correction(
    engine: Engine, gateway: Gateway, server: Server, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, batches: int
):
    monkeypatch.setattr(source, "PACKS_AT_ONCE", batches)
    rows = [[reading(at_s=60 * at, mantissa=at, wrong_ms=-START_MS, clock=ClockState.UNSYNCED)] for at in range(5)]
    store(engine, gateway, *[gateway.pack(seq, row) for seq, row in enumerate(rows, start=1)])
    all_of(mirror)
    assert server.taken == []
    assert mirror.counters.held_back == 5
    told = [Correction(BOOT, 0, 239_999, START_MS, 20, "ntp")]
    store(engine, gateway, gateway.pack(6, corrections=told))
    all_of(mirror)
    assert [int(line.split(" ")[2]) - START_MS for line in server.taken] == [0, 60_000, 120_000, 180_000]


def test_numbers_as_high_as_they_get_are_gone_through(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    sealed = Stamp(START_MS, 0, BOOT, ClockState.SYNCED)
    unset = [reading(mantissa=7, wrong_ms=-START_MS, clock=ClockState.UNSYNCED)]
    told = [Correction(BOOT, 0, 1, START_MS, 20, "ntp")]
    store(engine, gateway, gateway.pack(INT64_MAX - 1, unset, sealed=sealed))
    all_of(mirror)
    store(engine, gateway, gateway.pack(INT64_MAX, corrections=told, sealed=sealed))
    all_of(mirror)
    assert server.values == [0.07]


def test_copy_whose_original_is_here_is_left_out(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    original = gateway.seal(gateway.pack(1))
    store(engine, gateway, gateway.pack(1))
    copying = gateway.pack(2, [reading(at_s=60, mantissa=-1801), reading(at_s=120, mantissa=7)])
    copies = [CarriedFrom(gateway.stream, 1, envelope_hash(original), 0, 1)]
    store(engine, gateway, msgspec.structs.replace(copying, carried_from=copies))
    all_of(mirror)
    assert server.values == [-18.01, 0.07]


def test_pack_whose_bytes_were_removed_is_passed_over(engine: Engine, gateway: Gateway, server: Server, mirror: Mirror):
    store(engine, gateway, gateway.pack(1), gateway.pack(2))
    with writing(engine) as conn:
        conn.execute(update(pack).where(pack.c.seq == 1).values(envelope=b""))
    assert all_of(mirror) == 2
    assert server.values == [-18.02]
