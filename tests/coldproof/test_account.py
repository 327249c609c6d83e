"""The demonstration's balance finds every lost, doubled and swapped value."""

from __future__ import annotations

import random

import pytest

from coldproof.demo.account import Account, Entry, balance


def _produced(count: int, *, seed: int = 1) -> list[Entry]:
    rng = random.Random(seed)
    return [Entry(str(rng.choice([-180, -181, -182])), at * 300_000, float(at)) for at in range(count)]


def _stored(produced: list[Entry], *, delay_ms: int = 40_000) -> list[Entry]:
    return [Entry(entry.value, entry.at_ms + delay_ms) for entry in produced]


def test_all_there_balances() -> None:
    produced = _produced(400)
    assert balance(produced, _stored(produced)) == Account(produced=400, stored=400)


@pytest.mark.parametrize("at", [0, 1, 57, 198, 199])
def test_one_missing_value_is_lost_wherever_it_was(at: int) -> None:
    produced = _produced(200)
    stored = _stored(produced[:at] + produced[at + 1 :])
    assert balance(produced, stored) == Account(produced=200, stored=199, lost=1)


def test_a_value_missing_inside_the_window_is_unaccepted_and_outside_it_is_lost() -> None:
    produced = _produced(100)
    stored = _stored(produced[:50] + produced[52:])
    assert balance(produced, stored, [(49.5, 50.5)]) == Account(produced=100, stored=98, unaccepted=1, lost=1)


@pytest.mark.parametrize("at", [0, 99])
def test_a_value_stored_twice_is_duplicated(at: int) -> None:
    produced = _produced(100)
    stored = _stored(produced)
    stored.insert(at, stored[at])
    assert balance(produced, stored) == Account(produced=100, stored=101, duplicated=1)


def test_two_swapped_values_do_not_balance() -> None:
    produced = [Entry(str(at), at * 1000, float(at)) for at in range(50)]
    stored = _stored(produced, delay_ms=10)
    stored[20], stored[21] = stored[21], stored[20]
    account = balance(produced, stored)
    assert (account.lost, account.duplicated) == (1, 1)


def test_a_foreign_value_counts_as_duplicated() -> None:
    produced = _produced(10)
    assert balance(produced, [*_stored(produced), Entry("999", 1)]).duplicated == 1
