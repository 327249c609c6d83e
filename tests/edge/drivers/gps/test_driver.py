"""The receiver's driver on a pty: the contract of all drivers, and time for the gateway's clock."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from edge import clock as edge_clock
from edge.clock import SystemClock
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.gps import driver as driver_module
from edge.drivers.gps.config import GpsConfig
from edge.drivers.gps.driver import GpsDriver
from firmware_sim.devices.gps import SerialGps
from firmware_sim.devices.log import DeviceLog
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import Bench, LinkBench, ListenSuite, context
from wire.observation import ClockState, Observation, Reading

TRUE_MS = 1_790_000_000_000  # what the satellites say when the test begins


class GpsBench(LinkBench):
    expected = (
        ("truck/satellites", 9),
        ("truck/hdop", 10),
        ("truck/latitude", 210_278_000),
        ("truck/longitude", 1_058_342_000),
        ("truck/speed", 0),
    )
    gps: SerialGps

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link("gps", random.Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.mantissa

    def driver(self, ctx: DriverContext) -> GpsDriver:
        return GpsDriver("truck", GpsConfig(port=str(self.folder / "gps"), every_s=1), ctx)

    async def speak(self) -> None:
        while True:
            await self.gps.tell()
            await asyncio.sleep(0.05)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = GpsBench(tmp_path)
    began_s = time.monotonic()
    bench.gps = SerialGps(
        tmp_path / "gps",
        name="g",
        link=bench.link,
        log=(log := DeviceLog(tmp_path)),
        now_ms=lambda: TRUE_MS + (time.monotonic() - began_s) * 1000,
    )
    async with bench.running(simulated=bench.gps, log=log):
        yield bench


class TestGps(ListenSuite):
    damage = (Faults(half=0.5),)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> SystemClock:
    """The clock of a gateway that booted in 1970 and has no network."""
    monkeypatch.setattr(edge_clock, "_wall_minus_monotonic_ms", lambda: 0)
    monkeypatch.setattr(edge_clock, "_kernel", lambda: (False, 0))
    return SystemClock()


async def drive(bench: GpsBench, clock: SystemClock, until: Callable[[], bool]) -> list[Observation]:
    """Listen to the receiver until `until` holds; what was heard."""
    heard: list[Observation] = []

    async def emit(observations: object) -> None:
        heard.extend(observations)  # type: ignore[arg-type]

    async with bench.driver(context(clock)) as driver:
        listening = asyncio.create_task(driver.listen(emit))
        speaking = asyncio.create_task(bench.speak())
        async with asyncio.timeout(10):
            while not until():
                assert not listening.done(), listening.exception()
                await asyncio.sleep(0.02)
        for task in (listening, speaking):
            task.cancel()
        await asyncio.gather(listening, speaking, return_exceptions=True)
    return heard


async def test_a_receiver_sets_a_clock_that_nobody_had_set(bench: GpsBench, unset: SystemClock) -> None:
    early = unset.stamp()
    assert early.clock is ClockState.UNSYNCED
    await drive(bench, unset, lambda: unset.stamp().clock is ClockState.SYNCED)
    late = unset.stamp()
    truth_ms = bench.gps._now_ms()
    assert abs(late.observed_at_ms - truth_ms) <= 1000
    (correction,) = unset.pending()
    assert (correction.source, correction.uncertainty_ms >= 500) == ("gps", True)
    corrected_ms = early.observed_at_ms + correction.offset_ms
    assert abs(corrected_ms - (truth_ms - (late.monotonic_ms - early.monotonic_ms))) <= 1000


async def test_a_receiver_without_a_fix_sets_no_clock(bench: GpsBench, unset: SystemClock) -> None:
    bench.gps.fix, bench.gps.satellites = False, 3
    ends_s = time.monotonic() + 0.7
    heard = await drive(bench, unset, lambda: time.monotonic() > ends_s)
    assert unset.stamp().clock is ClockState.UNSYNCED
    assert [bench.key(one) for one in heard] == [("truck/satellites", 0)]


async def test_a_date_from_before_a_week_rollover_sets_no_clock(bench: GpsBench, unset: SystemClock) -> None:
    truth = bench.gps._now_ms
    bench.gps._now_ms = lambda: truth() - 1024 * 7 * 86_400_000
    ends_s = time.monotonic() + 0.7
    await drive(bench, unset, lambda: time.monotonic() > ends_s)
    assert unset.stamp().clock is ClockState.UNSYNCED


class Offered(SystemClock):
    """Keeps what it is offered."""

    def __init__(self) -> None:
        super().__init__()
        self.lateness_ms: list[float] = []

    def offer(self, source: str, true_ms: int, monotonic_ms: int, uncertainty_ms: int) -> None:
        super().offer(source, true_ms, monotonic_ms, uncertainty_ms)
        truth_ms = self.truth_ms() - (self.stamp().monotonic_ms - monotonic_ms)
        self.lateness_ms.append(truth_ms - true_ms)

    def truth_ms(self) -> float:
        raise NotImplementedError


async def test_a_time_that_waited_for_a_slow_disk_is_not_offered(tmp_path: Path) -> None:
    clock, began_s = Offered(), time.monotonic()
    clock.truth_ms = lambda: TRUE_MS + (time.monotonic() - began_s) * 1000  # type: ignore[method-assign]
    link, log, port = Link("gps", random.Random(7)), DeviceLog(tmp_path), tmp_path / "gps"
    disk = asyncio.Event()

    async def emit(_: object) -> None:
        await disk.wait()

    async with (
        SerialGps(port, name="g", link=link, log=log, now_ms=clock.truth_ms) as gps,
        GpsDriver("truck", GpsConfig(port=str(port), latency_ms=0), context(clock)) as driver,
    ):
        listening = asyncio.create_task(driver.listen(emit))
        for _ in range(3):  # the first line is joined in the middle; then the disk is waited for
            await gps.tell()
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        disk.set()
        await asyncio.sleep(0.3)
        offered = len(clock.lateness_ms)
        async with asyncio.timeout(10):
            while len(clock.lateness_ms) == offered:
                await gps.tell()
                await asyncio.sleep(0.3)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert all(abs(late_ms) < 1000 for late_ms in clock.lateness_ms)


async def test_damaged_lines_are_a_bad_reply(bench: GpsBench, unset: SystemClock) -> None:
    await bench.change(Faults(garble=0.2))
    async with bench.driver(context(unset)) as driver:
        speaking = asyncio.create_task(bench.speak())
        with pytest.raises(BadReply, match="damaged lines; is the baudrate 9600"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 10)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)


async def test_a_silent_receiver_is_unavailable(bench: GpsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "SILENT_S", 0.2)
    await bench.change(Faults(hang=True))
    async with bench.driver(context()) as driver:
        with pytest.raises(DeviceUnavailable, match=r"nothing for 0\.2 s; does the receiver have power"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 5)


@pytest.mark.conformance
async def test_a_recorded_log_on_a_serial_port_is_told_as_recorded(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "real" / "gps" / "gpsd_quectel-eg25-g.log"
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.startswith(b"$")]
    heard: list[Reading] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(one for one in observations if isinstance(one, Reading))

    link, log, port = Link("gps", random.Random(7)), DeviceLog(tmp_path), tmp_path / "gps"
    receiver = SerialGps(port, name="g", link=link, log=log, now_ms=lambda: 0)
    async with receiver, GpsDriver("truck", GpsConfig(port=str(port), every_s=1), context()) as driver:
        listening = asyncio.create_task(driver.listen(emit))
        await asyncio.wait_for(receiver.replay(lines, pause_s=0.003), 30)
        await asyncio.sleep(0.1)
        assert not listening.done()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert {one.channel.partition("/")[2] for one in heard} == {"satellites", "hdop", "latitude", "longitude", "speed"}
    assert (heard[0].channel, heard[0].mantissa) == ("truck/satellites", 0)  # it had no fix at first
    latitudes = [one.value for one in heard if one.channel == "truck/latitude"]
    assert all(value is not None and abs(value - Decimal("36.764")) < Decimal("0.002") for value in latitudes)
