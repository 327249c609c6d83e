from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edge.uplink.lanes import LIVE_RESERVE, Pace, Window, history_wait_s
from wire.receipt import Receipt

STREAM = bytes(16)


def window(size: int = 10) -> Window:
    """A window over a connection where the cloud has been heard."""
    made = Window(size, 30.0, random.Random(3))
    made.heard(0.0)
    return made


def filled(lanes: Window) -> list[int]:
    """The seqs that backfill puts on their way now."""
    first = max((seq for _, seq in lanes.names), default=0) + 1
    seqs = list(range(first, first + lanes.backfill_room))
    for seq in seqs:
        lanes.launch((STREAM, seq), 0.0)
    return seqs


def test_a_pack_is_due_again_after_30_s_then_ever_later_up_to_eight_times() -> None:
    lanes = window()
    now_s, waits = 0.0, []
    for _ in range(6):
        lanes.launch((STREAM, 1), now_s)
        assert lanes.next_due_s is not None
        waits.append(lanes.next_due_s - now_s)
        now_s = lanes.next_due_s
        assert lanes.due(now_s) == [(STREAM, 1)]
        assert lanes.due(now_s - 0.1) == []
    for wait_s, factor in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert 30 * factor <= wait_s <= 33 * factor


def test_a_new_connection_sends_anew_and_starts_the_back_off_anew() -> None:
    lanes = window()
    for _ in range(4):
        lanes.launch((STREAM, 1), 0.0)
    assert lanes.reconnect() == [(STREAM, 1)]
    assert lanes.names == frozenset()
    lanes.heard(5.0)
    lanes.launch((STREAM, 1), 5.0)
    assert lanes.next_due_s is not None
    assert lanes.next_due_s <= 5 + 33


def test_in_doubt_the_newest_pack_probes_and_history_waits() -> None:
    lanes = window(40)
    lanes.reconnect()
    for seq in (9, 8, 7, 6, 5):
        lanes.launch((STREAM, seq), 0.0)
        lanes.nobody((STREAM, seq), 0.0)
    assert (lanes.in_doubt, lanes.backfill_room) == (True, 0)
    assert lanes.due(1.2) == [(STREAM, 9)]
    lanes.launch((STREAM, 10), 1.2)  # sealed meanwhile: the probe from now on
    assert lanes.due(1e6) == [(STREAM, 10)]
    assert lanes.heard(2.0) == [(STREAM, 5)], "history: backfill brings it"
    assert sorted(lanes.due(2.0)) == [(STREAM, seq) for seq in (6, 7, 8, 9)]
    assert lanes.names == {(STREAM, seq) for seq in (6, 7, 8, 9, 10)}


def test_packs_that_the_broker_gave_to_somebody_are_not_sent_twice_when_the_doubt_ends() -> None:
    lanes = window(40)
    lanes.reconnect()
    for seq in (9, 8, 7, 6):
        lanes.launch((STREAM, seq), 0.0)
    assert lanes.heard(0.3) == []
    assert lanes.due(0.9) == []
    assert len(lanes.due(40.0)) == 4, "and none is forgotten"


def test_a_pack_given_to_nobody_is_tried_again_soon_and_then_ever_later() -> None:
    lanes = window()
    lanes.reconnect()
    now_s, waits = 0.0, []
    for _ in range(20):
        lanes.launch((STREAM, 1), now_s)
        lanes.nobody((STREAM, 1), now_s)
        assert lanes.next_due_s is not None
        waits.append(lanes.next_due_s - now_s)
        now_s = lanes.next_due_s
    assert all(0.2 <= wait_s <= 0.22 for wait_s in waits[:5]), "the cloud comes back within a second of us"
    assert 30 <= waits[-1] <= 33, "and if not, the data plan of the site is not burnt"


def test_nobody_there_puts_a_good_connection_in_doubt_until_the_cloud_is_heard() -> None:
    lanes = window()
    for seq in (1, 2):
        lanes.launch((STREAM, seq), 0.0)
        lanes.nobody((STREAM, seq), 0.1)
    assert (lanes.in_doubt, lanes.due(0.4)) == (True, [(STREAM, 2)])
    lanes.heard(1.0)
    assert sorted(lanes.due(1.0)) == [(STREAM, 1), (STREAM, 2)]


def test_backfill_doubles_with_receipts_halves_with_losses_and_leaves_room_for_live_packs() -> None:
    lanes = window(40)
    grown = []
    for _ in range(7):
        seqs = filled(lanes)
        grown.append(len(seqs))
        lanes.land(Receipt("gw-1", STREAM, seqs[-1], [], [], 1))
    assert grown == [2, 4, 8, 16, 32, 34, 34]
    filled(lanes)
    assert lanes.live_room == LIVE_RESERVE
    for name in lanes.due(40.0):
        lanes.launch(name, 40.0)
    lanes.land(Receipt("gw-1", STREAM, max(seq for _, seq in lanes.names) - 1, [], [], 1))
    assert len(lanes.names) == 1
    lanes.limit(0)
    assert lanes.live_room == 0


def test_receipts_land_what_they_settle_or_refuse_of_their_stream_only() -> None:
    lanes = window()
    for stream, seq in ((STREAM, 1), (STREAM, 2), (STREAM, 5), (STREAM, 9), (b"\x01" * 16, 1)):
        lanes.launch((stream, seq), 0.0)
    lanes.land(Receipt("gw-1", STREAM, 1, [(5, 6)], [(9, bytes(32), "late")], 1))
    assert lanes.names == {(STREAM, 2), (b"\x01" * 16, 1)}


def test_a_puback_ends_only_what_was_asked_for_again() -> None:
    lanes = window()
    lanes.launch((STREAM, 1), 0.0)
    lanes.launch((STREAM, 2), 0.0, until_puback=True)
    lanes.launch((STREAM, 2), 1.0)  # sent again after a reconnect: still the same way
    for seq in (1, 2, 3):
        lanes.puback((STREAM, seq))
    assert lanes.names == {(STREAM, 1)}


def test_history_starts_at_a_moment_of_its_own_and_soon_after_a_short_outage() -> None:
    starts = sorted(history_wait_s(3600, random.Random(seed)) for seed in range(1000))
    assert starts[0] < 1
    assert 29 < starts[-1] <= 30
    assert 10 < starts[500] < 20
    assert max(history_wait_s(20, random.Random(seed)) for seed in range(1000)) <= 2


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 800)), max_size=60))
def test_the_pace_never_exceeds_its_rate_by_more_than_a_second_and_a_pack(asked: list[tuple[float, int]]) -> None:
    pace, now_s, spent = Pace(500), 0.0, 0
    for step_s, readings in asked:
        now_s += step_s
        if pace.wait_s(now_s) == 0:
            pace.spend(readings)
            spent += readings
        assert spent <= 500 * (now_s + 1) + 800
    wait_s = pace.wait_s(now_s)
    assert pace.wait_s(now_s + wait_s) == 0
