"""What has come and is not stored yet: first in, first out, bounded by number and by bytes.

One thread puts, another takes whole groups. Whoever puts waits while there is no room: that is what stops the reading
from the socket, so that the broker holds the rest and nothing grows here, whatever arrives.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """Something with bytes."""

    @property
    def payload(self) -> bytes:
        """What counts against the bound."""


T = TypeVar("T", bound=Item)


class Inbox(Generic[T]):
    """A queue between two threads. There is room for at least one item, however large it is."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._items: deque[T] = deque()
        self._size_bytes = 0
        self._goal, self._goal_bytes = 1, 1  # what whoever takes waits for: waking him for less costs more than storing
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._items)

    def put(self, item: T, *, timeout_s: float) -> bool:
        """Put an item in; False when there was no room for so long."""
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeout_s):
                return False
            self._items.append(item)
            self._size_bytes += len(item.payload)
            if self._is_worth_waking():
                self._changed.notify_all()
            return True

    def take(self, *, most: int, most_bytes: int, window_s: float, patience_s: float) -> list[T]:
        """The oldest items, `most` or `most_bytes` and the one that passes them: waits `patience_s` for the first one
        and `window_s` for its company, but not when there is no room for more."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), patience_s):
                return []
            self._goal, self._goal_bytes = most, most_bytes
            ends_s = time.monotonic() + window_s
            while len(self._items) < most and self._size_bytes < most_bytes and self._has_room():
                left_s = ends_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            group: list[T] = []
            size_bytes = 0
            while self._items and len(group) < most and size_bytes < most_bytes:
                group.append(self._items.popleft())
                size_bytes += len(group[-1].payload)
            self._size_bytes -= size_bytes
            self._goal, self._goal_bytes = 1, 1
            self._changed.notify_all()
            return group

    def _is_worth_waking(self) -> bool:
        return len(self._items) >= self._goal or self._size_bytes >= self._goal_bytes or not self._has_room()

    def _has_room(self) -> bool:
        return not self._items or (len(self._items) < self._most and self._size_bytes < self._most_bytes)
