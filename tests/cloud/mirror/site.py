"""Packs of two sensors, and what the record says of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from sqlalchemy import Engine

from cloud.db.engine import reading as look
from cloud.telemetry import query
from tests.cloud.field import Gateway, reading
from tests.cloud.mirror.victoria import Point
from wire.observation import Quality

AIR, HUMIDITY = "room-1/air", "room-1/humidity"
WITHIN_S = 40


def until(claim: Callable[[], bool]) -> None:
    """Wait for a claim to become true."""
    deadline = time.monotonic() + WITHIN_S
    while not claim():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def site(gateway: Gateway, packs: int) -> list[bytes]:
    """Sealed packs of 20 readings each, some without a number, some not good."""
    rng = random.Random(5)
    envelopes = []
    for seq in range(1, packs + 1):
        rows = [
            reading(
                channel=channel,
                unit=unit,
                at_s=60 * seq + at,
                mantissa=None if rng.random() < 0.05 else rng.randint(-3_000, 9_000),
                quality=rng.choice([Quality.OK, Quality.OK, Quality.OK, Quality.STALE, Quality.SENSOR_ERROR]),
            )
            for channel, unit in ((AIR, "CEL"), (HUMIDITY, "P1"))
            for at in range(10)
        ]
        envelopes.append(gateway.envelope(seq, rows))
    return envelopes


def recorded_points(engine: Engine, gateway: Gateway) -> list[Point]:
    """What the record says: as the history queries give it."""
    with look(engine) as conn:
        found = [row for channel in (AIR, HUMIDITY) for row in query.readings(conn, gateway.name, channel, 0, 2**62)]
    channel_of = {"CEL": AIR, "P1": HUMIDITY}
    return sorted(
        (gateway.name, channel_of[row.unit], row.unit, row.quality.name.lower(), row.observed_ms, row.value_float)
        for row in found
        if row.value_float is not None
    )
