"""How a device is: its state, its counts and its last error, as its supervisor has seen them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from edge.buffer.base import BufferFailure
from edge.clock import Clock
from edge.drivers.base import DriverError
from wire.observation import Observation

ERROR_CHARS = 300  # of the last error, as shown
RECENT = 100  # exchanges that the error rate looks back on


class State(StrEnum):
    """How a device is. `silent` counts more than `down`: for the record it matters that nothing comes."""

    UP = "up"
    SILENT = "silent"
    DOWN = "down"


class DeviceState(msgspec.Struct, frozen=True):
    """One device at one moment; instants are the gateway's UTC milliseconds.

    polls: exchanges begun. skipped: slots that passed in a stall. silences: how often it went silent.
    probing: it failed so often in a row that it is only probed now and then.
    error_rate: part of the last 100 exchanges that gave nothing; None before the first.
    """

    name: str
    state: str
    since_ms: int
    last_seen_ms: int | None
    last_error: str
    last_error_ms: int | None
    polls: int
    observations: int
    bad_replies: int
    failures: int
    skipped: int
    silences: int
    probing: bool = False
    error_rate: float | None = None


class DeviceRecord:
    """Counts and judges; logs changes, not repetitions."""

    def __init__(self, name: str, clock: Clock, log: logging.Logger) -> None:
        now = clock.stamp()
        self.name = name
        self.polls = self.skipped = 0
        self.failures_in_a_row = 0
        self.seen_at_ms = now.monotonic_ms  #: monotonic time of the last observation, of the start before that
        self._clock = clock
        self._log = log
        self._reachable = self._silent = False
        self._since_ms = now.observed_at_ms
        self._last_seen_ms: int | None = None
        self._last_error = ""
        self._last_error_ms: int | None = None
        self._recent: deque[bool] = deque(maxlen=RECENT)  # whether it failed
        self._recent_failures = 0
        self._observations = self._bad_replies = self._failures = self._silences = 0

    @property
    def silent(self) -> bool:
        """Whether a silence has been declared and not ended."""
        return self._silent

    @property
    def word(self) -> State:
        """The state in one word."""
        return State.SILENT if self._silent else State.UP if self._reachable else State.DOWN

    def snapshot(self, *, probing: bool) -> DeviceState:
        """How the device is now."""
        return DeviceState(
            name=self.name,
            state=self.word,
            since_ms=self._since_ms,
            last_seen_ms=self._last_seen_ms,
            last_error=self._last_error,
            last_error_ms=self._last_error_ms,
            polls=self.polls,
            observations=self._observations,
            bad_replies=self._bad_replies,
            failures=self._failures,
            skipped=self.skipped,
            silences=self._silences,
            probing=probing,
            error_rate=self._recent_failures / len(self._recent) if self._recent else None,
        )

    def opened(self) -> None:
        """It can be reached, whether or not it has said anything."""
        self._change(reachable=True, silent=self._silent)

    def seen(self, observations: Sequence[Observation]) -> None:
        """It gave observations."""
        if not observations:
            return
        now = self._clock.stamp()
        self.seen_at_ms, self._last_seen_ms = now.monotonic_ms, now.observed_at_ms
        self._observations += len(observations)
        self._remember(failed=False)
        self.failures_in_a_row = 0
        self._change(reachable=True, silent=False)

    def bad_reply(self, error: Exception) -> None:
        """It is there, but what it said cannot be used."""
        self._bad_replies += 1
        self._remember(failed=True)
        self._note(error)

    def failed(self, error: Exception) -> None:
        """It cannot be reached or used; what is no DriverError is logged with its trace."""
        self._failures += 1
        self._remember(failed=True)
        self.failures_in_a_row += 1
        self._note(error)
        self._change(reachable=False, silent=self._silent)

    def fell_silent(self) -> None:
        """Nothing came for too long."""
        self._silences += 1
        self._change(reachable=self._reachable, silent=True)

    def _remember(self, *, failed: bool) -> None:
        if len(self._recent) == RECENT:
            self._recent_failures -= self._recent[0]
        self._recent.append(failed)
        self._recent_failures += failed

    def _note(self, error: Exception) -> None:
        expected = isinstance(error, DriverError | BufferFailure)
        text = (str(error) if expected else f"unexpected {type(error).__name__}: {error}")[:ERROR_CHARS]
        if text != self._last_error:
            self._log.warning("%s: %s", self.name, text, exc_info=None if expected else error)
        self._last_error, self._last_error_ms = text, self._clock.stamp().observed_at_ms

    def _change(self, *, reachable: bool, silent: bool) -> None:
        before = self.word
        self._reachable, self._silent = reachable, silent
        if self.word != before:
            self._since_ms = self._clock.stamp().observed_at_ms
            self._log.info("%s is %s, was %s", self.name, self.word, before)
