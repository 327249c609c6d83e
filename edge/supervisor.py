"""One supervisor per device: opens it, asks it on time, bears with it, and says how it is.

Pace is the gateway clock's time: slots of a fixed schedule, and what was missed in a stall is not made up for in a
burst. Waiting for a device is real time: a driver that does not return is cut off, one that fails is closed and
opened again after a pause that grows, with jitter; after several failures in a row the breaker opens and it is only
probed now and then, so that a dead device costs its neighbours on the line little. A port that is not there costs
nobody anything: it is looked for every other second, so that a device plugged in again is back at once. A host that
has been away for a minute is looked for a little less often: each look is a connection of its own.

A device with an interval that gives nothing for more than two of them is silent: a visible state, and one STALE
reading without a number per channel and silence, so that the gap explains itself in the record.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from edge.buffer.base import BufferFailure, BufferUnusable
from edge.clock import Clock
from edge.device import DeviceRecord, DeviceState
from edge.drivers.base import (
    BadReply,
    DeviceBusy,
    DeviceUnavailable,
    Driver,
    DriverError,
    DriverMisconfigured,
    Emit,
    HoldsBack,
    ListenDriver,
    PollDriver,
)
from edge.patience import Patience
from wire.observation import Observation, Quality, Reading

SILENT_AFTER = 2  # intervals


class Supervisor:
    """Keeps one device going for as long as it runs.

    `put` hands readings in, `accept` waits for the disk; a device is polled only when `room` has returned.
    """

    def __init__(
        self,
        name: str,
        driver: Driver,
        *,
        interval_s: float | None,
        put: Emit,
        accept: Emit,
        room: Callable[[], Awaitable[None]],
        clock: Clock,
        rng: random.Random,
        log: logging.Logger | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._name = name
        self._driver = driver
        self._interval_ms = None if interval_s is None else max(1, round(interval_s * 1000))
        self._put = put
        self._accept_in_buffer = accept
        self._room = room
        self._clock = clock
        self._rng = rng
        self._log = log or logging.getLogger(__name__)
        self._patience = patience or Patience()
        self._record = DeviceRecord(name, clock, self._log)
        self._polled = isinstance(driver, PollDriver)
        self._due_ms = clock.stamp().monotonic_ms
        self._absent = False  # the last failure was that it could not be opened
        self._absent_since_s: float | None = None  # real time
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def state(self) -> DeviceState:
        """How the device is now."""
        return self._record.snapshot(probing=self._record.failures_in_a_row >= self._patience.failures)

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """(channel, Rec 20 unit) of every reading the device can give."""
        return self._driver.channels

    @property
    def busy(self) -> bool:
        """Whether an exchange or hand-over is under way: cancelling now would lose what the device has given."""
        return not self._idle.is_set()

    async def idle(self) -> None:
        """Return when none is."""
        await self._idle.wait()

    async def run(self) -> None:
        """Keep the device going until cancelled. Raises only what ends the gateway (BufferUnusable)."""
        if self._polled or self._interval_ms is None:
            await self._keep_going()
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_silence(), name=f"{self._name}: silence")
            await self._keep_going()

    async def _keep_going(self) -> None:
        while True:
            try:
                await self._session()
            except BufferUnusable:
                raise
            except DriverMisconfigured as error:
                self._record.failed(error)
                await self._pause(None)
            except (DriverError, BufferFailure) as error:
                self._record.failed(error)
            except Exception as error:  # noqa: BLE001 - see edge/chores.py, too: whatever a driver does, the others go on
                self._record.failed(error)
            await self._pause(self._pause_s())

    async def _session(self) -> None:
        """From opening to the first failure."""
        driver = self._driver
        async with self._opened():
            if isinstance(driver, PollDriver):
                while True:
                    await self._room()
                    with self._at_work():
                        await self._poll(driver)
                    await self._next_slot()
            assert isinstance(driver, ListenDriver)  # a driver is one of the two
            await self._listen(driver)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        self._absent = True
        try:
            async with asyncio.timeout(self._patience.hang_s):
                await self._driver.__aenter__()
        except TimeoutError:
            raise DeviceUnavailable(f"opening took longer than {self._patience.hang_s:g} s") from None
        self._absent, self._absent_since_s = False, None
        try:
            yield
        finally:
            try:
                await self._close()
            finally:
                await self._put_leftovers()

    async def _close(self) -> None:
        """Raises nothing of the driver's: it would hide why the driver was closed, and keep a cancelled one alive."""
        try:
            async with asyncio.timeout(self._patience.close_s):
                await self._driver.__aexit__(None, None, None)
        except TimeoutError:
            self._log.warning("device %s: closing took longer than %g s", self._name, self._patience.close_s)
        except Exception as error:  # noqa: BLE001 - as in _keep_going: whatever a driver does
            self._log.warning("device %s: not closed properly: %s", self._name, error)

    async def _put_leftovers(self) -> None:
        """`put` and not `accept`: it raises nothing for a full disk, and so never hides why the driver was closed."""
        if isinstance(self._driver, HoldsBack) and (left := self._driver.leftovers()):
            self._record.seen(left)
            await self._put(left)

    async def _poll(self, driver: PollDriver) -> None:
        self._record.polls += 1
        try:
            async with asyncio.timeout(self._patience.hang_s):
                observations = await self._ask(driver)
        except TimeoutError:
            raise DeviceUnavailable(f"no answer, and the driver hung for {self._patience.hang_s:g} s") from None
        except BadReply as error:
            self._record.bad_reply(error)
            await self._check_silence()
            return
        self._record.seen(observations)
        if observations:
            await self._put(observations)

    async def _ask(self, driver: PollDriver) -> list[Observation]:
        for pause_s in self._patience.busy_s:
            try:
                return await driver.poll()
            except DeviceBusy:
                await asyncio.sleep(pause_s)
        return await driver.poll()

    async def _next_slot(self) -> None:
        assert self._interval_ms is not None  # edge/config.py requires it of every poller
        passed = (self._clock.stamp().monotonic_ms - self._due_ms) // self._interval_ms
        self._record.skipped += max(0, passed)
        self._due_ms += max(1, passed + 1) * self._interval_ms
        await self._clock.sleep_until(self._due_ms)

    async def _listen(self, driver: ListenDriver) -> None:
        loop = asyncio.get_running_loop()
        opened_at_s = loop.time()
        self._record.opened()
        try:
            while True:
                try:
                    await driver.listen(self._accept)
                except BadReply as error:
                    self._record.bad_reply(error)
                    await asyncio.sleep(self._patience.after_bad_reply_s)
                else:
                    raise DeviceUnavailable("the driver stopped listening")
        finally:
            if loop.time() - opened_at_s >= self._patience.stable_s:
                self._record.failures_in_a_row = 0

    async def _accept(self, observations: Sequence[Observation]) -> None:
        self._record.seen(observations)
        with self._at_work():
            await self._accept_in_buffer(observations)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()

    def _pause_s(self) -> float:
        patience = self._patience
        tried = self._record.failures_in_a_row
        if tried >= patience.failures:
            pause_s = patience.probe_s
        else:
            pause_s = min(patience.longest_pause_s, patience.first_pause_s * 2.0 ** max(0, tried - 1))
        if self._absent:
            now_s = asyncio.get_running_loop().time()
            since_s = self._absent_since_s = now_s if self._absent_since_s is None else self._absent_since_s
            long = now_s - since_s >= patience.absent_for_s
            pause_s = min(pause_s, patience.long_absent_pause_s if long else patience.absent_pause_s)
        return pause_s * self._rng.uniform(0.5, 1.0)

    async def _pause(self, real_s: float | None) -> None:
        """Wait in real time (None: for ever), and notice if the silence begins meanwhile."""
        try:
            async with asyncio.timeout(real_s):
                if self._polled and not self._record.silent and self._interval_ms is not None:
                    await self._clock.sleep_until(self._silent_from_ms())
                    await self._check_silence()
                await asyncio.Event().wait()
        except TimeoutError:
            pass

    def _silent_from_ms(self) -> int:
        assert self._interval_ms is not None  # asked only of devices that have one
        return self._record.seen_at_ms + SILENT_AFTER * self._interval_ms + 1

    async def _check_silence(self) -> None:
        stamp = self._clock.stamp()
        if self._record.silent or self._interval_ms is None or stamp.monotonic_ms < self._silent_from_ms():
            return
        self._record.fell_silent()
        stale = [Reading(channel, unit, None, 0, stamp, Quality.STALE) for channel, unit in self._driver.channels]
        if stale:
            await self._put(stale)

    async def _watch_silence(self) -> None:
        """For listeners: nothing else wakes up while a device says nothing."""
        assert self._interval_ms is not None
        while True:
            await self._clock.sleep_until(self._silent_from_ms())
            await self._check_silence()
            if self._record.silent:  # asleep again until it speaks; its next silence is at least this far away
                await self._clock.sleep_until(self._clock.stamp().monotonic_ms + self._interval_ms)
