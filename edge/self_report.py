"""The gateway as a device of its own: how it is, as readings on channels `gateway/…` in the same stream.

They are stored like any series and say afterwards how a gateway was when nobody looked. No place is bound to them, so
no lot's evidence ever holds them. The pace is real time, and the first ones come after one pause: whoever starts a
gateway for a moment gets none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from edge.clock import Clock
from edge.device import State
from edge.health import Health
from wire.observation import Observation, Quality, Reading, Stamp

DEVICE = "gateway"


def readings(health: Health, stamp: Stamp) -> list[Observation]:
    """One reading per channel; what isn't known has none."""
    buffer, host, uplink = health.buffer, health.host, health.uplink
    waits_ms = None if buffer.oldest_unsent_ms is None else max(0, health.clock_ms - buffer.oldest_unsent_ms)
    ill = sum(device.state != State.UP for device in health.devices)
    lost = health.intake.refused + buffer.damaged_observations + buffer.thinned_readings
    values: list[tuple[str, str, int, int]] = [
        ("unsent-observations", "C62", buffer.open_observations + buffer.unsent_observations, 0),
        ("oldest-unsent-age", "SEC", 0 if waits_ms is None else waits_ms, -3),
        ("buffer-size", "4L", _tenths(buffer.bytes), -1),
        ("disk-free", "4L", _tenths(host.disk_free_bytes), -1),
        ("memory", "4L", _tenths(host.resident_bytes), -1),
        ("cpu-time", "SEC", round(host.cpu_s * 10), -1),
        ("connected", "C62", int(uplink.connected), 0),
        ("devices-not-up", "C62", ill, 0),
        ("observations-not-recorded", "C62", lost, 0),
    ]
    if host.written_bytes is not None:
        values.append(("disk-written", "4L", _tenths(host.written_bytes), -1))
    return [
        Reading(f"{DEVICE}/{point}", unit, mantissa, exponent, stamp, Quality.OK)
        for point, unit, mantissa, exponent in values
    ]


async def keep_reporting(
    every_s: float,
    look: Callable[[], Health],
    *,
    clock: Clock,
    room: Callable[[], Awaitable[None]],
    put: Callable[[Sequence[Observation]], Awaitable[None]],
) -> None:
    """Hand readings in every so many real seconds, until cancelled; 0: none at all."""
    while every_s > 0:
        await asyncio.sleep(every_s)
        await room()
        await put(readings(look(), clock.stamp()))


def _tenths(size_bytes: int) -> int:
    return round(size_bytes / 100_000)
