"""The stage of one row: 20 counting devices, a broker, a line that harms, and the system under test.

    devices ←poll─ gateway ─→ line ─→ broker ─→ what stores

The broker's end of the storing side is never harmed by the line: the fault is the gateway's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from bench.account import Account, Window, account
from bench.broker import Mosquitto, Shipped
from bench.counting import GATEWAY, Channel, Made
from bench.faults.peer import PeerHouse
from bench.faults.row import OURS, Bench, Result
from bench.field import Field
from bench.fsck import complaints
from bench.house import COMMIT_WINDOW_MS, House, Tables
from bench.line import Line
from bench.system import Place, System
from cloud.db.engine import reading
from coldproof.demo.stage import StageError
from edge.health import StatusError, read_health
from wire.simtime import Segment, SimTime, WallClock, write

INTERVAL_S = 1.0
STEADY_S = 5.0  # of undisturbed work before the fault, and after it
LOOK_S = 0.5
RESUME_LOOK_S = 60.0
QUICK_DRAIN_S = 120.0
WAIT_S = 120.0
DRAIN_S = 240.0  # a pack without receipt is sent again after 30 s, then 60 s; the peer is given as long
REPLY_S = 0.25  # an answer on the wire and its way to the commit window, on a busy machine


class Trial:
    """`with Trial(bench) as trial:` has everything running and readings arriving."""

    def __init__(
        self, bench: Bench, *, extra: Tables | None = None, interval_s: float = INTERVAL_S, pace: float | None = None
    ) -> None:
        """pace: of simulated time, for rows whose gateway believes in a wrong one; None: the machine's time."""
        self._bench = bench
        self._extra = extra
        self._interval_s = interval_s
        self._course = None if pace is None else _Course(bench.folder / "time.json", pace)
        self.folder: Path = bench.folder
        self.windows: list[Window] = []  #: in which what was given may be unaccepted
        self.declarable: list[Window] = []  #: in which what is missing must have been declared
        self._held = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            time_file = None if self._course is None else self._course.path
            self.field = self._held.enter_context(Field(self.folder / "field", time_file=time_file))
            home = self.folder / "house"
            self.broker = Shipped(self.folder, home / "cloud") if self._is_ours else Mosquitto(self.folder)
            self.broker.start()
            self._held.callback(self.broker.stop)
            self.line = self._held.enter_context(Line(self.broker.port))
            place = Place(
                home,
                self.field.devices,
                broker_port=self.broker.port,
                uplink_port=self.line.port,
                cloud_tables=self.broker.cloud_tables if isinstance(self.broker, Shipped) else "",
                interval_s=self._interval_s,
                time_file=time_file,
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
    def _is_ours(self) -> bool:
        return self._bench.system == OURS

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

    def broker_away(self, *, kill: bool = False) -> None:
        """Stop or kill the broker; its port is closed then, for who goes through the line as well."""
        (self.broker.kill if kill else self.broker.stop)()
        self.line.refuse()

    def broker_back(self) -> int:
        """Start the broker again; the wall time (ms) from when on it takes connections."""
        self.broker.start()
        self.line.admit()
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

    def now_ms(self) -> int:
        """True time, which may be simulated."""
        return time.time_ns() // 1_000_000 if self._course is None else self._course.now_ms()

    def believe(self, clock: WallClock) -> None:
        """From `clock.from_ms` on, the gateway's wall clock is like this."""
        assert self._course is not None, "a row whose gateway has a wrong clock runs in simulated time: give a pace"
        self._course.believe(clock)

    def wait_until_polled(self) -> float:
        """Wait until a device was asked again; when that was (host monotonic time)."""
        since_s = time.monotonic()
        self._wait("a device to be polled", lambda: self.field.last_s() > since_s)
        return self.field.last_s()

    def wait_until_stored(self) -> None:
        """Wait until all that was given so far is stored."""
        count = self.field.count()
        self._wait("everything to be stored", lambda: self.system.count() >= count)

    def wait_until_receipted(self, data: Path | None = None) -> None:
        """Wait until a gateway of ours says that nothing waits for a receipt; `data`: its data folder."""
        folder, since_ms = data or self.house.data, time.time_ns() // 1_000_000

        def receipted() -> bool:
            try:
                health = read_health(folder)
            except StatusError:
                return False
            return health.written_at_ms > since_ms and health.uplink.connected and not health.buffer.unsent_packs

        self._wait("every receipt", receipted)

    def end(self, *, resume_s: float | None = None, recording_since_s: float | None = None, **details: Any) -> Result:
        """Stop the devices, wait until everything is stored, and close the account; of ours fsck has to be clean.

        recording_since_s: when the fault was over; resume_s is then from there to the first value that was recorded.
        """
        self.run_for(STEADY_S)
        self.field.stop()
        self.say("devices stopped; draining")
        found = self._drained()
        if recording_since_s is not None:
            resume_s = self._records_again_s(recording_since_s)
        return self._bench.result(found, resume_s=resume_s, why="; ".join(self._diverging()), **details)

    def also(self, result: Result, *, why: str = "", **details: Any) -> Result:
        """The result with what only this row can tell; why: what else is wrong."""
        told = {**result.details, **details}
        if why:
            told["why"] = "; ".join(filter(None, (told.get("why"), why)))
        return msgspec.structs.replace(result, passed=result.passed and not why, details=told)

    def _drained(self) -> Account:
        """The account once nothing is missing any more and nothing comes any more, or when time is up."""
        given = self.field.made()
        deadline = time.monotonic() + self._bench.pick(DRAIN_S, QUICK_DRAIN_S)
        before = -1
        while True:
            self.system.check()
            have = self.system.count()
            if time.monotonic() > deadline or (have == before and not self._balance(given).lost):
                break
            before = have
            time.sleep(2.0)
        return self._balance(given)

    def _records_again_s(self, since_s: float) -> float:
        stored = {(name, one.value) for name, values in self.system.stored().items() for one in values}
        times = [
            one.host_s - since_s
            for name, values in self.field.made().items()
            for one in values
            if one.host_s > since_s and (name, one.value) in stored
        ]
        return round(min(times, default=RESUME_LOOK_S), 2)

    def _wait(self, what: str, claim: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not claim():
            self.system.check()
            if time.monotonic() > deadline:
                raise StageError(f"waited {WAIT_S:.0f} s for {what}, in vain")
            time.sleep(0.1)

    def _balance(self, given: dict[Channel, list[Made]]) -> Account:
        declared = self.declarable if self._has_declared() else []
        return account(given, self.system.stored(), self.windows, declared)

    def _diverging(self) -> list[str]:
        """What fsck says of the record of ours; the peer has nothing to check."""
        if not isinstance(self.system, House):
            return []
        with reading(self.system.engine) as conn:
            return complaints(conn)

    def _has_declared(self) -> bool:
        """Whether a signed loss stands in the record of ours; the peer declares nothing."""
        return isinstance(self.system, House) and bool(self.system.losses())

    def _make(self, place: Place) -> System:
        if self._is_ours:
            return House(place, extra=self._extra)
        return PeerHouse(place)


class _Course:
    """Simulated time at one pace, and what the gateway believes of it."""

    def __init__(self, path: Path, pace: float) -> None:
        self.path = path
        self._segments = [Segment(time.monotonic(), float(time.time_ns() // 1_000_000), pace)]
        self._clocks: list[WallClock] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def now_ms(self) -> int:
        return int(self._segments[0].at(time.monotonic()))

    def believe(self, clock: WallClock) -> None:
        self._clocks.append(clock)
        self._write()

    def _write(self) -> None:
        write(self.path, SimTime(self._segments, {GATEWAY: self._clocks}))
