"""The supervisor with fake drivers on a stepped clock: pace, patience, silence, and that nothing brings it down."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from types import TracebackType
from typing import Self

import pytest
from msgspec.structs import replace

from edge.buffer.base import BufferFull, BufferUnusable
from edge.clock import SteppedClock
from edge.drivers.base import BadReply, DeviceBusy, DeviceUnavailable, Driver, DriverMisconfigured, Emit
from edge.patience import Patience, patience_for
from edge.supervisor import Supervisor
from wire.observation import Observation, Quality, Reading

QUICK = Patience(
    hang_s=0.1, close_s=0.1, first_pause_s=0.01, longest_pause_s=0.04, absent_pause_s=0.02, probe_s=0.2, failures=3
)
START_MS = 1_700_000_000_000
INTERVAL_MS = 60_000


class Fake:
    """What both kinds of fake have; counts how often it was opened and closed."""

    channels: Sequence[tuple[str, str]] = (("room/air", "CEL"), ("room/rh", "P1"))

    def __init__(self, clock: SteppedClock, script: Iterable[object] = ()) -> None:
        self.clock = clock
        self.script = iter(script)
        self.always: object = None
        self.polls: list[int] = []  # when, in monotonic ms
        self.words: asyncio.Queue[object] = asyncio.Queue()
        self.opened = self.closed = 0
        self.opening: BaseException | None = None

    async def __aenter__(self) -> Self:
        self.opened += 1
        if self.opening is not None:
            raise self.opening
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed += 1


class FakeDevice(Fake):
    """A polled driver that does what its script says: an error to raise, or anything else for a good answer."""

    async def poll(self) -> list[Observation]:
        self.polls.append(self.clock.stamp().monotonic_ms)
        step = next(self.script, self.always)
        if isinstance(step, BaseException):
            raise step
        if callable(step):
            await step()
        return [Reading("room/air", "CEL", -200, -1, self.clock.stamp())]


class Listener(Fake):
    """A driver that speaks when the test says so."""

    async def listen(self, emit: Emit) -> None:
        while (word := await self.words.get()) is not None:
            if isinstance(word, BaseException):
                raise word
            await emit([Reading("room/air", "CEL", 1, 0, self.clock.stamp())])


class Bench:
    def __init__(
        self,
        driver: Callable[[SteppedClock], Fake] = FakeDevice,
        interval_s: float | None = 60,
        patience: Patience = QUICK,
    ) -> None:
        self.clock = SteppedClock(START_MS)
        self.driver = driver(self.clock)
        self.recorded: list[Observation] = []
        self.refusal: Exception | None = None
        self.disk_keeps_up = asyncio.Event()
        self.disk_keeps_up.set()
        self.supervisor = Supervisor(
            "room",
            self.driver,  # type: ignore[arg-type]
            interval_s=interval_s,
            put=self.record,
            accept=self.record,
            room=self.disk_keeps_up.wait,
            clock=self.clock,
            rng=random.Random(1),
            log=logging.getLogger("device.room"),
            patience=patience,
        )

    async def record(self, observations: Sequence[Observation]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.recorded += observations

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.supervisor.run())
        await settle()
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def move_to(self, monotonic_ms: int) -> None:
        self.clock.move_to(START_MS + monotonic_ms)
        await settle()

    @property
    def stale(self) -> list[str]:
        readings = [o for o in self.recorded if isinstance(o, Reading) and o.quality is Quality.STALE]
        assert all(reading.mantissa is None for reading in readings)
        return [reading.channel for reading in readings]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until(claim: Callable[[], object], limit_s: float = 3) -> None:
    async with asyncio.timeout(limit_s):
        while not claim():
            await asyncio.sleep(0.005)


async def test_polls_on_a_fixed_schedule() -> None:
    bench = Bench()
    async with bench.running():
        for at_ms in (59_999, 60_000, 61_000, 119_000, 120_500, 180_000):
            await bench.move_to(at_ms)
        assert bench.driver.polls == [0, 60_000, 120_500, 180_000]
        assert bench.supervisor.state.state == "up"
        assert len(bench.recorded) == 4


async def test_stall_is_not_made_up_for_in_a_burst() -> None:
    bench = Bench()
    async with bench.running():
        await bench.move_to(10 * INTERVAL_MS + 7_000)
        assert bench.driver.polls == [0, 607_000]
        assert bench.supervisor.state.skipped == 9
        await bench.move_to(11 * INTERVAL_MS)
        assert bench.driver.polls[-1] == 660_000


async def test_unavailable_device_is_closed_and_opened_again_and_asked_at_once() -> None:
    bench = Bench(lambda clock: FakeDevice(clock, [None, DeviceUnavailable("no answer"), None]))
    async with bench.running():
        await bench.move_to(INTERVAL_MS)
        assert (bench.supervisor.state.state, bench.supervisor.state.last_error) == ("down", "no answer")
        assert bench.driver.closed == 1
        await until(lambda: bench.supervisor.state.state == "up")
        assert bench.driver.polls == [0, 60_000, 60_000]
        await bench.move_to(2 * INTERVAL_MS)
        assert bench.driver.polls[-1] == 120_000
    assert bench.driver.closed == bench.driver.opened == 2


async def test_pauses_grow_with_jitter_and_then_the_breaker_only_probes() -> None:
    bench = Bench()
    bench.driver.always = DeviceUnavailable("dead")
    times: list[float] = []
    loop = asyncio.get_running_loop()
    original = bench.driver.poll

    async def poll() -> list[Observation]:
        times.append(loop.time())
        return await original()

    bench.driver.poll = poll  # type: ignore[method-assign]
    async with bench.running():
        await until(lambda: len(times) >= 5)
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert 0.005 <= pauses[0] <= 0.05
        assert 0.01 <= pauses[1] <= 0.07
        assert all(0.1 <= pause <= 0.3 for pause in pauses[2:])  # probe_s, halved at most
        assert bench.supervisor.state.probing
        bench.driver.always = None
        await until(lambda: bench.supervisor.state.state == "up")
        assert not bench.supervisor.state.probing


async def test_bad_reply_is_counted_and_the_device_stays_open() -> None:
    bench = Bench(lambda clock: FakeDevice(clock, [None, BadReply("checksum"), None]))
    async with bench.running():
        await bench.move_to(INTERVAL_MS)
        await bench.move_to(2 * INTERVAL_MS)
        state = bench.supervisor.state
        assert (state.state, state.bad_replies, state.failures, state.last_error) == ("up", 1, 0, "checksum")
        assert bench.driver.opened == 1
        assert len(bench.recorded) == 2


async def test_busy_device_is_asked_again_within_its_turn() -> None:
    script = [DeviceBusy("busy"), DeviceBusy("busy"), None]
    bench = Bench(lambda clock: FakeDevice(clock, script), patience=replace(QUICK, busy_s=(0.001, 0.001, 0.001)))
    async with bench.running():
        await until(lambda: bench.recorded)
        assert len(bench.driver.polls) == 3
        assert (bench.supervisor.state.state, bench.supervisor.state.bad_replies) == ("up", 0)


async def test_device_that_stays_busy_is_a_bad_reply_and_waits_for_its_next_turn() -> None:
    bench = Bench(FakeDevice, patience=replace(QUICK, busy_s=(0.001, 0.001)))
    bench.driver.always = DeviceBusy("busy")
    async with bench.running():
        await until(lambda: bench.supervisor.state.bad_replies)
        assert len(bench.driver.polls) == 3
        assert (bench.driver.opened, bench.supervisor.state.last_error) == (1, "busy")


async def test_hanging_driver_is_cut_off() -> None:
    async def hang() -> None:
        await asyncio.sleep(100)

    bench = Bench(lambda clock: FakeDevice(clock, [hang]))
    async with bench.running():
        await until(lambda: bench.supervisor.state.failures)
        assert "hung for 0.1 s" in bench.supervisor.state.last_error
        await until(lambda: bench.recorded)


@pytest.mark.parametrize(
    "error", [ValueError("bug"), OSError(5, "io"), TimeoutError(), ExceptionGroup("g", [KeyError(1)])]
)
async def test_whatever_a_driver_raises_the_supervisor_goes_on(error: Exception) -> None:
    bench = Bench(lambda clock: FakeDevice(clock, [error]))
    async with bench.running() as task:
        await until(lambda: bench.recorded)
        assert not task.done()
        assert bench.supervisor.state.failures == 1


async def test_device_that_cannot_be_opened_is_tried_again() -> None:
    bench = Bench()
    bench.driver.opening = DeviceUnavailable("no such port")
    async with bench.running():
        await until(lambda: bench.driver.opened >= 3)
        assert bench.driver.closed == 0
        bench.driver.opening = None
        await until(lambda: bench.supervisor.state.state == "up")


async def test_device_that_is_plugged_in_again_is_back_at_once_however_long_it_was_away() -> None:
    bench = Bench()
    bench.driver.opening = DeviceUnavailable("no such port")
    async with bench.running():
        await until(lambda: bench.driver.opened >= 8)
        bench.driver.opening = None
        await until(lambda: bench.supervisor.state.state == "up", 0.1)


async def test_misconfigured_device_waits_for_a_person_and_its_silence_is_recorded() -> None:
    bench = Bench()
    bench.driver.opening = DriverMisconfigured("column missing")
    async with bench.running():
        await asyncio.sleep(0.1)
        assert bench.driver.opened == 1
        await bench.move_to(2 * INTERVAL_MS + 1)
        assert bench.stale == ["room/air", "room/rh"]


async def test_silence_is_one_stale_reading_per_channel_and_a_state_once_per_silence() -> None:
    bench = Bench()
    async with bench.running():
        bench.driver.always = DeviceUnavailable("dead")
        await bench.move_to(INTERVAL_MS)
        await bench.move_to(2 * INTERVAL_MS)
        assert (bench.stale, bench.supervisor.state.state) == ([], "down")
        await bench.move_to(2 * INTERVAL_MS + 1)
        assert (bench.stale, bench.supervisor.state.state) == (["room/air", "room/rh"], "silent")
        await bench.move_to(10 * INTERVAL_MS)
        await asyncio.sleep(0.3)
        assert len(bench.stale) == 2
        bench.driver.always = None
        await until(lambda: bench.supervisor.state.state == "up")
        bench.driver.always = DeviceUnavailable("dead again")
        await bench.move_to(13 * INTERVAL_MS)
        await until(lambda: len(bench.stale) == 4)
        assert bench.supervisor.state.silences == 2


async def test_device_that_only_talks_nonsense_is_silent() -> None:
    bench = Bench()
    async with bench.running():
        bench.driver.always = BadReply("nonsense")
        for slot in range(1, 4):
            await bench.move_to(slot * INTERVAL_MS)
        assert (bench.stale, bench.supervisor.state.state) == (["room/air", "room/rh"], "silent")


async def test_who_stays_away_is_looked_for_less_often_and_anew_after_each_return() -> None:
    patience = Patience(first_pause_s=0.01, absent_pause_s=0.01, long_absent_pause_s=0.6, absent_for_s=0.3, probe_s=9)
    bench = Bench(patience=patience)
    bench.driver.opening = DeviceUnavailable("refused")
    async with bench.running():
        await until(lambda: bench.driver.opened >= 10)  # every 5 to 10 ms
        await asyncio.sleep(0.4)
        before = bench.driver.opened
        await asyncio.sleep(0.25)
        assert bench.driver.opened <= before + 1
        bench.driver.opening = None
        await until(lambda: bench.recorded)
        bench.driver.opening, bench.driver.always = DeviceUnavailable("refused"), DeviceUnavailable("lost")
        before = bench.driver.opened
        await bench.move_to(INTERVAL_MS)
        await until(lambda: bench.driver.opened >= before + 5, 1)


def test_hosts_are_looked_for_every_five_seconds_in_the_end_and_ports_every_other() -> None:
    host, port = patience_for(["tcp:10.0.0.7:502"]), patience_for(["serial:/dev/ttyUSB0"])
    assert (host.absent_pause_s, host.long_absent_pause_s, host.absent_for_s) == (2, 5, 60)
    assert (port.absent_pause_s, port.long_absent_pause_s) == (2, 2)
    assert patience_for([]) == port


async def test_device_that_was_never_there_falls_silent_too() -> None:
    bench = Bench()
    bench.driver.opening = DeviceUnavailable("absent")
    async with bench.running():
        await bench.move_to(2 * INTERVAL_MS + 1)
        await until(lambda: bench.stale)
        assert bench.supervisor.state.last_seen_ms is None


async def test_cancelled_supervisor_closes_its_device() -> None:
    bench = Bench()
    async with bench.running() as task:
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()
    assert bench.driver.closed == 1


class Clinging(FakeDevice):
    """A driver that cannot be closed: it hangs, or fails."""

    closing: BaseException | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self.closing is not None:
            raise self.closing
        await asyncio.Event().wait()


@pytest.mark.parametrize("closing", [None, DeviceUnavailable("gone"), TimeoutError(), OSError("no such device")])
async def test_cancelled_supervisor_ends_even_if_its_device_cannot_be_closed(closing: BaseException | None) -> None:
    bench = Bench(Clinging)
    bench.driver.closing = closing  # type: ignore[attr-defined]
    async with bench.running() as task:
        task.cancel()
        await asyncio.wait([task], timeout=2)
        assert task.cancelled()
    assert bench.driver.opened == bench.driver.closed == 1


async def test_why_a_device_was_closed_is_told_even_if_it_cannot_be_closed() -> None:
    bench = Bench(lambda clock: Clinging(clock, [DeviceUnavailable("pulled out")]))
    bench.driver.closing = OSError("no such device")  # type: ignore[attr-defined]
    async with bench.running():
        await until(lambda: bench.supervisor.state.failures)
        assert "pulled out" in str(bench.supervisor.state.last_error)


async def test_exchange_under_way_is_told_so_that_nobody_cuts_it_off() -> None:
    answered = asyncio.Event()
    bench = Bench(lambda clock: FakeDevice(clock, [answered.wait]))
    async with bench.running() as task:
        assert bench.supervisor.busy
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.supervisor.idle(), 0.02)
        answered.set()
        await asyncio.wait_for(bench.supervisor.idle(), 1)
        assert (bench.supervisor.busy, len(bench.recorded)) == (False, 1)
        task.cancel()


class Gatherer(Listener):
    """A listener that gathers, and holds back what it has not told."""

    gathered = 0

    def leftovers(self) -> list[Observation]:
        left, self.gathered = self.gathered, 0
        return [Reading("room/air", "CEL", nth, 0, self.clock.stamp()) for nth in range(left)]


async def test_what_a_driver_held_back_is_recorded_however_it_was_closed() -> None:
    bench = Bench(Gatherer, interval_s=None)
    async with bench.running() as task:
        bench.driver.gathered = 2  # type: ignore[attr-defined]
        bench.driver.words.put_nowait(DeviceUnavailable("gone"))
        await settle()
        assert len(bench.recorded) == 2
        await until(lambda: bench.driver.opened == 2)
        bench.driver.gathered = 1  # type: ignore[attr-defined]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
    assert len(bench.recorded) == 3
    assert bench.driver.opened == bench.driver.closed == 2


async def test_unusable_buffer_ends_the_gateway() -> None:
    bench = Bench()
    bench.refusal = BufferUnusable("newer schema")
    async with bench.running() as task:
        with pytest.raises(BufferUnusable):
            await asyncio.wait_for(task, 1)


async def test_listener_is_up_when_open_and_not_silent_without_an_interval() -> None:
    bench = Bench(Listener, interval_s=None)
    async with bench.running():
        await bench.move_to(100 * INTERVAL_MS)
        assert bench.supervisor.state.state == "up"


async def test_listener_goes_on_after_a_bad_reply_without_closing() -> None:
    bench = Bench(Listener, interval_s=None)
    async with bench.running():
        for word in (1, BadReply("half a code"), 2):
            bench.driver.words.put_nowait(word)
        await until(lambda: len(bench.recorded) == 2)
        assert (bench.driver.opened, bench.supervisor.state.bad_replies) == (1, 1)


async def test_listener_that_returns_or_fails_is_opened_again() -> None:
    bench = Bench(Listener, interval_s=None)
    async with bench.running():
        for word in (None, DeviceUnavailable("unplugged"), 1):
            bench.driver.words.put_nowait(word)
        await until(lambda: bench.recorded)
        assert bench.driver.opened == 3


async def test_listener_is_told_when_its_observations_are_refused() -> None:
    bench = Bench(Listener, interval_s=None)
    bench.refusal = BufferFull("disk is full")
    async with bench.running():
        bench.driver.words.put_nowait(1)
        await until(lambda: bench.supervisor.state.last_error)
        assert bench.supervisor.state.last_error == "disk is full"
        bench.refusal = None
        bench.driver.words.put_nowait(2)
        await until(lambda: bench.recorded)


async def test_listener_with_an_interval_falls_silent_and_comes_back() -> None:
    bench = Bench(Listener)
    bench.driver.channels = [("room/air", "CEL")]
    async with bench.running():
        await bench.move_to(2 * INTERVAL_MS + 1)
        assert (bench.stale, bench.supervisor.state.state) == (["room/air"], "silent")
        await bench.move_to(8 * INTERVAL_MS)
        assert bench.stale == ["room/air"]
        bench.driver.words.put_nowait(1)
        await until(lambda: bench.supervisor.state.state == "up")
        for slot in range(9, 14):
            await bench.move_to(slot * INTERVAL_MS + 2)
        assert bench.stale == ["room/air"] * 2


def test_fakes_are_what_they_pretend() -> None:
    from edge.drivers.base import ListenDriver, PollDriver

    clock = SteppedClock(START_MS)
    polled: Driver = FakeDevice(clock)  # type: ignore[assignment]
    assert isinstance(polled, PollDriver)
    assert not isinstance(polled, ListenDriver)
    assert isinstance(Listener(clock), ListenDriver)
    assert not isinstance(Listener(clock), PollDriver)


async def test_nobody_is_asked_while_the_disk_does_not_keep_up() -> None:
    bench = Bench()
    async with bench.running():
        await bench.clock.all_asleep(1)
        bench.disk_keeps_up.clear()
        bench.clock.move_to(START_MS + 60_000)
        await asyncio.sleep(0.05)
        assert len(bench.driver.polls) == 1
        bench.disk_keeps_up.set()
        await bench.clock.all_asleep(1)
        assert len(bench.driver.polls) == 2
