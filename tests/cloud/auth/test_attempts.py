"""Guessing passwords: it stops after a few, for a while, and only where the guessing happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cloud.auth import attempts
from cloud.auth.attempts import MOST_WRONG, MOST_WRONG_PER_ADDRESS, WINDOW_S, Attempts


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_guessing_stops_after_a_few_and_goes_on_after_the_window() -> None:
    clock = Clock()
    tries = Attempts(clock)
    for _ in range(MOST_WRONG):
        assert tries.reserve("an", "10.0.0.1") == 0
    assert tries.reserve("an", "10.0.0.1") == WINDOW_S
    clock.now += WINDOW_S - 1
    assert tries.reserve("an", "10.0.0.1") == 1
    clock.now += 1
    assert tries.reserve("an", "10.0.0.1") == 0


def test_a_guesser_elsewhere_locks_nobody_out() -> None:
    tries = Attempts(Clock())
    for _ in range(20):
        tries.reserve("an", "10.0.0.66")
    assert tries.reserve("an", "10.0.0.1") == 0


def test_one_address_cannot_spray_many_logins() -> None:
    tries = Attempts(Clock())
    made = [tries.reserve(f"login{at}", "10.0.0.66") for at in range(MOST_WRONG_PER_ADDRESS + 10)]
    assert made.count(0) == MOST_WRONG_PER_ADDRESS
    assert tries.reserve("an", "10.0.0.1") == 0


def test_success_forgets_the_failures() -> None:
    tries = Attempts(Clock())
    for _ in range(10):
        for _ in range(MOST_WRONG - 1):
            assert tries.reserve("an", "10.0.0.1") == 0
        tries.succeeded("an", "10.0.0.1")


def test_people_who_sign_in_do_not_use_up_their_office() -> None:
    tries = Attempts(Clock())
    for at in range(MOST_WRONG_PER_ADDRESS * 3):
        assert tries.reserve(f"login{at}", "10.0.0.1") == 0
        tries.succeeded(f"login{at}", "10.0.0.1")


def test_parallel_guesses_get_no_more_tries_than_serial_ones() -> None:
    tries = Attempts(Clock())
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: tries.reserve("an", "10.0.0.66"), range(200)))
    assert made.count(0) == MOST_WRONG


def test_memory_is_bounded() -> None:
    clock = Clock()
    tries = Attempts(clock)
    for at in range(attempts.MOST_KEPT + 500):
        tries.reserve("an", f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}")
    assert len(tries._failures) <= attempts.MOST_KEPT
