"""The fault bench's account: whatever can happen to a value shows, each under its own name."""

from __future__ import annotations

from bench.account import Account, Kept, account
from bench.counting import Made

NAME = "dev-0/r-0"


def given(*values: int, from_s: float = 100.0) -> dict[str, list[Made]]:
    return {NAME: [Made(value, 1_000 * at, from_s + at) for at, value in enumerate(values)]}


def kept(*pairs: tuple[int, int]) -> dict[str, list[Kept]]:
    return {NAME: [Kept(value, at_ms) for value, at_ms in pairs]}


def test_a_whole_record_is_sound() -> None:
    found = account(given(7, 8, 9), kept((7, 0), (8, 1_000), (9, 2_000)))
    assert found == Account(produced=3, stored=3)
    assert found.sound


def test_a_missing_value_is_lost() -> None:
    found = account(given(7, 8, 9), kept((7, 0), (9, 2_000)))
    assert (found.lost, found.sound) == (1, False)


def test_a_missing_value_in_the_window_of_a_kill_is_unaccepted() -> None:
    found = account(given(7, 8, 9), kept((7, 0), (9, 2_000)), windows=[(100.9, 101.1)])
    assert (found.lost, found.unaccepted, found.sound) == (0, 1, True)


def test_a_missing_value_of_which_a_signed_loss_speaks_is_declared() -> None:
    found = account(given(7, 8, 9), kept((9, 2_000)), windows=[(99.9, 100.1)], declared=[(0.0, 101.1)])
    assert (found.lost, found.unaccepted, found.declared) == (0, 1, 1)


def test_a_second_copy_is_doubled() -> None:
    found = account(given(7, 8), kept((7, 0), (8, 1_000), (8, 1_000)))
    assert (found.doubled, found.lost, found.sound) == (1, 0, False)


def test_a_value_under_a_wrong_name_is_foreign_there_and_lost_where_it_belongs() -> None:
    made = {**given(7), "dev-0/r-1": [Made(70, 0, 100.0)]}
    swapped = {NAME: [Kept(70, 0)], "dev-0/r-1": [Kept(7, 0)]}
    found = account(made, swapped)
    assert (found.foreign, found.lost, found.sound) == (2, 2, False)


def test_a_swap_in_time_is_out_of_order() -> None:
    found = account(given(7, 8), kept((8, 500), (7, 600)))
    assert (found.out_of_order, found.mistimed, found.sound) == (1, 0, False)


def test_a_wrong_time_is_mistimed_and_the_worst_error_is_told() -> None:
    found = account(given(7, 8), kept((7, 0), (8, 3_500)))
    assert (found.mistimed, found.worst_ms, found.sound) == (1, 2_500, False)
