"""A small site with a history: lots that pass, fail, wait and lack data, made as the product makes them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import Engine

from cloud.auth.people import add_person
from cloud.db.engine import writing
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway, reading, scan
from tests.cloud.site import (
    CUSTOMER,
    GTIN,
    HALL,
    PARTY,
    ROOM,
    SSCC_1,
    SSCC_2,
    TRUCK,
    carton,
    numbered,
    pallet,
    register,
)
from wire.envelope import envelope_hash
from wire.observation import Observation, Quality, Reading
from wire.pack import Loss, StreamHead

SEED = 7
HOUR_S = 3600
NOW_MS = START_MS + 47 * HOUR_S * 1000
PASSWORD = "a long enough password"
BLIND_ROOM = numbered("893000000099")
SSCC_4 = numbered("08930000000000004")

FAILED, PASSED, BLIND, HOSTILE = "SR-251009-A", "SR-251009-B", "SR-251009-C", "<i>\"&'%/A"
GAP_S = (11.2 * HOUR_S, 13.7 * HOUR_S)
WARM_S = 36 * HOUR_S
DECLARED_THINNED = "disk pressure: extremes are kept"
DECLARED_LOST = "memory card failed"

_PLACES = [
    (HALL, "Nhà đóng gói Krông Búk", "Krong Buk packing house", "packing"),
    (ROOM, "Kho lạnh số 3, Buôn Ma Thuột", "Cold store 3, Buon Ma Thuot", "storage"),
    (BLIND_ROOM, "Kho chờ <b>số 9</b>", "Waiting room 9", "storage"),
    (TRUCK, "Xe lạnh 47C-123.45", "Refrigerated truck 47C-123.45", "vehicle"),
    (CUSTOMER, "Cảng Cát Lái", "Cat Lai port", "customer"),
]
_READ_POINTS = [
    ("gw-kho-01", "packing/scan", HALL, "pack"),
    ("gw-kho-01", "door/scan", ROOM, "store"),
    ("gw-kho-01", "waiting/scan", BLIND_ROOM, "store"),
    ("gw-xe-01", "load/scan", TRUCK, "load"),
    ("gw-xe-01", "deliver/scan", CUSTOMER, "deliver"),
]
_BINDINGS = [
    ("gw-kho-01", "hall/air", HALL, "Temperature", "PT100-11", 60),
    ("gw-kho-01", "room-1/air", ROOM, "Temperature", "XY-MD02-07", 60),
    ("gw-kho-01", "room-1/humidity", ROOM, "RelativeHumidity", "XY-MD02-07", 300),
    ("gw-xe-01", "truck/air", TRUCK, "Temperature", "XY-MD02-21", 60),
]


def registry() -> str:
    """The registry document of the site."""
    parts = [f'[[party]]\ngln = "{PARTY}"\nname = "Hợp tác xã mẫu"\n']
    for gln, name, name_en, kind in _PLACES:
        parts.append(
            f'[[place]]\ngln = "{gln}"\nname = "{name}"\nname_en = "{name_en}"\nkind = "{kind}"\nparty = "{PARTY}"\n'
            + ("custody = false\n" if kind == "customer" else "")
        )
    for gateway, channel, place, step in _READ_POINTS:
        parts.append(
            f'[[read_point]]\ngateway = "{gateway}"\nchannel = "{channel}"\nplace = "{place}"\nstep = "{step}"\n'
        )
    for gateway, channel, place, measurement, sensor, interval_s in _BINDINGS:
        parts.append(
            f'[[sensor_binding]]\ngateway = "{gateway}"\nchannel = "{channel}"\nplace = "{place}"\n'
            f'measurement = "{measurement}"\nsensor = "{sensor}"\nlog_interval_s = {interval_s}\n'
            "valid_from = 2025-01-01T00:00:00Z\n"
        )
    parts.append(
        '[[profile]]\nname = "chilled-fruit"\nversion = 2\ntitle = "Trái cây mát"\ntitle_en = "Chilled fruit"\n'
        'source = "made for this test"\nlow = 2.0\nhigh = 8.0\nvalid_from = 2025-01-01T00:00:00Z\n'
    )
    for name, threshold, duration_s, severity in (("warm", 8.0, 1800, "critical"), ("mild", 7.0, 7200, "warning")):
        parts.append(
            f'[[profile.rules]]\nname = "{name}"\ndirection = "above"\nthreshold = {threshold}\ninclusive = false\n'
            f'duration_s = {duration_s}\nseverity = "{severity}"\nplaces = ["storage", "vehicle"]\n'
        )
    parts.append(
        f'[[product]]\ngtin = "{GTIN}"\nname = "Sầu riêng Ri6 Đắk Lắk"\nname_en = "Durian Ri6 from Dak Lak"\n'
        f'party = "{PARTY}"\nprofile = "chilled-fruit"\n'
    )
    return "\n".join(parts)


def build(engine: Engine) -> None:
    """Fill a migrated database: 47 hours of four lots."""
    store, truck = Gateway("gw-kho-01"), Gateway("gw-xe-01", simulated=True)
    register(engine, registry())
    with writing(engine) as conn:
        for gateway in (store, truck):
            add_gateway(conn, gateway.public_half, START_MS)
        add_person(conn, "operator", "Nhân viên vận hành", "operator", PASSWORD, START_MS)
        add_person(conn, "official", "Cán bộ thẩm định 1", "official", PASSWORD, START_MS)
        add_person(conn, "official2", "Cán bộ thẩm định 2", "official", PASSWORD, START_MS)
    rng = random.Random(SEED)
    deliver(engine, store, [*_store_scans(), *_store_readings(rng)])
    deliver(engine, truck, [*_truck_scans(), *_truck_readings(rng)])
    ScanFollower(engine, lambda: NOW_MS).run_once()


def deliver(engine: Engine, gateway: Gateway, observed: Sequence[Observation], *, first_seq: int = 1) -> None:
    """Seal observations into packs of 500 in order of time, and record them as ingest does."""
    ordered = sorted(observed, key=lambda one: one.stamp.monotonic_ms)
    prev: bytes | None = None
    arrivals = []
    for seq, start in enumerate(range(0, len(ordered), 500), start=first_seq):
        envelope = gateway.seal(gateway.pack(seq, ordered[start : start + 500], prev=prev))
        prev = envelope_hash(envelope)
        arrivals.append(Arrival(gateway.topic, envelope, NOW_MS))
    outcome = record(engine, arrivals)
    assert outcome.accepted == len(arrivals), outcome


def _store_scans() -> Iterator[Observation]:
    story = [(FAILED, 40, SSCC_1, 600), (PASSED, 24, SSCC_2, 5 * HOUR_S), (BLIND, 6, SSCC_4, 7 * HOUR_S)]
    for lot, cartons, sscc, begin_s in story:
        for at in range(cartons):
            yield scan(carton(lot), at_s=begin_s + 20 * at, channel="packing/scan")
        yield scan(pallet(sscc), at_s=begin_s + 20 * cartons, channel="packing/scan")
    yield scan(carton(HOSTILE), at_s=9 * HOUR_S, channel="packing/scan")
    yield scan(pallet(SSCC_1), at_s=2 * HOUR_S, channel="door/scan")
    yield scan(pallet(SSCC_2), at_s=6 * HOUR_S, channel="door/scan")
    yield scan(pallet(SSCC_4), at_s=8 * HOUR_S, channel="waiting/scan")


def _truck_scans() -> Iterator[Observation]:
    yield scan(pallet(SSCC_1), at_s=30 * HOUR_S, channel="load/scan")
    yield scan(pallet(SSCC_1), at_s=44 * HOUR_S, channel="deliver/scan")


def _store_readings(rng: random.Random) -> Iterator[Reading]:
    for minute in range(47 * 60):
        at_s = minute * 60
        yield _celsius(rng, "hall/air", at_s, 6.0 + 0.8 * math.sin(minute / 70))
        if GAP_S[0] < at_s < GAP_S[1]:
            continue
        if 27 * HOUR_S < at_s < 27.2 * HOUR_S:
            yield reading(channel="room-1/air", at_s=at_s, mantissa=None, exponent=-1, quality=Quality.SENSOR_ERROR)
        else:
            yield _celsius(rng, "room-1/air", at_s, 4.6 + 0.9 * math.sin(minute / 14) + 0.2 * math.sin(minute / 300))
        if minute % 5 == 0:
            humidity = round(10 * (88 + 4 * math.sin(minute / 14) + rng.gauss(0, 0.4)))
            yield reading(channel="room-1/humidity", at_s=at_s, mantissa=humidity, exponent=-1, unit="P1")


def _truck_readings(rng: random.Random) -> Iterator[Reading]:
    for minute in range(int(29.5 * 60), 45 * 60):
        at_s = minute * 60
        warm = 5.2 * math.exp(-(((at_s - WARM_S) / (0.62 * HOUR_S)) ** 2))
        short = 4.1 * math.exp(-(((at_s - 41 * HOUR_S) / 500) ** 2))
        yield _celsius(rng, "truck/air", at_s, 4.9 + 0.7 * math.sin(minute / 20) + warm + short)


def _celsius(rng: random.Random, channel: str, at_s: float, value: float) -> Reading:
    return reading(channel=channel, at_s=at_s, mantissa=round(10 * (value + rng.gauss(0, 0.08))), exponent=-1)


def declare(engine: Engine) -> None:
    """What the store's gateway declares later of the gap: first thinned, then lost; and much that does not fit.

    A new stream goes on from another head than the record has, and a copy claims a number that is taken.
    """
    store = Gateway("gw-kho-01")
    (thin_from, lost_to), between = (GAP_S[0] + 60, GAP_S[1] - 60), 12.5 * HOUR_S
    rng = random.Random(SEED)
    kept_s = range(int(thin_from), int(between), 1500)
    kept = [_celsius(rng, "room-1/air", at_s, 4.6 + 0.4 * math.sin(at_s)) for at_s in kept_s]
    losses = [
        Loss(store.stream, 800, 829, b"t" * 32, "thinned", DECLARED_THINNED, [("room-1/air", 72)],
             START_MS + int(thin_from * 1000), START_MS + int(between * 1000)),
        Loss(store.stream, 830, 850, b"l" * 32, "lost", DECLARED_LOST, [("room-1/air", 71)],
             START_MS + int(between * 1000), START_MS + int(lost_to * 1000)),
    ]  # fmt: skip
    made = store.pack(900, kept, losses=losses)
    blocks = [msgspec.structs.replace(block, thinned=True) for block in made.blocks]
    copy = Gateway("gw-kho-01")
    copy.stream = b"\xc0" * 16
    head = StreamHead(store.stream, 1, b"h" * 32)
    envelopes = [
        store.seal(msgspec.structs.replace(made, blocks=blocks)),
        store.envelope(1, [reading(channel="room-9/air", at_s=9)]),
        copy.seal(msgspec.structs.replace(copy.pack(1, [reading(channel="room-9/air")]), predecessor=head)),
    ]
    record(engine, [Arrival(store.topic, one, NOW_MS) for one in envelopes])
