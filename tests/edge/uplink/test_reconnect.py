"""When a broker is tried again: soon when that costs it nothing, ever later when it does, all of it spread out."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from edge.uplink.base import BrokerAbsent, BrokerRefused, BrokerUnavailable, UplinkError
from edge.uplink.reconnect import LONGEST_SPAN_S, SOON_S, STABLE_S, Reconnect

ABSENT, TIMED_OUT, REFUSED = BrokerAbsent("refused"), BrokerUnavailable("timed out"), BrokerRefused("no")


def test_an_absent_broker_is_tried_soon_for_ever() -> None:
    reconnect = Reconnect(random.Random(1))
    waits = [reconnect.wait_s(ABSENT, lasted_s=0) for _ in range(1000)]
    assert SOON_S[0] <= min(waits) < 0.3
    assert 0.7 < max(waits) <= SOON_S[1]


@pytest.mark.parametrize("why", [TIMED_OUT, REFUSED], ids=["time-out", "refusal"])
def test_what_costs_the_broker_something_is_tried_ever_later_with_full_jitter(why: UplinkError) -> None:
    runs = []
    for seed in range(300):
        reconnect = Reconnect(random.Random(seed))
        runs.append([reconnect.wait_s(why, lasted_s=0) for _ in range(9)])
    longest = [max(waits) for waits in zip(*runs, strict=True)]
    assert all(
        0.8 * span_s <= found_s <= span_s for span_s, found_s in zip((1, 2, 4, 8, 16, 32), longest, strict=False)
    )
    assert longest[-1] <= LONGEST_SPAN_S
    assert min(waits[-1] for waits in runs) < LONGEST_SPAN_S / 10, "drawn from the whole span"


def test_a_connection_that_breaks_at_once_is_no_success_and_one_that_lasted_is() -> None:
    reconnect = Reconnect(random.Random(2))
    for _ in range(8):
        reconnect.wait_s(TIMED_OUT, lasted_s=STABLE_S / 2)
    assert max(reconnect.wait_s(TIMED_OUT, lasted_s=1) for _ in range(20)) > 30
    assert reconnect.wait_s(TIMED_OUT, lasted_s=STABLE_S) <= SOON_S[1]
    reconnect.wait_s(TIMED_OUT, lasted_s=0)
    reconnect.served()
    assert reconnect.wait_s(TIMED_OUT, lasted_s=0) <= 1, "a receipt came over it: begin anew"


BACKLOG = 100  # connections that wait for mosquitto to accept them; beyond that the kernel drops the rest
TIMEOUT_S = 5.0  # what was dropped gives up after this


class Province:
    """Gateways that come back to one broker, which does so many handshakes a second, one after the other."""

    def __init__(self, gateways: int, per_s: int, wait_s: Callable[[int, UplinkError], float]) -> None:
        self.tries = 0
        self.connected_at_s: list[float] = []
        free_at_s = 0.0
        due = [(wait_s(at, ABSENT), at) for at in range(gateways)]  # the broker's port opens at 0
        heapq.heapify(due)
        while due:
            now_s, at = heapq.heappop(due)
            self.tries += 1
            if (free_at_s - now_s) * per_s < BACKLOG:
                free_at_s = max(free_at_s, now_s) + 1 / per_s
                self.connected_at_s.append(free_at_s)
            else:
                heapq.heappush(due, (now_s + TIMEOUT_S + wait_s(at, TIMED_OUT), at))

    def account(self, gateways: int) -> str:
        """One line of figures."""
        last_s = max(self.connected_at_s)
        return f"{len(self.connected_at_s)} connected by {last_s:.0f} s, {self.tries / gateways:.1f} tries each"


@pytest.mark.parametrize("per_s", [200, 50, 10])
def test_a_thousand_gateways_come_back_without_trampling_the_broker(per_s: int) -> None:
    waits = [Reconnect(random.Random(seed)) for seed in range(1000)]
    ours = Province(1000, per_s, lambda at, why: waits[at].wait_s(why, lasted_s=0))
    rng = random.Random(9)
    fixed = Province(1000, per_s, lambda _at, _why: rng.uniform(0.2, 1.7))
    print(f"{per_s}/s: with back-off {ours.account(1000)}; without {fixed.account(1000)}")
    ideal_s = 1000 / per_s
    assert max(ours.connected_at_s) <= 1.5 * ideal_s + 15
    assert ours.tries <= 6 * 1000
    if ideal_s > LONGEST_SPAN_S:
        assert ours.tries < 0.75 * fixed.tries, "the longer it takes, the less it is asked"


def test_a_crowd_that_the_broker_can_serve_is_back_within_a_second() -> None:
    waits = [Reconnect(random.Random(seed)) for seed in range(1000)]
    crowd = Province(1000, 2000, lambda at, why: waits[at].wait_s(why, lasted_s=0))
    assert max(crowd.connected_at_s) <= 1.0
