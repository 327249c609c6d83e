"""Work done whenever there is some, beside ingest and pages: one thread each, waiting while it cannot be done.

A chore does one short step per call, each in a transaction of its own: ingest is never kept from the write lock for
long, and a stop costs at most the step in hand.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

import msgspec

from cloud.errors import Retryable
from cloud.health import PartHealth

Step = Callable[[threading.Event], int]  # does what there is to do, until the event is set; how much that was

_log = logging.getLogger(__name__)


class Tells(Protocol):
    """Work that has more to say of itself than whether its last step could be done."""

    @property
    def health(self) -> PartHealth:
        """How it is."""

    @property
    def counters(self) -> msgspec.Struct:
        """Numbers, by name."""


class Chore:
    """A step that is repeated until the stop; after one that found nothing to do it rests `rest_s`."""

    def __init__(self, name: str, step: Step, *, rest_s: float, tells: Tells | None = None) -> None:
        self.name = name
        self._tells = tells
        self.step = step
        self._rest_s = rest_s
        self._state = "ok"

    @property
    def health(self) -> PartHealth:
        """Whether the last step could be done, or why not; when it could, what the work says of itself."""
        if self._tells is not None and self._state == "ok":
            return self._tells.health
        return PartHealth(self._state == "ok", self._state)

    @property
    def counters(self) -> dict[str, int]:
        """What the work counts, by its name and theirs; nothing for most."""
        told = {} if self._tells is None else msgspec.structs.asdict(self._tells.counters)
        return {f"{self.name}_{name}": value for name, value in told.items()}

    def run(self, stop: threading.Event) -> None:
        """Work until the stop. Raises whatever the step raises, but for what may pass by itself."""
        while not stop.is_set():
            try:
                worked = self.step(stop)
                self._state = "ok"
            except Retryable as error:
                if self._state == "ok":
                    _log.warning("%s waits: %s", self.name, error)
                self._state = str(error)
                worked = 0
            if not worked:
                stop.wait(self._rest_s)
