"""The gateway's readings about itself: known units, good quality, and out of everybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from edge.clock import SteppedClock
from edge.config import ConfigError, parse_config
from edge.host import Host, HostState
from edge.intake import IntakeState
from edge.self_report import keep_reporting, readings
from standards.units import is_unit
from tests.edge.test_health import DEVICE, HEALTH
from wire.observation import Observation, Quality, Reading
from wire.pack import build_blocks

CLOCK = SteppedClock(1_700_000_000_000)
ILL = msgspec.structs.replace(
    HEALTH,
    clock_ms=1_000_000,
    buffer=msgspec.structs.replace(HEALTH.buffer, oldest_unsent_ms=400_500, unsent_observations=7, bytes=12_340_000),
    intake=IntakeState(5, 3, "full"),
    devices=[DEVICE, msgspec.structs.replace(DEVICE, name="room-2", state="silent")],
    host=HostState(60, 1.25, 40_000_000, 5_000_000, 10_000_000_000),
)


def values(observations: Sequence[Observation]) -> dict[str, tuple[int | None, int, str]]:
    return {one.channel: (one.mantissa, one.exponent, one.unit) for one in observations if isinstance(one, Reading)}


def test_every_reading_is_usable_and_says_what_the_status_says() -> None:
    found = readings(ILL, CLOCK.stamp())
    assert build_blocks(one for one in found if isinstance(one, Reading))
    assert {one.quality for one in found} == {Quality.OK}
    assert all(is_unit(one.unit) and one.channel.startswith("gateway/") for one in found if isinstance(one, Reading))
    told = values(found)
    assert told["gateway/unsent-observations"] == (7, 0, "C62")
    assert told["gateway/oldest-unsent-age"] == (599_500, -3, "SEC")
    assert told["gateway/buffer-size"] == (123, -1, "4L")
    assert told["gateway/devices-not-up"] == (1, 0, "C62")
    assert told["gateway/observations-not-recorded"] == (3, 0, "C62")
    assert told["gateway/disk-written"] == (50, -1, "4L")


def test_what_the_kernel_does_not_tell_is_not_made_up() -> None:
    unknown = msgspec.structs.replace(ILL, host=HostState())
    assert "gateway/disk-written" not in values(readings(unknown, CLOCK.stamp()))


@pytest.mark.parametrize(("every_s", "least"), [(0.02, 2), (0, 0)])
async def test_they_come_at_their_pace_and_never_at_once(every_s: float, least: int) -> None:
    put: list[Sequence[Observation]] = []

    async def take(observations: Sequence[Observation]) -> None:
        put.append(observations)

    async def room() -> None:
        await asyncio.sleep(0)

    task = asyncio.create_task(keep_reporting(every_s, lambda: ILL, clock=CLOCK, room=room, put=take))
    await asyncio.sleep(0)
    assert put == []
    await asyncio.sleep(0.2)
    assert len(put) >= least
    assert every_s or task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_no_device_may_take_our_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = (
        '[gateway]\nname = "gw"\ndata_dir = "d"\n[uplink]\nhost = "h"\ncloud_key = "k"\n'
        '[[device]]\nname = "gateway"\ndriver = "barcode"\nport = "/dev/x"\n'
    )
    with pytest.raises(ConfigError, match="the gateway itself"):
        parse_config(text, tmp_path / "gateway.toml")


def test_the_host_tells_of_this_process(tmp_path) -> None:  # type: ignore[no-untyped-def]
    host = Host(tmp_path)
    seen = host.look()
    assert seen.resident_bytes > 1_000_000
    assert seen.disk_free_bytes > 0
    assert seen.cpu_s > 0
    assert seen.uptime_s < 60
