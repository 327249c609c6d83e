"""One lot's way as the field sends it: packed, stored, loaded, delivered; a probe per place, read every minute."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from sqlalchemy import Engine

from cloud.db.engine import writing
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway, reading, scan
from tests.cloud.site import carton, pallet, register
from wire.observation import Observation, Reading

#: Minutes after START.
MADE, CLOSED, STORED, LOADED, DELIVERED, LATER = 1, 3, 10, 70, 130, 150
NOW_MS = START_MS + LATER * 60_000

Shape = Callable[[str, int], Reading | None]


def at(minute: float) -> int:
    """An instant of the journey, in ms."""
    return START_MS + round(minute * 60_000)


def calm(channel: str, minute: int) -> Reading | None:
    """A probe that stays between −19 and −18 °C: the same numbers for the same channel and minute."""
    mantissa = -1900 + random.Random(f"{channel} {minute}").randrange(100)
    return reading(channel=channel, at_s=60 * minute, mantissa=mantissa)


def travel(engine: Engine, shape: Shape = calm, *, lot: str = "L1", simulated: bool = False) -> tuple[Gateway, Gateway]:
    """Send the whole journey through ingest and the scan follower; returns the two gateways."""
    store, truck = Gateway("gw-kho-01"), Gateway("gw-xe-01", simulated=simulated)
    with writing(engine) as conn:
        for one in (store, truck):
            add_gateway(conn, one.public_half, START_MS)
    register(engine)
    scans_here = [
        scan(carton(lot), at_s=60 * MADE, channel="packing/scan"),
        scan(pallet(), at_s=60 * CLOSED, channel="packing/scan"),
        scan(pallet(), at_s=60 * STORED, channel="door/scan"),
    ]
    scans_there = [
        scan(pallet(), at_s=60 * LOADED, channel="load/scan"),
        scan(pallet(), at_s=60 * DELIVERED, channel="deliver/scan"),
    ]
    probes_here = [*_read("hall/air", range(LATER), shape), *_read("room-1/air", range(LATER), shape)]
    send(engine, store, 1, [*probes_here, *scans_here])
    send(engine, truck, 1, [*_read("truck/air", range(LATER), shape), *scans_there])
    ScanFollower(engine, lambda: NOW_MS).run_once()
    return store, truck


def send(engine: Engine, gateway: Gateway, seq: int, observed: list[Observation]) -> None:
    """One pack of a gateway, through ingest."""
    outcome = record(engine, [Arrival(gateway.topic, gateway.envelope(seq, observed), NOW_MS)])
    assert outcome.accepted == 1


def _read(channel: str, minutes: Iterable[int], shape: Shape) -> list[Reading]:
    return [found for minute in minutes if (found := shape(channel, minute)) is not None]
