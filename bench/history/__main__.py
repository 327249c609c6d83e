"""What history costs: `make bench-history`. A year of ten sensors in ours, folded, and in a real VictoriaMetrics.

Both hold the same values. Asked of both is the envelope (min, max, mean) of 1,000 buckets over the year, of one sensor
and of all: ours from the database to JSON, VictoriaMetrics over HTTP, the faster of one query and of three.
Ours is held against adding up every value by hand. Results: bench/results/history.json, and the table in
bench/README.md.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import Engine, func, select

from bench.faults.row import OURS
from bench.figure import Figure, store, table
from bench.history.load import Series, Store, noisy, real
from bench.history.victoria import Victoria, victoria
from bench.report import HERE, replace_between
from cloud.db.engine import open_engine, reading, sqlite_url
from cloud.db.tables import chunk, chunk_body
from cloud.telemetry import body as chunk_bodies
from cloud.telemetry.envelope import Envelope, envelope, grid

RESULTS = HERE / "results" / "history.json"
BEGIN, END = "<!-- history: begin -->\n", "<!-- history: end -->\n"
PEER = "VictoriaMetrics"
SENSORS, YEAR_MINUTES = 10, 525_600
BUCKETS = 1_000
ROWS = 100  # of each series in a pack
TIMES = 15  # the median is told


def ask(engine: Engine, several: Sequence[Series]) -> tuple[list[Envelope], bytes]:
    """Envelopes of whole series, and the same as JSON."""
    start, end = int(several[0].times_ms[0]), int(several[0].times_ms[-1]) + 1
    with reading(engine) as conn:
        found = [one for of in several for one in envelope(conn, "gw-1", of.channel, start, end, buckets=BUCKETS)]
    return found, msgspec.json.encode(found)


def ask_peer(server: Victoria, several: Sequence[Series]) -> bytes:
    """The same of VictoriaMetrics: min, max and mean in one query."""
    sensors = "|".join(one.channel for one in several)
    start, end = int(several[0].times_ms[0]), int(several[0].times_ms[-1]) + 1
    first, last, width_ms = grid(start, end, BUCKETS)
    step_s = width_ms // 1000
    query = f'rollup(air{{sensor=~"{sensors}"}}[{step_s}s])'
    return server.query_range(query, first + width_ms - 1, last - 1, step_s)


def ask_thrice(server: Victoria, several: Sequence[Series]) -> None:
    """The same as three queries, which is faster for some servers."""
    start, end = int(several[0].times_ms[0]), int(several[0].times_ms[-1]) + 1
    first, last, width_ms = grid(start, end, BUCKETS)
    step_s, sensors = width_ms // 1000, "|".join(one.channel for one in several)
    for of in ("min", "max", "avg"):
        query = f'{of}_over_time(air{{sensor=~"{sensors}"}}[{step_s}s])'
        server.query_range(query, first + width_ms - 1, last - 1, step_s)


def exact(found: Sequence[Envelope], several: Sequence[Series]) -> int:
    """How many buckets there are, after each was held against its values."""
    for one, of in zip(found, several, strict=True):
        where = of.times_ms // one.width_ms * one.width_ms
        expected = []
        for at in np.unique(where).tolist():
            values = of.mantissas[where == at]
            expected.append((at, len(values), int(values.min()), int(values.max()), int(values.sum())))
        seen = [(each.from_ms, each.count, each.min, each.max, each.sum) for each in one.buckets]
        if seen != expected:
            raise RuntimeError(f"{of.channel}: buckets are not what their values add up to")
    return sum(len(one.buckets) for one in found)


def sizes(engine: Engine) -> tuple[float, float]:
    """Bytes per reading of bodies, and with the hours."""
    with reading(engine) as conn:
        readings, hours = conn.execute(select(func.sum(chunk.c.count), func.sum(func.length(chunk.c.hours)))).one()
        bodies = conn.scalar(select(func.sum(func.length(chunk_body.c.body)))) or 0
    return bodies / readings, (bodies + (hours or 0)) / readings


def decode_rate(engine: Engine) -> float:
    """Readings per second that come out of bodies, as columns."""
    with reading(engine) as conn:
        bodies = conn.scalars(select(chunk_body.c.body).limit(500)).all()
    began = time.process_time()
    readings = sum(len(chunk_bodies.decode(one).mantissa) for one in bodies)
    return readings / (time.process_time() - began)


def medians_ms(*works: Callable[[], object]) -> list[float]:
    """Of TIMES runs of each, after one that warms up; by turns, so that whatever else the machine does meets all."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(TIMES + 1):
        for work, of_it in zip(works, taken, strict=True):
            began = time.perf_counter()
            work()
            of_it.append((time.perf_counter() - began) * 1000)
    return [statistics.median(of_it[1:]) for of_it in taken]


def measure(several: Sequence[Series], folder: Path) -> Iterator[Figure]:
    """Every figure of ours and of VictoriaMetrics, on the same values."""
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    ours = Store(engine)
    total = sum(len(one.times_ms) for one in several)
    print(f"{total:,} readings into ours …", flush=True)
    ours.load(several, ROWS)
    seconds = ours.fold()
    yield Figure(
        "folding", OURS, round(seconds / total * 1e6, 2), "CPU s per million readings", note=f"packs of {ROWS}"
    )
    body, with_hours = sizes(engine)
    yield Figure(
        "noisy simulated data", OURS, round(with_hours, 2), "B per reading", at_most=3, note=f"rows {body:.2f}"
    )
    yield Figure("chunks to columns", OURS, round(decode_rate(engine) / 1e6, 1), "million readings/s")
    with victoria() as server:
        print(f"{total:,} readings into VictoriaMetrics …", flush=True)
        for one in several:
            server.load(one.channel, one.times_ms.tolist(), (one.mantissas / 100).tolist())
        server.settle()
        yield Figure("noisy simulated data", PEER, round(server.size_bytes / total, 2), "B per reading")
        for name, some, factor in (("one sensor", several[:1], 1.0), ("ten sensors", several, 1.5)):
            count = exact(ask(engine, some)[0], some)
            own_ms, *peers_ms = medians_ms(
                partial(ask, engine, some), partial(ask_peer, server, some), partial(ask_thrice, server, some)
            )
            peer_ms = min(peers_ms)
            yield Figure(f"envelope, {name}", PEER, round(peer_ms, 1), "ms")
            at_most = round(peer_ms * factor, 1)
            note = f"{count:,} buckets, exact"
            yield Figure(f"envelope, {name}", OURS, round(own_ms, 1), "ms", at_most=at_most, note=note)
    engine.dispose()


def measure_small(several: Sequence[Series], rows: int, name: str, folder: Path) -> Figure:
    """Bytes per reading when packs bring so many rows of a series."""
    engine = open_engine(sqlite_url(folder / f"{name.replace(' ', '-')}.db"))
    ours = Store(engine)
    ours.load(several, rows)
    ours.fold()
    body, with_hours = sizes(engine)
    engine.dispose()
    return Figure(name, OURS, round(with_hours, 2), "B per reading", at_most=3, note=f"rows {body:.2f}")


def main() -> int:
    """Measure, print, store; 1 where a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="36 days instead of a year")
    parser.add_argument("--readme", action="store_true", help="renew the table in bench/README.md")
    asked = parser.parse_args()
    logging.getLogger("cloud").setLevel(logging.CRITICAL)  # packs here are not chained
    at = datetime.now(UTC).isoformat(timespec="seconds")
    missed, stored = 0, []
    with tempfile.TemporaryDirectory(prefix="coldproof-history-") as name:
        folder = Path(name)
        for figure in _all(folder, quick=asked.quick):
            bound = (
                ""
                if figure.at_most is None
                else f" (at most {figure.at_most:g}: {'holds' if figure.holds else 'MISSED'})"
            )
            print(f"{figure.name} [{figure.system}]: {figure.value:,g} {figure.unit}{bound} {figure.note}", flush=True)
            missed += not figure.holds
            stored = store(msgspec.structs.replace(figure, at=at, quick=asked.quick), RESULTS)
    if asked.readme:
        replace_between(BEGIN, END, "\n" + table(stored, peer=PEER, short="short form"))
    return 1 if missed else 0


def _all(folder: Path, *, quick: bool) -> Iterator[Figure]:
    yield from measure(noisy(YEAR_MINUTES // 10 if quick else YEAR_MINUTES, SENSORS), folder)
    week = noisy(7 * 1440, SENSORS)
    for rows in (1, 5):
        yield measure_small(week, rows, f"noisy simulated data, {rows} per block", folder)
    if store_logs := real():
        yield measure_small(store_logs, 4, "real cold-store logs, 15 min", folder)


if __name__ == "__main__":
    raise SystemExit(main())
