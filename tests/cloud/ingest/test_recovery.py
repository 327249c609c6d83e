"""After a restore: what gateways have let go of and the cloud lacks is asked for, within bounds whoever lies."""

from __future__ import annotations

import hashlib
import itertools

import msgspec
import pytest
from sqlalchemy import Engine, func, select

from cloud.db import tables
from cloud.db.engine import reading, writing
from cloud.ingest import command, finding, gateway_state, recovery
from cloud.ingest.completeness import OVERDUE_MS
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.gateway_state import Heard
from cloud.ingest.outbox import Outbox
from cloud.ingest.record import Arrival, record
from cloud.ingest.recovery import AGAIN_MAX_MS, AGAIN_MIN_MS, ASKED_AT_ONCE, Recovery
from cloud.keys import CloudKey
from cloud.ledger import log
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway
from wire import command as wire_command
from wire.command import RANGES_MAX, Command, SendAgain
from wire.envelope import envelope_hash
from wire.observation import INT64_MAX
from wire.pack import Loss, StreamHead
from wire.status import Status, encode
from wire.topics import down_command, up_status


class Field:
    """The cloud's view of gateways that say how they are; `orders` are the commands that came out, verified."""

    def __init__(self, engine: Engine, key: CloudKey) -> None:
        self.engine = engine
        self.now_ms = START_MS
        self.key = key
        self.orders: list[Command] = []
        self.connected = True
        self.restart()

    def restart(self) -> None:
        """A new process on the same database."""
        self.recovery = Recovery(self.engine, self.key, lambda: self.now_ms)
        self.now_s = 0.0

    def say(self, gateway: Gateway, *, retained: bool = False, **told: object) -> None:
        """A status arrives."""
        status = Status(gateway.name, **({"online": True, "stream": gateway.stream.hex()} | told))  # type: ignore[arg-type]
        heard = Heard(up_status(gateway.name), encode(status), self.now_ms, retained=retained)
        with writing(self.engine) as conn:
            assert gateway_state.record(conn, [heard]) == 0
        self.recovery.heard([heard])

    def look(self, after_ms: int = 0) -> list[SendAgain]:
        """Time goes by, and the worker looks; what it asked for."""
        self.now_ms += after_ms
        self.now_s += 1000
        before = len(self.orders)
        self.recovery.ask(self._publish, self.now_s)
        return [one.order for one in self.orders[before:] if isinstance(one.order, SendAgain)]

    def _publish(self, topic: str, payload: bytes) -> bool:
        message, letter = wire_command.unseal(payload)
        assert message.is_signed_by(self.key.private.public_key())
        assert topic == down_command(letter.gateway)
        self.orders.append(letter)
        return self.connected

    def findings(self) -> list[str]:
        with reading(self.engine) as conn:
            return sorted(one.finding.kind for one in finding.newest(conn, 100))


@pytest.fixture
def field(engine: Engine, cloud_key: CloudKey) -> Field:
    """Nobody has spoken yet."""
    return Field(engine, cloud_key)


def _arrive(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in envelopes])


def test_what_was_let_go_of_and_is_not_here_is_asked_for(engine: Engine, gateway: Gateway, field: Field):
    chain = gateway.chain(9)
    _arrive(engine, gateway, chain[0], chain[1], chain[4])
    field.say(gateway, head_seq=9, released_through=7, unsent_packs=2)
    assert field.look() == [SendAgain(gateway.stream, [(3, 4), (6, 7)])]
    _arrive(engine, gateway, *chain[2:])
    assert field.look() == []
    with reading(engine) as conn:
        (asked,) = command.newest(conn, 10)
    assert asked.answered_ms == field.now_ms


def test_what_comes_by_itself_is_not_asked_for(engine: Engine, gateway: Gateway, field: Field):
    _arrive(engine, gateway, gateway.envelope(1))
    field.say(gateway, head_seq=9, released_through=1, unsent_packs=8)
    assert field.look() == []


def test_what_was_let_go_of_out_of_turn_is_asked_for_once_nothing_waits(engine: Engine, gateway: Gateway, field: Field):
    """A receipt may have settled ranges far above `released_through`; the status doesn't name them."""
    _arrive(engine, gateway, gateway.envelope(1))
    field.say(gateway, head_seq=9, released_through=1, unsent_packs=0)
    assert field.look() == [SendAgain(gateway.stream, [(2, 9)])]


def test_gateway_that_is_away_is_asked_when_it_is_back(gateway: Gateway, field: Field):
    field.say(gateway, head_seq=3, released_through=3, online=False)
    assert field.look() == []
    field.say(gateway, head_seq=3, released_through=3)
    assert field.look() == [SendAgain(gateway.stream, [(1, 3)])]


def test_streams_before_the_present_one_are_asked_for(engine: Engine, gateway: Gateway, field: Field):
    later = Gateway(gateway.name)
    later.stream = b"t" * 16
    head = StreamHead(gateway.stream, 4, b"h" * 32)
    _arrive(engine, gateway, later.seal(msgspec.structs.replace(later.pack(1), predecessor=head)), gateway.envelope(1))
    field.say(later, head_seq=1, released_through=1, unsent_packs=3)
    assert field.look() == [], "they may still be on their way"
    field.say(later, head_seq=1, released_through=1)
    assert field.look() == [SendAgain(gateway.stream, [(2, 4)])]


def test_declared_loss_answers_a_command(engine: Engine, gateway: Gateway, field: Field):
    field.say(gateway, head_seq=5, released_through=5)
    assert field.look() == [SendAgain(gateway.stream, [(1, 5)])]
    loss = Loss(gateway.stream, 1, 5, envelope_hash(gateway.envelope(5)), "lost", "left the archive")
    _arrive(engine, gateway, gateway.seal(gateway.pack(6, losses=[loss])))
    assert field.look(AGAIN_MAX_MS) == []
    with reading(engine) as conn:
        assert command.newest(conn, 1)[0].answered_ms == field.now_ms


def test_silence_is_asked_again_ever_more_rarely(gateway: Gateway, field: Field):
    field.say(gateway, head_seq=5, released_through=5)
    asked_ms = []
    while field.now_ms < START_MS + 5 * AGAIN_MAX_MS:
        if field.look(AGAIN_MIN_MS):
            asked_ms.append(field.now_ms)
    waits = [after - before for before, after in itertools.pairwise(asked_ms)]
    assert waits[:6] == [AGAIN_MIN_MS << at for at in range(6)]
    assert set(waits[6:]) == {AGAIN_MAX_MS}


def test_restart_and_a_second_worker_ask_nobody_twice(engine: Engine, gateway: Gateway, field: Field):
    field.say(gateway, head_seq=5, released_through=5)
    assert len(field.look()) == 1
    field.restart()
    field.say(gateway, head_seq=5, released_through=5)
    assert field.look(1000) == []


def test_command_that_could_not_go_waits_for_the_broker_and_goes_once(gateway: Gateway, field: Field):
    field.connected = False
    field.say(gateway, head_seq=5, released_through=5)
    field.look()
    field.orders.clear()
    field.connected = True
    outbox = Outbox(field.engine, lambda: field.now_ms)  # also that of another process
    assert [outbox.turn(field._publish, at_s) for at_s in (5.0, 5.1, 9.0)] == [1, 0, 0]
    assert [one.order for one in field.orders] == [SendAgain(gateway.stream, [(1, 5)])]


def test_command_that_expired_while_it_waited_stays_here(gateway: Gateway, field: Field):
    field.connected = False
    field.say(gateway, head_seq=5, released_through=5)
    field.look()
    field.connected = True
    field.now_ms += command.LIFETIME_MS
    assert Outbox(field.engine, lambda: field.now_ms).give(field._publish) == 0


def _come(field: Field, gateway: Gateway, *seqs: int) -> None:
    arrivals = [Arrival(gateway.topic, gateway.envelope(seq), field.now_ms) for seq in seqs]
    assert record(field.engine, arrivals).accepted == len(seqs)
    GapFollower(field.engine).run_once()


def test_what_has_long_been_missing_is_asked_for_though_it_is_above_what_was_released(gateway: Gateway, field: Field):
    _come(field, gateway, 1, 2, 5, 9)
    field.say(gateway, head_seq=9, released_through=2, unsent_packs=1)
    assert field.look() == [], "they may be on their way"
    field.now_ms += OVERDUE_MS
    field.say(gateway, head_seq=9, released_through=2, unsent_packs=1)
    assert field.look() == [SendAgain(gateway.stream, [(3, 4), (6, 8)])]
    assert finding.CLOUD_BEHIND not in field.findings()


def test_what_a_gateway_still_holds_back_is_not_asked_for(gateway: Gateway, field: Field):
    _come(field, gateway, 1, 2, 5, 9)
    field.now_ms += OVERDUE_MS
    field.say(gateway, head_seq=9, released_through=2, unsent_packs=5)
    assert field.look() == []


def test_what_was_let_go_and_what_is_overdue_are_one_request(gateway: Gateway, field: Field):
    _come(field, gateway, 2, 5, 9)
    field.now_ms += OVERDUE_MS
    field.say(gateway, head_seq=9, released_through=4, unsent_packs=2)
    assert field.look() == [SendAgain(gateway.stream, [(1, 1), (3, 4), (6, 8)])]


def test_counters_rise_also_after_a_restore(engine: Engine, gateway: Gateway, field: Field):
    field.say(gateway, head_seq=5, released_through=5)
    field.look()
    field.look(AGAIN_MIN_MS)
    with writing(engine) as conn:
        conn.execute(tables.command.delete())  # the backup was older than any command
    field.look(1)
    field.now_ms -= 10**9  # and the clock of this machine is wrong
    field.look(1)
    counters = [one.counter for one in field.orders]
    assert len(counters) == 4
    assert counters == sorted(set(counters))
    assert len({one.id for one in field.orders}) == 4
    assert all(one.issued_at_ms < one.expires_at_ms for one in field.orders)


def test_ranges_of_one_command_are_bounded_and_the_rest_follows(engine: Engine, gateway: Gateway, field: Field):
    seqs = range(2, 2 * RANGES_MAX + 20, 2)
    _arrive(engine, gateway, *(gateway.envelope(seq) for seq in seqs))
    field.say(gateway, head_seq=seqs[-1], released_through=seqs[-1])
    (order,) = field.look()
    assert len(order.ranges) == RANGES_MAX
    _arrive(engine, gateway, *(gateway.envelope(first) for first, _ in order.ranges))
    assert field.look() == [SendAgain(gateway.stream, [(seq - 1, seq - 1) for seq in seqs[RANGES_MAX:]])]


def test_a_province_is_not_asked_at_once(engine: Engine, field: Field):
    everybody = [Gateway(f"gw-{at}") for at in range(ASKED_AT_ONCE + 30)]
    with writing(engine) as conn:
        for one in everybody:
            add_gateway(conn, one.public_half, START_MS)
    for one in everybody:
        field.say(one, head_seq=1, released_through=1)
    assert len(field.look()) == ASKED_AT_ONCE
    asked = {one.gateway for one in field.orders}
    for one in everybody:
        if one.name in asked:
            _arrive(engine, one, one.envelope(1))
    while field.look(AGAIN_MIN_MS // 20):
        pass
    assert sorted(one.gateway for one in field.orders) == sorted(one.name for one in everybody)


def test_stranger_is_never_asked(engine: Engine, field: Field):
    stranger = Gateway("gw-stranger")
    field.say(stranger, head_seq=5, released_through=5, checkpoint_size=9)
    assert field.look() == []
    assert field.findings() == []


def test_lies_in_a_status_cost_one_command_and_two_findings(engine: Engine, gateway: Gateway, field: Field):
    _arrive(engine, gateway, gateway.envelope(1))
    for at in range(20):
        lie = {"released_through": INT64_MAX, "checkpoint_size": INT64_MAX - at, "head_hash": f"{at:064x}"}
        field.say(gateway, head_seq=1, **lie)
        field.look(1)
        field.say(gateway, head_seq=INT64_MAX, **lie)
        field.look(1)
    assert [one.order for one in field.orders] == [SendAgain(gateway.stream, [(2, INT64_MAX)])]
    assert field.findings() == [finding.CLOUD_BEHIND, finding.HEAD_DIFFERS]


def test_ever_new_streams_in_a_status_are_bounded(gateway: Gateway, field: Field):
    for at in range(2 * recovery.UNANSWERED_MAX):
        field.say(gateway, stream=hashlib.sha256(b"%d" % at).hexdigest()[:32], head_seq=1, released_through=1)
        field.look(1)
    assert len(field.orders) <= recovery.STREAMS_MAX


def test_predecessors_that_never_were_are_bounded(engine: Engine, gateway: Gateway, field: Field):
    for at in range(recovery.STREAMS_MAX + 9):
        one = Gateway(gateway.name)
        one.stream = bytes([at]) * 16
        head = StreamHead(bytes([200 + at]) * 16, INT64_MAX, b"h" * 32)
        _arrive(engine, gateway, one.seal(msgspec.structs.replace(one.pack(1), predecessor=head)))
    field.say(gateway, head_seq=0)
    assert len(field.look()) <= recovery.STREAMS_MAX


def test_log_that_is_behind_what_a_gateway_was_shown_is_found_once(
    engine: Engine, gateway: Gateway, field: Field, caplog: pytest.LogCaptureFixture
):
    _arrive(engine, gateway, gateway.envelope(1))
    with reading(engine) as conn:
        head = log.head(conn)
    field.say(gateway, head_seq=1, checkpoint_size=head.size, checkpoint_root=head.root.hex())
    field.look()
    assert field.findings() == []
    for _ in range(3):
        field.say(gateway, head_seq=1, checkpoint_size=head.size + 1, checkpoint_root="0" * 64)
        field.look()
    assert field.findings() == [finding.CLOUD_BEHIND]
    assert sum("was shown a log" in one.getMessage() for one in caplog.records) == 1


def test_other_log_of_the_same_length_is_found(engine: Engine, gateway: Gateway, field: Field):
    _arrive(engine, gateway, gateway.envelope(1))
    with reading(engine) as conn:
        size = log.head(conn).size
    field.say(gateway, head_seq=1, checkpoint_size=size, checkpoint_root="0" * 64)
    field.look()
    assert field.findings() == [finding.CLOUD_BEHIND]


def test_other_head_under_a_known_number_is_found(engine: Engine, gateway: Gateway, field: Field):
    envelope = gateway.envelope(1)
    _arrive(engine, gateway, envelope)
    field.say(gateway, head_seq=1, head_hash=envelope_hash(envelope).hex())
    field.look()
    assert field.findings() == []
    field.say(gateway, head_seq=1, head_hash="0" * 64)
    field.look()
    assert field.findings() == [finding.HEAD_DIFFERS]


def test_peace_costs_no_command(engine: Engine, gateway: Gateway, field: Field):
    _arrive(engine, gateway, *gateway.chain(20))
    for _ in range(5):
        field.say(gateway, head_seq=20, released_through=20)
        assert field.look(AGAIN_MAX_MS) == []
    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(tables.command)) == 0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The transactions that recovery opens, in order: reading or writing."""
    found: list[str] = []
    for name in ("reading", "writing"):
        original = getattr(recovery, name)
        monkeypatch.setattr(recovery, name, lambda engine, o=original, n=name: found.append(n) or o(engine))
    return found


@pytest.mark.parametrize("retained", [False, True])
def test_gateway_that_lacks_packs_is_looked_at_once_in_a_while(
    gateway: Gateway, field: Field, opened: list[str], retained: bool
):
    field.say(gateway, head_seq=5, released_through=5, retained=retained)
    for at in range(600):  # ingest turns in a minute
        field.recovery.ask(field._publish, at / 10)
    assert opened.count("reading") == 60 / recovery.LOOK_MISSING_S
    assert opened.count("writing") == 1, "the command; after that nothing was due"


def test_peace_is_looked_at_more_rarely_however_often_it_is_told(gateway: Gateway, field: Field, opened: list[str]):
    for at in range(600):
        field.say(gateway, head_seq=0)
        field.recovery.ask(field._publish, at / 10)
    assert opened == ["reading"] * round(60 / recovery.LOOK_S)


def test_first_live_word_after_a_repeated_one_is_looked_at_at_once(gateway: Gateway, field: Field):
    field.say(gateway, head_seq=0, retained=True)
    field.recovery.ask(field._publish, 0.0)
    field.say(gateway, head_seq=5, released_through=5)
    assert field.recovery.ask(field._publish, 0.1) == 1


def test_streams_that_wait_for_their_answer_open_nothing_for_writing(
    engine: Engine, gateway: Gateway, field: Field, opened: list[str]
):
    field.say(gateway, head_seq=5, released_through=5)
    assert field.look() == [SendAgain(gateway.stream, [(1, 5)])]
    opened.clear()
    assert field.look(1000) == []
    assert opened == ["reading"]
