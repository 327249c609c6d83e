"""How long pages take: `python -m bench.pages`. The real application over a database that real ingest has filled.

A cold room with ten thermometers read every minute, in which one lot lay for thirty days, and one with a thermometer
through which 500 lots went, two days each. Every page is asked for three times; told is the median. Results:
bench/results/pages.json.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from sqlalchemy import Engine

from bench.figure import Figure, store
from bench.report import HERE, replace_between
from cloud.auth.people import add_person
from cloud.config import defaults
from cloud.db.engine import migrate, open_engine, sqlite_url, writing
from cloud.events.follower import ScanFollower
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import PublicHalf, add_gateway
from cloud.registry.load import load, read_file
from cloud.review.worklist import LOTS_AT_ONCE, WorklistKeeper
from cloud.web.app import create_app
from cloud.web.page import lot_path, series_path
from standards import cose
from standards.gs1.check_digit import check_digit
from wire import pack as wire_pack
from wire.envelope import envelope_hash
from wire.observation import ClockState, Observation, Quality, Reading, Scan, Stamp
from wire.pack import Pack, build_blocks
from wire.topics import up_pack

RESULTS = HERE / "results" / "pages.json"
START_MS = 1_760_000_000_000
DAY_S, MINUTE_S = 86_400, 60
BOOT = bytes(range(16))
GATEWAY, PASSWORD = "gw-bench", "a long enough password"
PACK = 100
LONG = "LONG"


def numbered(payload: str) -> str:
    """A GS1 key with its check digit."""
    return payload + check_digit(payload)


PARTY, HALL, ROOM, PASSAGE, CUSTOMER = (numbered(f"8930000000{at}") for at in range(10, 15))
GTIN = numbered("0893000000001")


class Size(NamedTuple):
    """How much there is: days, thermometers of the long lot's room, short lots."""

    days: int
    sensors: int
    lots: int


def registry(size: Size) -> str:
    """The registry document of the site."""
    places = [(HALL, "packing"), (ROOM, "storage"), (PASSAGE, "storage"), (CUSTOMER, "customer")]
    points = [("hall", HALL, "pack"), ("room", ROOM, "store"), ("passage", PASSAGE, "store"),
              ("door", CUSTOMER, "deliver")]  # fmt: skip
    bound = [(channel, ROOM) for channel in _room(size)] + [("passage/air", PASSAGE), ("hall/air", HALL)]
    parts = [f'[[party]]\ngln = "{PARTY}"\nname = "Bench"\n']
    for gln, kind in places:
        custody = "custody = false\n" if kind == "customer" else ""
        named = f'name = "{kind}"\nname_en = "{kind}"\nkind = "{kind}"\n'
        parts.append(f'[[place]]\ngln = "{gln}"\n{named}party = "{PARTY}"\n{custody}')
    for channel, place, step in points:
        parts.append(
            f'[[read_point]]\ngateway = "{GATEWAY}"\nchannel = "{channel}/scan"\nplace = "{place}"\nstep = "{step}"\n'
        )
    for channel, place in bound:
        parts.append(
            f'[[sensor_binding]]\ngateway = "{GATEWAY}"\nchannel = "{channel}"\nplace = "{place}"\n'
            f'measurement = "Temperature"\nsensor = "T-{channel}"\nlog_interval_s = {MINUTE_S}\n'
            "valid_from = 2025-01-01T00:00:00Z\n"
        )
    parts.append(
        '[[profile]]\nname = "chilled"\nversion = 1\ntitle = "c"\ntitle_en = "c"\nsource = "made for the bench"\n'
        'low = 2.0\nhigh = 8.0\nvalid_from = 2025-01-01T00:00:00Z\n[[profile.rules]]\nname = "warm"\n'
        'direction = "above"\nthreshold = 8.0\nduration_s = 1800\nseverity = "critical"\n'
    )
    parts.append(
        f'[[product]]\ngtin = "{GTIN}"\nname = "Sầu riêng"\nname_en = "Durian"\n'
        f'party = "{PARTY}"\nprofile = "chilled"\n'
    )
    return "\n".join(parts)


def _room(size: Size) -> list[str]:
    return [f"room-{at}/air" for at in range(size.sensors)]


def observed(size: Size, rng: random.Random) -> Iterator[Observation]:
    """Everything the gateway saw, in order of time."""
    scans = sorted(_scans(size), key=lambda one: one.stamp.monotonic_ms)
    channels = [*_room(size), "passage/air", "hall/air"]
    for minute in range(size.days * 1440):
        at_s = minute * MINUTE_S
        while scans and scans[0].stamp.monotonic_ms <= at_s * 1000:
            yield scans.pop(0)
        for channel in channels:
            value = 500 + rng.randrange(-60, 60) + (400 if rng.random() < 1e-4 else 0)
            yield Reading(channel, "CEL", value, -2, _stamp(at_s), Quality.OK)


def _scans(size: Size) -> Iterator[Scan]:
    stay_s = 2 * DAY_S
    last_s = (size.days * DAY_S) - stay_s - 4 * 3600
    yield from _way(LONG, 999_999, 600, "room", size.days * DAY_S - 3600)
    for at in range(size.lots):
        begin_s = 1200 + at * last_s // max(1, size.lots)
        yield from _way(f"L{at:04}", at, begin_s, "passage", begin_s + stay_s)


def _way(lot: str, number: int, begin_s: int, room: str, end_s: int) -> Iterator[Scan]:
    """A lot's scans: its carton, its pallet, into the room, out of the door. Each lot within its own minute."""
    sscc = "00" + numbered(f"0893000000{number:07}")
    yield _scan(f"01{GTIN}10{lot}", begin_s, "hall")
    yield _scan(sscc, begin_s + 20, "hall")
    yield _scan(sscc, begin_s + 40, room)
    yield _scan(sscc, end_s, "door")


def _scan(code: str, at_s: int, where: str) -> Scan:
    return Scan(f"{where}/scan", code, "C1", _stamp(at_s))


def _stamp(at_s: int) -> Stamp:
    return Stamp(START_MS + at_s * 1000, at_s * 1000, BOOT, ClockState.SYNCED)


def fill(engine: Engine, size: Size, folder: Path) -> int:
    """Send everything through ingest and the followers; how many readings."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    file = folder / "registry.toml"
    file.write_text(registry(size), encoding="utf-8")
    with writing(engine) as conn:
        raw = key.public_key().public_bytes_raw()
        add_gateway(conn, PublicHalf(GATEWAY, base64.b64encode(raw).decode(), simulated=False), START_MS)
        add_person(conn, "official", "Official", "official", PASSWORD, START_MS)
        load(conn, read_file(file))
    kid, stream, prev = cose.key_id(key.public_key()), bytes(16), None
    group: list[Arrival] = []
    held: list[Observation] = []
    seq = count = 0
    for one in observed(size, random.Random(7)):
        held.append(one)
        count += isinstance(one, Reading)
        if len(held) < PACK * (size.sensors + 2):
            continue
        seq += 1
        envelope = wire_pack.seal(_pack(seq, stream, prev, held), key=key, kid=kid)
        prev, held = envelope_hash(envelope), []
        group.append(Arrival(up_pack(GATEWAY), envelope, START_MS + seq * PACK * MINUTE_S * 1000))
        if len(group) == 20:
            record(engine, group)
            group = []
    record(engine, group)
    ScanFollower(engine, lambda: _now_ms(size)).run_once()
    GapFollower(engine).run_once()
    return count


def _pack(seq: int, stream: bytes, prev: bytes | None, held: list[Observation]) -> Pack:
    return Pack(
        gateway=GATEWAY,
        stream=stream,
        seq=seq,
        prev=prev,
        sealed=held[-1].stamp,
        simulated=False,
        blocks=build_blocks(one for one in held if isinstance(one, Reading)),
        scans=[one for one in held if isinstance(one, Scan)],
    )


def _now_ms(size: Size) -> int:
    return START_MS + size.days * DAY_S * 1000


class Taken(NamedTuple):
    """Seconds of a clock on the wall, and of CPU: other work on the machine changes the first, hardly the second."""

    wall_s: float
    cpu_s: float


async def taken_by(app: FastAPI, path: str, times: int = 3) -> Taken:
    """How long the application takes for a page of somebody signed in; the medians."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench.test") as visitor:
        await visitor.post("/sign-in", data={"login": "official", "password": PASSWORD})
        taken = []
        for _ in range(times):
            began, used = time.perf_counter(), time.process_time()
            answer = await visitor.get(path)
            taken.append(Taken(time.perf_counter() - began, time.process_time() - used))
            if answer.status_code != 200 or not ("<table" in answer.text or "<figure" in answer.text):
                raise SystemExit(f"{path}: status {answer.status_code}, and not the page that was meant")
    return Taken(statistics.median(one.wall_s for one in taken), statistics.median(one.cpu_s for one in taken))


def measure(size: Size, folder: Path, *, quick: bool) -> list[Figure]:
    """Fill a database and ask for every page."""
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    migrate(engine)
    began = time.perf_counter()
    readings = fill(engine, size, folder)
    sys.stderr.write(f"{readings:,} readings and {size.lots} lots in {time.perf_counter() - began:.0f} s\n")
    app = create_app(engine, lambda: _now_ms(size), defaults(folder))
    found: list[Figure] = []

    def told(name: str, path: str, at_most: float | None = None, *, times: int = 3) -> None:
        taken = asyncio.run(taken_by(app, path, times))
        note = f"{taken.cpu_s:.2f} s of CPU"
        sys.stderr.write(f"{name}: {taken.wall_s:.2f} s, {note}\n")
        found.append(Figure(name, "coldproof", round(taken.wall_s, 2), "s", at_most=at_most, note=note, quick=quick))

    told(f"start page, {size.lots} lots, no line kept", "/", times=1)
    keeper = WorklistKeeper(engine, lambda: _now_ms(size))
    for _ in range(size.lots // LOTS_AT_ONCE + 1):
        keeper.step(for_s=600)
    told(f"start page, {size.lots} lots", "/", 0.5)
    told(f"lot page, {size.days} days × {size.sensors} sensors", lot_path(GTIN.zfill(14), LONG), 3.0)
    told(f"gateway page, {size.sensors + 2} series", f"/gateways/{GATEWAY}", 3.0)
    series = series_path(GATEWAY, "room-0/air")
    told("completeness of a series, 4 weeks", f"{series}?span=month", 3.0)
    told("completeness of a series, a year", f"{series}?span=year", 3.0)
    engine.dispose()
    return found


def table(figures: Sequence[Figure]) -> str:
    """The figures beside what they must be."""
    lines = ["| page | must (s) | seconds | |", "|---|---|---|---|"]
    for one in figures:
        bound = "" if one.at_most is None else f"≤ {one.at_most:g}"
        lines.append(f"| {one.name} | {bound} | {one.value:g} | {one.note} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, store, tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything; nothing is stored")
    quick = parser.parse_args().quick
    size = Size(3, 4, 50) if quick else Size(30, 10, 500)
    with tempfile.TemporaryDirectory(prefix="pages-") as name:
        found = measure(size, Path(name), quick=quick)
    if not quick:
        for one in found:
            stored = store(one, RESULTS)
        replace_between("<!-- pages: begin -->\n", "<!-- pages: end -->\n", "\n" + table(stored))
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
