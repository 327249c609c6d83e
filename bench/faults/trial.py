"""The stage of one row: 20 counting devices, a broker, a line that harms, and the system under test.

    devices ←poll─ gateway ─→ line ─→ broker ─→ what stores

The broker's end of the storing side is never harmed by the line: the fault is the gateway's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.account import Account, Window, account
from bench.broker import Mosquitto
from bench.devices import Channel, Made
from bench.faults.peer import PeerHouse
from bench.faults.row import OURS, Bench, Result
from bench.field import Field
from bench.house import COMMIT_WINDOW_MS, House, Tables
from bench.line import Line
from bench.system import Place, System

INTERVAL_S = 1.0
STEADY_S = 5.0  # of undisturbed work before the fault, and after it
LOOK_S = 0.5
RESUME_LOOK_S = 60.0
DRAIN_S = 90.0  # a pack without receipt is sent again after 30 s, then 60 s
REPLY_S = 0.25  # an answer on the wire and its way to the commit window, on a busy machine


class Trial:
    """`with Trial(bench) as trial:` has everything running and readings arriving."""

    def __init__(self, bench: Bench, *, extra: Tables | None = None, interval_s: float = INTERVAL_S) -> None:
        self._bench = bench
        self._extra = extra
        self._interval_s = interval_s
        self.folder: Path = bench.folder
        self.windows: list[Window] = []
        self._held = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.field = self._held.enter_context(Field(self.folder / "field"))
            self.broker = Mosquitto(self.folder)
            self.broker.start()
            self._held.callback(self.broker.stop)
            self.line = self._held.enter_context(Line(self.broker.port))
            place = Place(
                self.folder / "house",
                self.field.ports,
                broker_port=self.broker.port,
                uplink_port=self.line.port,
                interval_s=self._interval_s,
            )
            self.system: System = self._make(place)
            self._held.callback(self.system.close)
            self.system.start()
            self.run_for(STEADY_S)
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def house(self) -> House:
        """Our own house; for rows that are not tried on the peer."""
        assert isinstance(self.system, House)
        return self.system

    def say(self, text: str) -> None:
        """Tell what is happening."""
        self._bench.say(text)

    def run_for(self, seconds: float) -> None:
        """Let it go on like this for a while."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            self.system.check()
            time.sleep(min(LOOK_S, left_s))

    def kill_gateway(self) -> None:
        """SIGKILL; what was given within a commit window before may be unaccepted."""
        last_s = self.field.last_s()
        killed_s = self.system.kill_gateway()
        window_s = COMMIT_WINDOW_MS / 1000 + REPLY_S
        self.windows.append((min(last_s, killed_s) - window_s, killed_s))

    @contextmanager
    def storing_asleep(self) -> Iterator[None]:
        """Inside, what stores does nothing at all: the broker takes, acknowledges, and queues."""
        pid = self.system.storing_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def empty_broker(self) -> None:
        """Take away whatever a stopped broker kept on the disk."""
        self.broker.forget()

    def broker_back(self) -> int:
        """Start the broker again; the wall time (ms) from when on it takes connections."""
        self.broker.start()
        return time.time_ns() // 1_000_000

    def resume_s(self, since_ms: int) -> float:
        """How long after `since_ms` the first readings were stored; a large number when none came."""
        deadline = time.monotonic() + RESUME_LOOK_S
        while (first_ms := self.system.first_arrival_ms(since_ms)) is None:
            self.system.check()
            if time.monotonic() > deadline:
                return RESUME_LOOK_S
            time.sleep(0.1)
        return round((first_ms - since_ms) / 1000, 2)

    def end(self, *, resume_s: float | None = None, **details: Any) -> Result:
        """Stop the devices, wait until everything is stored, and close the account."""
        self.run_for(STEADY_S)
        self.field.stop()
        self.say("devices stopped; draining")
        return self._bench.result(self.drained(), resume_s=resume_s, **details)

    def drained(self, *, within_s: float = DRAIN_S) -> Account:
        """The account once nothing is missing any more and nothing comes any more, or when time is up."""
        given = self.field.made()
        expected = sum(map(len, given.values()))
        deadline = time.monotonic() + within_s
        before = -1
        while True:
            self.system.check()
            have = self.system.count()
            if (have >= expected and have == before) or time.monotonic() > deadline:
                break
            if have == before and not self._balance(given).lost:
                break
            before = have
            time.sleep(2.0)
        return self._balance(given)

    def _balance(self, given: dict[Channel, list[Made]]) -> Account:
        return account(given, self.system.stored(), self.windows)

    def _make(self, place: Place) -> System:
        if self._bench.system == OURS:
            return House(place, extra=self._extra)
        return PeerHouse(place)
