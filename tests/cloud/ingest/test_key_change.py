"""Keys change and end inside the record: by number, whenever a pack comes in; or by time of receipt, when revoked."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, func, select

from cloud.db import tables
from cloud.db.engine import reading, writing
from cloud.enrol import revocation
from cloud.ingest import judgement, quarantine
from cloud.ingest import record as record_module
from cloud.ingest.judgement import Examined
from cloud.ingest.record import Arrival, Outcome, record
from cloud.ledger import log
from cloud.registry import keys
from cloud.registry.keys import RegistryError
from tests.cloud.field import START_MS, Gateway
from wire.pack import KeyChange, Loss, Pack, StreamHead

OLD, NEW, THIRD = (Gateway("gw-kho-01", seed=seed) for seed in (1, 2, 3))
LATER = hashlib.sha256(b"a stream begun later").digest()[:16]
EARLIER = hashlib.sha256(b"a stream from before").digest()[:16]

Come = Callable[..., Outcome]


def _pack(seq: int, *, stream: bytes = OLD.stream, change: Gateway | None = None, **entries: object) -> Pack:
    """A pack of the one gateway, whoever signs it; `change` names the next key from the next seq on."""
    pack = msgspec.structs.replace(OLD.pack(seq), stream=stream, **entries)
    if change is None:
        return pack
    return msgspec.structs.replace(pack, key_change=KeyChange(change.key.public_key().public_bytes_raw(), seq + 1))


@pytest.fixture
def come(engine: Engine, gateway: Gateway) -> Come:
    """Packs come in, as one group."""

    def record_them(*envelopes: bytes, at_ms: int = START_MS) -> Outcome:
        return record(engine, [Arrival(OLD.topic, envelope, at_ms) for envelope in envelopes])

    return record_them


@pytest.fixture
def refusals(engine: Engine) -> Callable[[], Sequence[str]]:
    """Why messages lie in the quarantine, in order."""

    def reasons() -> Sequence[str]:
        with reading(engine) as conn:
            return list(conn.scalars(select(tables.quarantine.c.reason).order_by(tables.quarantine.c.id)))

    return reasons


def _stored(engine: Engine) -> list[int]:
    with reading(engine) as conn:
        return list(conn.scalars(select(tables.pack.c.seq).order_by(tables.pack.c.seq)))


def test_next_key_signs_from_its_first_seq_on(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(1)), OLD.seal(_pack(2, change=NEW)))
    assert come(NEW.seal(_pack(3)), NEW.seal(_pack(4))).accepted == 2
    assert _stored(engine) == [1, 2, 3, 4]
    assert refusals() == []


def test_change_and_successors_may_come_in_one_group_in_any_order(come: Come, engine: Engine, refusals):
    group = [THIRD.seal(_pack(6)), NEW.seal(_pack(5, change=THIRD)), NEW.seal(_pack(4)), OLD.seal(_pack(3, change=NEW))]
    outcome = come(*group)
    assert _stored(engine) == [3, 4, 5, 6]
    assert refusals() == []
    assert outcome.accepted == 4
    assert outcome.owed == {(OLD.name, OLD.stream)}


def test_packs_that_came_before_their_key_are_judged_again(come: Come, engine: Engine, refusals):
    assert come(NEW.seal(_pack(9)), NEW.seal(_pack(8))).quarantined == 2
    assert refusals() == ["unknown_key", "unknown_key"]
    outcome = come(OLD.seal(_pack(7, change=NEW)), at_ms=START_MS + 5)
    assert (outcome.accepted, refusals(), _stored(engine)) == (3, [], [7, 8, 9])
    with reading(engine) as conn:
        received = list(conn.scalars(select(tables.pack.c.received_ms).order_by(tables.pack.c.seq)))
    assert received == [START_MS + 5, START_MS, START_MS]


def test_what_another_key_signed_stays_in_quarantine(come: Come, refusals):
    come(NEW.seal(_pack(9)), THIRD.seal(_pack(8)))
    come(OLD.seal(_pack(7, change=NEW)))
    assert refusals() == ["unknown_key"]


def test_old_key_stays_good_below_whenever_received(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(5, change=NEW)))
    come(NEW.seal(_pack(6)))
    assert come(OLD.seal(_pack(2)), at_ms=START_MS + 10**10).accepted == 1
    assert refusals() == []


@pytest.mark.parametrize("together", [True, False])
def test_old_key_signs_nothing_after_the_change(come: Come, engine: Engine, refusals, together: bool):
    change, forged = OLD.seal(_pack(5, change=NEW)), [OLD.seal(_pack(seq)) for seq in (6, 7, 2**20)]
    if together:
        come(*forged, change)
    else:
        come(change)
        come(*forged)
    assert _stored(engine) == [5]
    assert refusals() == ["superseded_key"] * 3


def test_successor_streams_need_the_next_key(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(5, change=NEW)))
    come(OLD.seal(_pack(1, stream=LATER)))
    assert refusals() == ["superseded_key"]
    assert come(NEW.seal(_pack(1, stream=LATER))).accepted == 1
    come(OLD.seal(_pack(2, stream=LATER)))  # known by now, and still not the old key's
    assert refusals() == ["superseded_key"] * 2


def test_streams_from_before_stay_the_old_keys(come: Come, refusals):
    come(OLD.seal(_pack(3, stream=EARLIER)))
    come(OLD.seal(_pack(5, change=NEW)))
    assert come(OLD.seal(_pack(1, stream=EARLIER))).accepted == 1
    assert refusals() == []


def test_stream_from_before_may_become_known_after_the_change(come: Come, refusals):
    come(OLD.seal(_pack(5, change=NEW)))
    come(OLD.seal(_pack(7, stream=EARLIER)))
    assert refusals() == ["superseded_key"]
    come(OLD.seal(_pack(1, predecessor=StreamHead(EARLIER, 9, bytes(32)))))
    assert come(OLD.seal(_pack(8, stream=EARLIER))).accepted == 1


def test_ended_key_declares_nothing_lost_that_is_not_its_own(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(2, stream=EARLIER)))
    come(OLD.seal(_pack(5, change=NEW)))
    for stream, last in ((OLD.stream, 6), (OLD.stream, None), (LATER, 1)):
        come(OLD.seal(_pack(1, stream=EARLIER, losses=[Loss(stream, 1, last, None, "lost", "a lie")])))
    assert refusals() == ["superseded_key"] * 3
    assert come(OLD.seal(_pack(4, losses=[Loss(OLD.stream, 1, 3, None, "lost", "true")]))).accepted == 1


def test_second_stream_of_a_thief_ends_with_the_key(come: Come, engine: Engine, refusals):
    """It was begun before the change, so that it is known; nothing went on from it."""
    come(OLD.seal(_pack(4, stream=LATER)), OLD.seal(_pack(1, stream=LATER)))
    come(OLD.seal(_pack(5, change=NEW)))
    assert come(OLD.seal(_pack(3, stream=LATER))).accepted == 1, "below it may be an honest one that comes late"
    come(OLD.seal(_pack(5, stream=LATER)), OLD.seal(_pack(2**20, stream=LATER)))
    assert refusals() == ["superseded_key"] * 2


def test_second_stream_of_a_thief_makes_no_stream_older(come: Come, refusals):
    come(OLD.seal(_pack(9, stream=LATER)))
    come(OLD.seal(_pack(5, change=NEW)))
    come(OLD.seal(_pack(1, stream=LATER, predecessor=StreamHead(EARLIER, 2**40, bytes(32)))))
    come(OLD.seal(_pack(1, stream=EARLIER)))
    assert refusals() == ["superseded_key"]


@pytest.mark.parametrize("before", [True, False])
def test_streams_before_are_the_old_keys_up_to_the_seq_their_successor_names(come: Come, refusals, before: bool):
    first = hashlib.sha256(b"the very first").digest()[:16]
    heads = [
        OLD.seal(_pack(1, predecessor=StreamHead(EARLIER, 9, bytes(32)))),
        OLD.seal(_pack(1, stream=EARLIER, predecessor=StreamHead(first, 7, bytes(32)))),
    ]
    change = OLD.seal(_pack(5, change=NEW))
    for one in [*heads, change] if before else [change, *heads]:
        assert come(one).accepted == 1
    come(OLD.seal(_pack(9, stream=EARLIER)), OLD.seal(_pack(7, stream=first)))
    assert refusals() == []
    come(OLD.seal(_pack(10, stream=EARLIER)), OLD.seal(_pack(8, stream=first)))
    assert refusals() == ["superseded_key"] * 2


def test_first_end_of_a_key_counts(come: Come, engine: Engine):
    come(OLD.seal(_pack(5, change=NEW)))
    come(OLD.seal(_pack(3, change=THIRD)))
    with reading(engine) as conn:
        known = {key.kid: key.end for key in keys.keys_of(conn, OLD.name)}
    assert set(known) == {OLD.kid, NEW.kid}
    assert known[OLD.kid] is not None
    assert known[OLD.kid].first_seq == 6


def test_next_key_is_a_leaf(come: Come, engine: Engine):
    come(OLD.seal(_pack(5, change=NEW)))
    payload = keys.key_payload(OLD.name, NEW.key.public_key().public_bytes_raw())
    with reading(engine) as conn:
        leaves = [log.read_leaf(conn, at) for at in range(log.head(conn).size)]
    assert hashlib.sha256(payload).digest() in {leaf.hash for leaf in leaves if leaf is not None}


def test_stream_that_begins_with_the_change_once_more_costs_that_pack_only(come: Come, engine: Engine, refusals):
    """As a gateway does whose buffer broke before it knew that the change had arrived (ADR 0013)."""
    come(OLD.seal(_pack(1)), OLD.seal(_pack(2, change=NEW)))
    before = StreamHead(OLD.stream, 2, bytes(32))
    again = OLD.seal(_pack(1, stream=LATER, change=NEW, predecessor=before))
    loss = Loss(OLD.stream, 3, None, None, "lost", "buffer file was lost", to_ms=START_MS)
    assert come(NEW.seal(_pack(2, stream=LATER, losses=[loss])), again, NEW.seal(_pack(3, stream=LATER))).accepted == 2
    assert refusals() == ["superseded_key"]
    over = Loss(LATER, 1, 1, None, "lost", "named a key that the cloud knew already")
    assert come(NEW.seal(_pack(4, stream=LATER, losses=[over]))).accepted == 1
    with reading(engine) as conn:
        table = tables.settled
        spans = conn.execute(select(table.c.first_seq, table.c.last_seq).where(table.c.stream == LATER)).all()
    assert spans == [(1, 4)]


def test_change_is_taken_once_though_it_comes_twice(come: Come, engine: Engine):
    change = OLD.seal(_pack(5, change=NEW))
    assert come(change, change).duplicates == 1
    assert come(change).duplicates == 1
    with reading(engine) as conn:
        assert len(keys.keys_of(conn, OLD.name)) == 2


@pytest.mark.parametrize("together", [True, False])
def test_two_changes_in_the_wrong_order(come: Come, engine: Engine, refusals, together: bool):
    envelopes = [THIRD.seal(_pack(6)), NEW.seal(_pack(5, change=THIRD)), OLD.seal(_pack(3, change=NEW))]
    outcomes = [come(*envelopes)] if together else [come(one) for one in envelopes]
    assert outcomes[-1].accepted == 3
    assert (_stored(engine), refusals()) == ([3, 5, 6], [])
    assert come(*envelopes).duplicates == 3


def test_a_long_row_of_changes_in_the_wrong_order(come: Come, engine: Engine, refusals):
    row = [OLD, *(Gateway(OLD.name, seed=seed) for seed in range(100, 130))]
    changes = [before.seal(_pack(at, change=after)) for at, (before, after) in enumerate(itertools.pairwise(row), 1)]
    assert come(*changes[:0:-1]).quarantined == len(changes) - 1
    assert come(changes[0]).accepted == len(changes)
    assert (len(_stored(engine)), refusals()) == (len(changes), [])


def test_what_is_refused_when_judged_again_stays_in_quarantine(come: Come, engine: Engine, refusals):
    """The next key's own end comes with what lay there, and cuts off what lay beside it."""
    come(NEW.seal(_pack(9)), NEW.seal(_pack(5, change=THIRD)))
    outcome = come(OLD.seal(_pack(3, change=NEW)))
    assert (outcome.accepted, outcome.quarantined) == (2, 0)
    assert (_stored(engine), refusals()) == ([3, 5], ["superseded_key"])
    with reading(engine) as conn:
        assert list(conn.scalars(select(tables.quarantine.c.times))) == [1]


def test_only_a_new_key_has_the_quarantine_judged_again(come: Come, monkeypatch: pytest.MonkeyPatch):
    come(THIRD.seal(_pack(9)))
    change = OLD.seal(_pack(3, change=NEW))
    looks: list[str] = []
    look = quarantine.waiting_for_key
    monkeypatch.setattr(
        quarantine, "waiting_for_key", lambda conn, topic, *most: looks.append(topic) or look(conn, topic, *most)
    )
    come(change)
    assert looks == [OLD.topic]
    come(change)
    come(change, change)
    come(OLD.seal(_pack(3, change=THIRD)), OLD.seal(_pack(2, change=THIRD)))  # a conflict, and a second end
    assert looks == [OLD.topic]


def test_what_is_judged_again_is_bounded_by_rows_and_bytes(come: Come, engine: Engine):
    come(*(NEW.seal(_pack(seq)) for seq in range(11, 21)))
    size = len(NEW.seal(_pack(11)))
    with reading(engine) as conn:
        for rows, size_bytes, found in ((4, 10**9, 4), (100, 3 * size, 3), (100, size - 1, 0), (100, 10**9, 10)):
            assert len(quarantine.waiting_for_key(conn, OLD.topic, rows, size_bytes)) == found


# --- revocation -------------------------------------------------------------------------------------------------------


def _revoke(
    engine: Engine, *, from_seq: int | None, kid: bytes | None = OLD.kid, stream: bytes | None = None
) -> list[str]:
    """The keys that were taken back, a moment after the start."""
    with writing(engine) as conn:
        done = revocation.revoke(
            conn,
            OLD.name,
            kid=kid,
            link=False,
            from_seq=from_seq,
            stream=stream,
            reason="stolen",
            now_ms=START_MS + 100,
        )
    return done.keys


def test_revocation_as_of_now_refuses_what_comes_later_and_keeps_what_came(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(1)))
    _revoke(engine, from_seq=None)
    come(OLD.seal(_pack(2)), at_ms=START_MS + 100)
    assert refusals() == ["revoked_key"]
    assert come(OLD.seal(_pack(3)), at_ms=START_MS + 99).accepted == 1
    assert _stored(engine) == [1, 3]


def test_revocation_by_number_keeps_what_lies_below_whenever_received(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(5)))
    _revoke(engine, from_seq=10)
    assert come(OLD.seal(_pack(9)), at_ms=START_MS + 10**10).accepted == 1
    come(OLD.seal(_pack(10)), OLD.seal(_pack(1, stream=LATER)))
    assert refusals() == ["revoked_key"] * 2


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done by somebody else after the next group was examined, before it is stored."""

    def plan(act: Callable[[], object]) -> None:
        waiting = [act]

        def examine_all(*group: Any) -> Examined:
            examined = judgement.examine_all(*group)
            if waiting:
                waiting.pop()()
            return examined

        monkeypatch.setattr(record_module, "examine_all", examine_all)

    return plan


def test_revocation_while_a_group_is_judged_counts_for_it(come: Come, engine: Engine, refusals, meanwhile):
    come(OLD.seal(_pack(5)))
    meanwhile(lambda: _revoke(engine, from_seq=10))
    assert come(OLD.seal(_pack(9)), OLD.seal(_pack(10))).accepted == 1
    assert (_stored(engine), refusals()) == ([5, 9], ["revoked_key"])


def test_change_another_worker_takes_in_counts_for_the_group_being_judged(
    come: Come, engine: Engine, refusals, meanwhile
):
    meanwhile(lambda: come(OLD.seal(_pack(2, change=NEW))))
    assert come(OLD.seal(_pack(3)), NEW.seal(_pack(4))).accepted == 1
    assert (_stored(engine), refusals()) == ([2, 4], ["superseded_key"])


def test_revocation_counts_over_a_change_made_with_the_stolen_key(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(5, change=NEW)))
    _revoke(engine, from_seq=4)
    come(OLD.seal(_pack(4)))
    assert refusals() == ["revoked_key"]


def test_revocation_bounds_every_other_stream(come: Come, engine: Engine, refusals):
    """Also one that the stolen key says went before: whoever has the key can say so."""
    come(OLD.seal(_pack(5)), OLD.seal(_pack(4, stream=EARLIER)))
    _revoke(engine, from_seq=6, stream=OLD.stream)
    assert come(OLD.seal(_pack(3, stream=EARLIER))).accepted == 1
    come(OLD.seal(_pack(1, predecessor=StreamHead(EARLIER, 2**40, bytes(32)))))
    come(OLD.seal(_pack(5, stream=EARLIER)))
    assert refusals() == ["revoked_key"]


def test_revocation_of_all_keys_leaves_those_that_ended_before(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(5, change=NEW)), NEW.seal(_pack(9)))
    assert _revoke(engine, from_seq=8, kid=None) == [NEW.kid.hex()]
    come(OLD.seal(_pack(6)), NEW.seal(_pack(8)))
    assert refusals() == ["superseded_key", "revoked_key"]
    assert come(OLD.seal(_pack(4)), NEW.seal(_pack(7))).accepted == 2


def test_revocation_widens_no_end(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(4, stream=EARLIER)))
    come(OLD.seal(_pack(5, change=NEW)))
    come(NEW.seal(_pack(9, stream=EARLIER)), NEW.seal(_pack(6)))
    with pytest.raises(RegistryError, match="no later than"):
        _revoke(engine, from_seq=7, stream=OLD.stream)
    assert OLD.kid.hex() in _revoke(engine, from_seq=3, stream=EARLIER, kid=None)
    come(OLD.seal(_pack(3, stream=EARLIER)), OLD.seal(_pack(6)))
    assert refusals() == ["revoked_key"] * 2
    assert come(OLD.seal(_pack(2, stream=EARLIER)), OLD.seal(_pack(4))).accepted == 2


def test_revocation_by_number_needs_one_newest_stream(come: Come, engine: Engine, refusals):
    come(OLD.seal(_pack(1, predecessor=StreamHead(EARLIER, 9, bytes(32)))), OLD.seal(_pack(2)))
    come(OLD.seal(_pack(8, stream=EARLIER)))  # received last, and older
    _revoke(engine, from_seq=5)
    assert come(OLD.seal(_pack(4))).accepted == 1
    come(OLD.seal(_pack(5)))
    assert refusals() == ["revoked_key"]


def test_revocation_by_number_asks_which_stream(come: Come, engine: Engine):
    come(OLD.seal(_pack(1)), OLD.seal(_pack(4, stream=LATER)))
    with pytest.raises(RegistryError, match=rf"--stream: .*{LATER.hex()} \(through 4\)"):
        _revoke(engine, from_seq=3)
    with pytest.raises(RegistryError, match=f"nothing is stored of stream {EARLIER.hex()}"):
        _revoke(engine, from_seq=3, stream=EARLIER)
    assert _revoke(engine, from_seq=3, stream=LATER) == [OLD.kid.hex()]


def test_revocation_is_on_record_with_its_reason_and_is_a_leaf(come: Come, engine: Engine):
    come(OLD.seal(_pack(1)))
    _revoke(engine, from_seq=7)
    with reading(engine) as conn:
        row = conn.execute(select(tables.revocation)).one()
        leaf = log.read_leaf(conn, row.leaf_index)
    assert (row.kind, row.subject, row.from_seq, row.reason) == ("key", OLD.kid.hex(), 7, "stolen")
    assert leaf is not None
    assert (leaf.kind, leaf.ref) == ("key", OLD.name)


@pytest.mark.parametrize(
    ("kid", "from_seq", "words"), [(b"unknown!", None, "has no key"), (OLD.kid, 3, "nothing ever came")]
)
def test_impossible_revocation_changes_nothing(come: Come, engine: Engine, kid: bytes, from_seq: int, words: str):
    with pytest.raises(RegistryError, match=words):
        _revoke(engine, kid=kid, from_seq=from_seq)
    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(tables.revocation)) == 0
