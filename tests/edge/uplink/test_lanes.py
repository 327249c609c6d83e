from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edge.uplink.lanes import LIVE_RESERVE, Pace, Window
from wire.receipt import Receipt

STREAM = bytes(16)


def window(size: int = 10) -> Window:
    return Window(size, 30.0, random.Random(3))


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


def test_a_new_connection_makes_everything_due_and_starts_the_back_off_anew() -> None:
    lanes = window()
    for _ in range(4):
        lanes.launch((STREAM, 1), 0.0)
    lanes.make_all_due(5.0)
    assert lanes.due(5.0) == [(STREAM, 1)]
    lanes.launch((STREAM, 1), 5.0)
    assert lanes.next_due_s is not None
    assert lanes.next_due_s <= 5 + 33


def test_backfill_leaves_room_for_live_packs() -> None:
    lanes = window(10)
    seq = 0
    while lanes.backfill_room:
        seq += 1
        lanes.launch((STREAM, seq), 0.0)
    assert lanes.live_room == LIVE_RESERVE
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
