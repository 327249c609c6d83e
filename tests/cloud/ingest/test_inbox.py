"""What waits for ingest is bounded, and keeps its order."""

from __future__ import annotations

import threading
from typing import NamedTuple

from cloud.ingest.inbox import Inbox


class Letter(NamedTuple):
    number: int
    payload: bytes


def test_groups_keep_the_order_and_their_bounds() -> None:
    inbox: Inbox[Letter] = Inbox(most=10, most_bytes=1_000)
    for number in range(6):
        assert inbox.put(Letter(number, b"x" * 40), timeout_s=0)
    assert [one.number for one in _take(inbox, most=4)] == [0, 1, 2, 3]
    assert [one.number for one in _take(inbox, most=4)] == [4, 5]
    for number in range(6):
        inbox.put(Letter(number, b"x" * 40), timeout_s=0)
    assert [one.number for one in _take(inbox, most=6, most_bytes=81)] == [0, 1, 2]


def test_who_puts_waits_for_room_by_number_and_by_bytes() -> None:
    inbox: Inbox[Letter] = Inbox(most=3, most_bytes=100)
    assert all(inbox.put(Letter(number, b"x"), timeout_s=0) for number in range(3))
    assert not inbox.put(Letter(3, b""), timeout_s=0)
    _take(inbox, most=3)
    assert inbox.put(Letter(4, b"x" * 5_000), timeout_s=0), "one item has room, however large"
    assert not inbox.put(Letter(5, b""), timeout_s=0)
    late = threading.Thread(target=inbox.put, args=(Letter(5, b""),), kwargs={"timeout_s": 10})
    late.start()
    assert [one.number for one in _take(inbox, most=1)] == [4]
    late.join()
    assert [one.number for one in _take(inbox, most=1)] == [5]


def test_a_full_inbox_waits_for_no_company() -> None:
    inbox: Inbox[Letter] = Inbox(most=2, most_bytes=100)
    inbox.put(Letter(1, b"x"), timeout_s=0)
    inbox.put(Letter(2, b"x"), timeout_s=0)
    done = threading.Event()
    taken: list[Letter] = []

    def take() -> None:
        taken.extend(_take(inbox, most=5, window_s=60))
        done.set()

    threading.Thread(target=take, daemon=True).start()
    assert done.wait(10)
    assert [one.number for one in taken] == [1, 2]


def _take(inbox: Inbox[Letter], *, most: int, most_bytes: int = 1_000_000, window_s: float = 0) -> list[Letter]:
    return inbox.take(most=most, most_bytes=most_bytes, window_s=window_s, patience_s=1)
