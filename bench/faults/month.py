"""Thirty days without a link, in simulated time; then everything is brought away while live readings go first."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.account import account
from bench.broker import Shipped
from bench.counting import ADDRESSES_NAME, addresses, made, serve
from bench.faults.row import Bench, Result
from bench.field import Field
from bench.house import House, write_gateway
from bench.system import Place
from edge import agent
from edge.agent import BUFFER_NAME
from edge.clock import SteppedClock
from edge.config import load_config
from wire.simtime import Segment, SimTime, write

MINUTE_MS = 60_000
DEVICES = 2  # 20 sensors
NOBODY = 1  # a port on which nobody listens
MOST_BYTES = 64_000_000
AFTER_S = 5.0
LIVE_WITHIN_S = AFTER_S + 2.0
OFFLINE_PACK = 100  # what 20 sensors give in the five minutes after which an offline gateway seals
STEP_WITHIN_S = 30.0
DRAIN_S = 900.0


def offline(bench: Bench) -> Result:
    """The month in a stepped clock, in this process; the drain with the real processes."""
    minutes = int(bench.pick(30 * 24 * 60, 24 * 60))
    broker = Shipped(bench.folder, bench.folder / "house" / "cloud")
    field = bench.folder / "field"
    field.mkdir()
    began_ms = time.time_ns() // 1_000_000 - minutes * MINUTE_MS
    asyncio.run(_month(bench, field, began_ms, minutes))
    size = _size(bench.folder / "house" / "data")
    bench.say(f"{minutes} minutes are in {size / 1e6:.1f} MB; now the link")
    return _drain(bench, broker, field, minutes, size)


async def _month(bench: Bench, field: Path, began_ms: int, minutes: int) -> None:
    """Poll 20 sensors every minute, as fast as this machine can; nobody is there to send to."""
    clock, stop = SteppedClock(began_ms), agent.Stop()
    home = bench.folder / "house"
    home.mkdir(exist_ok=True)
    async with asyncio.TaskGroup() as tasks:
        devices = tasks.create_task(serve(field, now_ms=lambda: clock.stamp().observed_at_ms), name="devices")
        while not (field / ADDRESSES_NAME).exists():
            await asyncio.sleep(0.05)
        devices_here = addresses(field)[:DEVICES]
        place = Place(home, devices_here, broker_port=NOBODY, uplink_port=NOBODY, interval_s=60.0)
        extra = {
            "buffer": {"commit_window_ms": 1, "max_bytes": MOST_BYTES, "min_free_bytes": 0},
            "seal": {"max_readings": OFFLINE_PACK},
        }
        config = load_config(write_gateway(home, place, extra, name="month"))
        gateway = tasks.create_task(agent.run(config, clock, stop=stop), name="gateway")
        for minute in range(minutes):
            clock.move_to(began_ms + minute * MINUTE_MS)
            async with asyncio.timeout(STEP_WITHIN_S):
                await clock.all_asleep(DEVICES)
            if minute % (24 * 60) == 0:
                bench.say(f"day {minute // (24 * 60) + 1}, {_size(home / 'data') / 1e6:.1f} MB")
        stop.ask()
        await gateway
        devices.cancel()


def _drain(bench: Bench, broker: Shipped, month: Path, minutes: int, size: int) -> Result:
    """The real gateway on that data; other devices are polled every second meanwhile, until all is stored."""
    before = made(month)
    expected = sum(map(len, before.values()))
    time_file = bench.folder / "time.json"
    write(time_file, SimTime([Segment(time.monotonic(), float(time.time_ns() // 1_000_000), 1.0)]))
    broker.start()
    try:
        with Field(bench.folder / "live", time_file=time_file) as live:
            place = Place(
                folder=bench.folder / "house",
                devices=live.devices[DEVICES : 2 * DEVICES],
                first_device=DEVICES,
                broker_port=broker.port,
                uplink_port=broker.port,
                cloud_tables=broker.cloud_tables,
                time_file=time_file,
            )
            house = House(place, extra={"seal": {"after_s": AFTER_S}, "buffer": {"max_bytes": MOST_BYTES}})
            try:
                from_s, from_ms = time.monotonic(), time.time_ns() // 1_000_000
                house.start_cloud()
                house.enrol()
                house.start_gateway()
                _wait(house, expected)
                drained_s, until_ms = time.monotonic() - from_s, time.time_ns() // 1_000_000
                ages_s = house.ages_s(from_ms, until_ms)
                live.stop()
                _wait(house, expected + live.count())
                found = account({**before, **live.made()}, house.stored())
            finally:
                house.close()
    finally:
        broker.stop()
    oldest_s = max(ages_s, default=0.0)
    why = [f"{size / 1e6:.1f} MB on the disk"] if size > MOST_BYTES else []
    why += [f"a live reading was {oldest_s:.1f} s old"] if oldest_s > LIVE_WITHIN_S else []
    return bench.result(
        found,
        why="; ".join(why),
        days=minutes / (24 * 60),
        megabytes=round(size / 1e6, 2),
        drained_s=round(drained_s, 1),
        live_packs=len(ages_s),
        oldest_live_s=round(oldest_s, 2),
    )


def _wait(house: House, count: int) -> None:
    deadline = time.monotonic() + DRAIN_S
    while house.count() < count and time.monotonic() < deadline:
        house.check()
        time.sleep(0.5)


def _size(data: Path) -> int:
    return sum(file.stat().st_size for file in data.glob(f"{BUFFER_NAME}*"))
