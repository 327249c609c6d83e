"""The whole gateway: simulated devices, a real broker, and a small cloud that signs receipts."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from coldproof.demo.broker import LocalBroker
from edge import agent
from edge.agent import Stop, run
from edge.buffer.base import BufferUnusable
from edge.clock import Clock, SteppedClock
from edge.config import load_config
from edge.drivers.modbus.codec import shipped_profile
from edge.health import Health, read_health
from edge.keys import load_or_make
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Unit
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.devices.scanner import SerialScanner
from firmware_sim.links import Faults, Link
from tests.edge.receipting_cloud import ReceiptingCloud
from wire.observation import ClockState, Quality, Reading, Scan
from wire.simtime import Segment, SimTime, WallClock, write

NAME = "gw-kho-01"


class Site:
    """A folder with a gateway's configuration, its simulated devices and the cloud it talks to."""

    def __init__(self, folder: Path, broker: LocalBroker) -> None:
        self.folder = folder
        self.broker = broker
        self.cloud = ReceiptingCloud(broker.host, broker.port, NAME)
        self.link = Link("bus", random.Random(1))
        self.scanner_link = Link("scanner", random.Random(1))
        self.scanner: SerialScanner

    @property
    def config_path(self) -> Path:
        return self.folder / "gateway.toml"

    def configure(self, *, interval_s: float = 0.05, more: str = "") -> None:
        self.cloud.write_public_half(self.folder / "cloud-public.json")
        self.config_path.write_text(
            f'[gateway]\nname = "{NAME}"\ndata_dir = "data"\n'
            f'[uplink]\nhost = "{self.broker.host}"\nport = {self.broker.port}\ncloud_key = "cloud-public.json"\n'
            f"[buffer]\ncommit_window_ms = 50\nmin_free_bytes = 1000000\n[seal]\nafter_s = 0.3\n{more}"
            f'[[device]]\nname = "room-1"\ndriver = "modbus"\nprofile = "xy-md02"\nport = "{self.folder / "bus"}"\n'
            f"interval_s = {interval_s}\ntimeout_s = 0.2\n"
            f'[[device]]\nname = "scanner"\ndriver = "barcode"\nport = "{self.folder / "scanner"}"\nack = "\\u0006"\n'
        )
        load_or_make(self.folder / "data", NAME)
        self.cloud.trust(self.folder / "data" / "gateway-public.json")

    @asynccontextmanager
    async def devices(self, now_ms: Callable[[], float] = lambda: 0) -> AsyncIterator[None]:
        sources = {"air": lambda _: Decimal("-21.3"), "humidity": lambda _: Decimal("55.4")}
        unit = Unit(1, "room-1", NAME, shipped_profile("xy-md02"), sources)
        with DeviceLog(self.folder) as log:
            bus = RtuBus(self.folder / "bus", [unit], link=self.link, log=log, now_ms=now_ms, paced=False)
            self.scanner = SerialScanner(
                self.folder / "scanner",
                name="scanner",
                channel=f"{NAME}/scanner/scan",
                link=self.scanner_link,
                log=log,
                now_ms=now_ms,
            )
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(bus)
                await stack.enter_async_context(self.scanner)
                serving = asyncio.create_task(bus.serve())
                try:
                    yield
                finally:
                    serving.cancel()
                    await asyncio.gather(serving, return_exceptions=True)

    @asynccontextmanager
    async def gateway(self, clock: Clock | None = None) -> AsyncIterator[Stop]:
        """A running gateway; leaving drains it."""
        stop = Stop()
        task = asyncio.create_task(run(load_config(self.config_path), clock, stop=stop))
        try:
            yield stop
        finally:
            stop.ask()
            await asyncio.wait_for(task, 15)

    @property
    def produced(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "device-log.jsonl").read_text().splitlines()]

    @property
    def readings(self) -> list[Reading]:
        return [o for o in self.cloud.observations if isinstance(o, Reading)]

    @property
    def scans(self) -> list[str]:
        return [o.code for o in self.cloud.observations if isinstance(o, Scan)]


@pytest.fixture
def site(tmp_path: Path, broker: LocalBroker) -> Iterator[Site]:
    site = Site(tmp_path, broker)
    site.configure()
    site.cloud.start()
    yield site
    site.cloud.stop()


async def until(claim: Callable[[], object], limit_s: float = 15) -> None:
    async with asyncio.timeout(limit_s):
        while not claim():
            await asyncio.sleep(0.02)


async def test_every_answer_and_scan_reaches_the_cloud_once_and_is_released(site: Site) -> None:
    async with site.devices():
        async with site.gateway():
            await until(lambda: len(site.readings) >= 20)
            for number in range(3):
                await site.scanner.send(f"0108936\x1d10LOT{number}", "C1")
            await until(lambda: len(site.scans) == 3)
        values = [entry for entry in site.produced if "mantissa" in entry]
    numbers = [(reading.channel, reading.mantissa) for reading in site.readings]
    assert len(numbers) == len(values)
    assert set(numbers) == {("room-1/air", -213), ("room-1/humidity", 554)}
    assert site.scans == [f"0108936\x1d10LOT{number}" for number in range(3)]
    assert site.cloud.again == 0
    health = read_health(site.folder / "data")
    assert (health.running, health.buffer.unsent_packs, health.buffer.open_observations) == (False, 0, 0)
    assert health.buffer.released_through == health.buffer.head_seq > 1
    assert not any(pack.simulated for pack in site.cloud.packs.values())


async def test_scan_travels_at_once_and_is_answered_when_it_is_safe(site: Site) -> None:
    site.config_path.write_text(site.config_path.read_text().replace("after_s = 0.3", "after_s = 60"))
    async with site.devices(), site.gateway():
        began_s = time.monotonic()
        await site.scanner.send("CODE", "C0")
        await until(lambda: site.scans == ["CODE"], 3)
        assert time.monotonic() - began_s < 3
        incidents = site.folder / "device-incidents.jsonl"
        await until(lambda: '"feedback":"06"' in incidents.read_text().replace(" ", ""))


async def test_broker_that_is_down_at_start_costs_nothing(site: Site) -> None:
    site.cloud.stop()
    site.broker.stop()
    async with site.devices():
        async with site.gateway():
            await until(lambda: len(site.produced) >= 20)
            site.broker.start()
            site.cloud.start()
            await until(lambda: len(site.readings) >= 20)
        assert len(site.readings) == len(site.produced)


async def test_device_that_is_unplugged_and_back_is_shown_and_goes_on(site: Site) -> None:
    site.configure(interval_s=0.2)
    async with site.devices(), site.gateway():
        await until(lambda: site.readings)
        await site.link.change(Faults(unplugged=True))
        await until(lambda: read_health(site.folder / "data").devices[0].state == "silent")
        await until(lambda: any(reading.quality is Quality.STALE for reading in site.readings))
        await site.link.change(Faults())
        count = len(site.produced)
        await until(lambda: len(site.produced) > count + 4)
    assert [r.channel for r in site.readings if r.quality is Quality.STALE] == ["room-1/air", "room-1/humidity"]
    assert len([reading for reading in site.readings if reading.quality is Quality.OK]) == len(site.produced)


async def test_stepped_clock_gives_every_poll_its_own_time_and_marks_the_packs(site: Site) -> None:
    site.configure(interval_s=900)
    start_ms, step_ms = 1_636_243_200_000, 900_000
    clock = SteppedClock(start_ms)
    async with site.devices(), site.gateway(clock):
        for step in range(1, 100):
            await asyncio.wait_for(clock.all_asleep(1), 5)
            clock.move_to(start_ms + step * step_ms)
        await asyncio.wait_for(clock.all_asleep(1), 5)
    times = [r.stamp.observed_at_ms for r in site.readings if r.channel == "room-1/air"]
    assert times == [start_ms + step * step_ms for step in range(100)]
    assert all(pack.simulated for pack in site.cloud.packs.values())


async def test_simulated_time_of_the_configuration_rules_pace_and_stamps(site: Site) -> None:
    origin_ms, factor = 1_700_000_000_000.0, 1000.0
    write(site.folder / "time.json", SimTime([Segment(time.monotonic(), origin_ms, factor)]))
    site.configure(interval_s=300, more='[clock]\nsimulated = "time.json"\n')
    async with site.devices(), site.gateway():
        await until(lambda: len(site.readings) >= 10)
    times = [r.stamp.observed_at_ms for r in site.readings if r.channel == "room-1/air"]
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert origin_ms < times[0] < origin_ms + 20_000 * factor
    assert 200_000 < sorted(steps)[len(steps) // 2] < 400_000
    assert all(pack.simulated for pack in site.cloud.packs.values())


async def test_a_gateway_that_boots_in_1970_sends_a_correction_for_what_it_already_sent(site: Site) -> None:
    origin_ms, factor = 1_700_000_000_000, 200.0
    wrong = WallClock(origin_ms, error_ms=-origin_ms, synced=False, boot=True)
    course = SimTime([Segment(time.monotonic(), origin_ms, factor)], {NAME: [wrong, WallClock(origin_ms + 600_000)]})
    write(site.folder / "time.json", course)
    site.configure(interval_s=60, more='[clock]\nsimulated = "time.json"\n')
    async with site.devices(), site.gateway():
        await until(lambda: any(pack.corrections for pack in site.cloud.packs.values()))
    readings = [reading for reading in site.readings if reading.channel == "room-1/air"]
    unset = [reading.stamp for reading in readings if reading.stamp.clock is ClockState.UNSYNCED]
    (correction,) = [one for pack in site.cloud.packs.values() for one in pack.corrections]
    assert unset
    for stamp in unset:
        assert stamp.observed_at_ms == stamp.monotonic_ms
        assert correction.from_monotonic_ms <= stamp.monotonic_ms <= correction.to_monotonic_ms
        assert stamp.observed_at_ms + correction.offset_ms == origin_ms + stamp.monotonic_ms
    assert correction.boot_id == unset[0].boot_id


async def test_buffer_of_another_gateway_stops_the_start(site: Site) -> None:
    (site.folder / "data" / "buffer.sqlite").mkdir(parents=True)
    with pytest.raises(BufferUnusable):
        await asyncio.wait_for(run(load_config(site.config_path)), 10)


async def test_without_the_clouds_key_it_records_and_delivers_as_soon_as_the_key_is_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.uplink.uplink.FILES_EVERY_S", 0.2)
    public = site.folder / "cloud-public.json"
    content = public.read_text()
    public.unlink()
    async with site.devices(), site.gateway():
        await until(lambda: len(site.produced) > 5)
        await until((site.folder / "data" / "status.json").exists)
        await until(lambda: "copy the cloud's public half" in status(site).uplink.last_error)
        assert status(site).devices[0].state == "up"
        assert site.readings == []
        public.write_text(content)
        await until(lambda: len(site.readings) > 5)
    assert len(site.readings) == len(site.produced)


async def test_unreadable_certificates_do_not_stop_the_recording(site: Site) -> None:
    site.configure(more='[uplink.tls]\nca = "absent.pem"\n')
    async with site.devices(), site.gateway():
        await until(lambda: len(site.produced) > 5)
        await until((site.folder / "data" / "status.json").exists)
        await until(lambda: "certificates cannot be used" in status(site).uplink.last_error)
        assert status(site).devices[0].observations > 0


@pytest.mark.parametrize("chore", ["keep_renewing", "keep_rotating", "keep_time", "keep_reporting", "keep_writing"])
async def test_no_chore_ends_the_recording(site: Site, monkeypatch: pytest.MonkeyPatch, chore: str) -> None:
    failed = 0

    async def fail(*_: object, **__: object) -> None:
        nonlocal failed
        failed += 1
        raise ValueError("unknown url type: ftp")

    monkeypatch.setattr(agent, chore, fail)
    site.configure()
    async with site.devices(), site.gateway():
        await until(lambda: failed and len(site.readings) >= 20)


async def test_device_over_tcp_has_the_patience_of_a_host(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: list[list[str]] = []
    patience_for = agent.patience_for
    monkeypatch.setattr(agent, "patience_for", lambda what: claimed.append(what) or patience_for(what))
    host = '[[device]]\nname = "far"\ndriver = "modbus"\nprofile = "xy-md02"\nhost = "127.0.0.1"\ninterval_s = 1\n'
    site.configure(more=host)
    async with site.gateway():
        await until(lambda: len(claimed) == 3)
    assert claimed[0] == ["tcp:127.0.0.1:502"]
    assert claimed[1] == [f"serial:{site.folder / 'bus'}"]


def status(site: Site) -> Health:
    """What the gateway says of itself, as soon as it does."""
    return read_health(site.folder / "data")


def command(site: Site, *words: str) -> list[str]:
    return [sys.executable, "-m", "coldproof.main", "edge", *words, str(site.config_path)]


@asynccontextmanager
async def process(site: Site) -> AsyncIterator[subprocess.Popen[str]]:
    """A gateway as its own process, killed in the end whatever happened."""
    started = subprocess.Popen(command(site, "run"), stderr=subprocess.PIPE, text=True, cwd=Path.cwd())
    try:
        yield started
    finally:
        started.kill()
        await asyncio.to_thread(started.communicate)


async def test_sigterm_drains_and_status_tells(site: Site) -> None:
    async with site.devices(), process(site) as gateway:
        await until(lambda: len(site.readings) >= 4)
        await until(lambda: read_health(site.folder / "data").devices[0].state == "up")
        shown = await asyncio.to_thread(subprocess.run, command(site, "status"), capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
        assert "gw-kho-01: running" in shown.stdout
        assert "up       room-1: last seen" in shown.stdout
        gateway.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(gateway.wait, 15)
        assert code == 0
        assert len(site.readings) == len(site.produced)
        shown = await asyncio.to_thread(subprocess.run, command(site, "status"), capture_output=True, text=True)
        assert shown.returncode == 1
        assert "not running" in shown.stdout


async def test_second_sigterm_stops_at_once(site: Site) -> None:
    site.cloud.silent = True  # so that draining waits for receipts
    async with site.devices(), process(site) as gateway:
        await until(lambda: site.cloud.packs)
        gateway.send_signal(signal.SIGTERM)
        await asyncio.sleep(1)
        assert gateway.poll() is None
        began_s = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait, 10) == 1
        assert time.monotonic() - began_s < 3


async def test_killed_gateway_loses_at_most_its_commit_window(site: Site) -> None:
    window_s = 0.05 + 0.3  # commit window, and what a busy machine adds to it
    async with site.devices():
        async with process(site) as gateway:
            await until(lambda: len(site.produced) >= 40)
            await site.scanner.send("BEFORE", "C0")
            await until(lambda: "feedback" in (site.folder / "device-incidents.jsonl").read_text())
            os.kill(gateway.pid, signal.SIGKILL)
            killed_s = time.monotonic()
        async with process(site) as gateway:
            await site.scanner.send("AFTER", "C0")
            await until(lambda: "AFTER" in site.scans)
            gateway.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(gateway.wait, 15) == 0
    values = [entry for entry in site.produced if "mantissa" in entry]
    in_window = [v for v in values if killed_s - window_s <= float(str(v["host_s"])) <= killed_s + 0.01]
    missing = len(values) - len(site.readings)
    assert 0 <= missing <= len(in_window)
    assert site.scans == ["BEFORE", "AFTER"]
