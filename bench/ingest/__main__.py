"""What ingest costs: `make bench-ingest`. Packs sealed beforehand → mosquitto → the real cloud, and a peer beside it.

Results: bench/results/ingest.json, and the table in bench/README.md.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.broker import Mosquitto
from bench.figure import Figure, store
from bench.ingest.load import LoadFile, Shape, make
from bench.ingest.result import BARE, OURS, RESULTS, stamped, told, write_readme
from bench.ingest.site import Publisher, Site
from bench.process import cost

SAMPLE_S = 1.0
WARM_PACKS = 200
WARM_S = 60
UNSETTLED = 1_000  # letters of a gateway without a receipt in the long run: seconds of work, less than they wait


class Spent(NamedTuple):
    """What a run took: CPU seconds of each process, and bytes that the receiving one wrote to the disk."""

    readings: int
    seconds: float
    ingest_s: float
    broker_s: float
    publisher_s: float
    written_bytes: int
    compaction_s: float = 0.0

    @property
    def rate(self) -> float:
        """Readings per second."""
        return self.readings / self.seconds

    @property
    def ingest_per_million(self) -> float:
        """CPU seconds of the ingest process per million readings."""
        return self.ingest_s / self.readings * 1e6

    @property
    def folded_per_million(self) -> float:
        """The same with the compaction of these readings."""
        return (self.ingest_s + self.compaction_s) / self.readings * 1e6

    @property
    def per_million(self) -> float:
        """CPU seconds of all processes per million readings."""
        return (self.ingest_s + self.broker_s + self.publisher_s) / self.readings * 1e6

    @property
    def note(self) -> str:
        """CPU of the others, and what went to the disk."""
        each = ((self.broker_s, "broker"), (self.publisher_s, "publisher"))
        used = ", ".join(f"{name} {used / self.readings * 1e6:.2f}" for used, name in each)
        return f"{used}; {self.written_bytes / self.readings:.0f} B per reading to the disk"


class _Run(NamedTuple):
    quick: bool
    shipped: bool
    times: int

    def packs(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that goes away."""
    path = Path(tempfile.mkdtemp(prefix="coldproof-ingest-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def ours(packs: Path, warm: Path, place: Path, *, shipped: bool = False) -> Spent:
    """One run of the real cloud over a file of packs, from the first letter to the last signed receipt."""
    load, warming = LoadFile(packs), LoadFile(warm)
    with Site(place, shipped=shipped) as site:
        tls = site.admit(load)
        site.admit(warming)
        pid = site.start_cloud()
        first = site.publisher(warm, tls=tls)
        first.go()
        first.wait()
        publisher = site.publisher(packs, tls=tls)
        before, broker_before = cost(pid), site.broker_cost()
        publisher.go()
        went, publisher_s = publisher.wait()
        after, broker_after = cost(pid), site.broker_cost()
        expected = load.heading.shape.total + warming.heading.shape.total
        if went.settled != went.letters or site.stored() != expected:
            raise SystemExit(f"{site.stored()} of {expected} readings are stored, {went.settled} letters settled")
        compaction_s = site.compact()
    return Spent(
        load.heading.shape.total,
        went.seconds,
        after.cpu_s - before.cpu_s,
        broker_after.cpu_s - broker_before.cpu_s,
        publisher_s,
        after.written_bytes - before.written_bytes,
        compaction_s,
    )


def bare(arrays: Path, place: Path) -> Spent:
    """One run of the peer over the same values, from the first message to the last commit."""
    place.mkdir(parents=True)
    load, broker = LoadFile(arrays), Mosquitto(place)
    broker.start()
    shape = load.heading.shape
    words = [str(broker.port), str(place / "bare.db"), str(shape.packs)]
    peer = subprocess.Popen(
        [sys.executable, "-m", "bench.ingest.bare", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert peer.stdout is not None
        if peer.stdout.readline().strip() != "ready":
            raise SystemExit("the peer did not start")
        publisher = Publisher(arrays, broker.port, [])
        before, broker_before = cost(peer.pid), cost(broker.pid)
        publisher.go()
        _, publisher_s = publisher.wait()
        seconds = float(peer.stdout.readline())
        after, broker_after = cost(peer.pid), cost(broker.pid)
    finally:
        peer.kill()
        peer.wait()
        broker.stop()
    used = after.cpu_s - before.cpu_s
    written = after.written_bytes - before.written_bytes
    return Spent(shape.total, seconds, used, broker_after.cpu_s - broker_before.cpu_s, publisher_s, written)


def _compared(run: _Run, name: str, shape: Shape) -> tuple[list[Spent], list[Spent]]:
    """Both systems in turn over the same values."""
    own, peers = [], []
    with folder() as path:
        made = make(shape, path / "packs", path / "arrays")
        make(Shape(shape.gateways, WARM_PACKS, shape.readings, shape.series), path / "warm", prefix="warm", seed=2)
        say(f"{name}: {shape.packs:,} packs, {made.payload_bytes / shape.total:.2f} bytes per reading")
        for at in range(run.times):
            own.append(ours(path / "packs", path / "warm", path / f"ours-{at}", shipped=run.shipped))
            say(f"{name}: ours {own[-1].rate:,.0f}/s, {own[-1].ingest_per_million:.2f} CPU s/M ({own[-1].note})")
            peers.append(bare(path / "arrays", path / f"bare-{at}"))
            say(f"{name}: bare {peers[-1].rate:,.0f}/s, {peers[-1].ingest_per_million:.2f} CPU s/M ({peers[-1].note})")
            shutil.rmtree(path / f"ours-{at}")
            shutil.rmtree(path / f"bare-{at}")
    return own, peers


def say(text: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _of_ingest(one: Spent) -> float:
    return one.ingest_per_million


def _of_all(one: Spent) -> float:
    return one.per_million


def _median(spent: list[Spent], what: Callable[[Spent], float], digits: int = 2) -> float:
    return round(statistics.median(what(one) for one in spent), digits)


def _hundred(run: _Run) -> Iterator[Figure]:
    """100 readings per pack, of a device with 5 values."""
    yield from _throughput(run, 5)


def _hundred_of_20(run: _Run) -> Iterator[Figure]:
    """100 readings per pack of 20 series: as many as a pack of this size is meant to have, and the most work."""
    yield from _throughput(run, 20)


def _throughput(run: _Run, series: int) -> Iterator[Figure]:
    own, peers = _compared(run, f"100 per pack, {series} series", Shape(20, run.packs(10_000, 1_500), 100, series))
    name = f"100 readings per pack ({series} series)"
    yield Figure(
        f"{name}: rate",
        OURS,
        _median(own, lambda one: one.rate, 0),
        "readings/s",
        at_least=100_000,
        note=f"of {run.times} runs: {', '.join(f'{one.rate:,.0f}' for one in own)}",
    )
    yield Figure(f"{name}: rate", BARE, _median(peers, lambda one: one.rate, 0), "readings/s")
    beside = _median(peers, lambda one: one.ingest_per_million)
    figure = _median(own, lambda one: one.ingest_per_million)
    note = own[-1].note
    yield Figure(f"{name}: CPU of the receiving process", OURS, figure, "s per million", at_most=beside, note=note)
    yield Figure(f"{name}: CPU of the receiving process", BARE, beside, "s per million", note=peers[-1].note)
    folded, bound = _median(own, lambda one: one.folded_per_million), round(1.3 * beside, 2)
    yield Figure(f"{name}: CPU with compaction", OURS, folded, "s per million", at_most=bound)


def _twenty(run: _Run) -> Iterator[Figure]:
    """20 readings per pack, a device of two series each."""
    own, peers = _compared(run, "20 per pack", Shape(20, run.packs(10_000, 2_500), 20, 2))
    name = "20 readings per pack (a device of 2 series)"
    yield Figure(
        f"{name}: rate",
        OURS,
        _median(own, lambda one: one.rate, 0),
        "readings/s",
        at_least=30_000,
        note=f"of {run.times} runs: {', '.join(f'{one.rate:,.0f}' for one in own)}",
    )
    yield Figure(f"{name}: rate", BARE, _median(peers, lambda one: one.rate, 0), "readings/s")
    for what, figure, peer, target in (
        ("CPU of the receiving process", own, peers, 26.0),
        ("CPU of all processes", own, peers, 32.0),
    ):
        value = _of_all if "all" in what else _of_ingest
        note = own[-1].note if "all" in what else ""
        yield Figure(f"{name}: {what}", OURS, _median(figure, value), "s per million", at_most=target, note=note)
        yield Figure(f"{name}: {what}", BARE, _median(peer, value), "s per million")


def _storage(run: _Run) -> Iterator[Figure]:
    """Bytes of a sealed pack per reading."""
    for readings, series, target in ((100, 5, 9.0), (100, 20, 9.0), (20, 2, 25.0), (20, 10, 25.0), (20, 20, 25.0)):
        with folder() as path:
            made = make(Shape(20, run.packs(2_000, 500), readings, series), path / "packs")
        value = round(made.payload_bytes / made.shape.total, 2)
        yield Figure(
            f"envelope, {readings} readings over {series} series", OURS, value, "B per reading", at_most=target
        )


def _memory(run: _Run) -> Iterator[Figure]:
    """Whether the ingest process grows over a long run."""
    shape = Shape(20, run.packs(450_000, 20_000), 100, 5)
    with folder() as path:
        say(f"memory: {shape.packs:,} packs are sealed; this takes minutes")
        make(shape, path / "packs")
        load = LoadFile(path / "packs")
        with Site(path / "site", shipped=run.shipped) as site:
            tls = site.admit(load)
            pid = site.start_cloud()
            publisher = site.publisher(path / "packs", "--unsettled", str(UNSETTLED), tls=tls)
            publisher.go()
            samples, counted = [], 0
            while publisher.runs:
                samples.append(cost(pid).rss_mb)
                if len(samples) == WARM_S:
                    counted = site.stored()
                if len(samples) % 30 == 0:
                    say(f"memory: {samples[-1]} MB")
                time.sleep(SAMPLE_S)
            went, _ = publisher.wait()
    # By then every chore has had its turns, and each connection its pages.
    steady = samples[WARM_S:] or samples[len(samples) // 2 :]
    middle = statistics.median(steady)
    spread = max(max(steady) - middle, middle - min(steady)) / middle * 100
    late = f"{shape.total - counted:,} of them after the first minute"
    span = f"{min(steady)} to {max(steady)} MB around {middle:.1f}"
    note = f"{shape.total:,} readings in {went.seconds:.0f} s, {late}: {span}"
    yield Figure(
        "memory of the ingest process over a long run", OURS, round(spread, 1), "% apart", at_most=10, note=note
    )


_PARTS: dict[str, Callable[[_Run], Iterator[Figure]]] = {
    "storage": _storage,
    "hundred": _hundred,
    "hundred-of-20": _hundred_of_20,
    "twenty": _twenty,
    "memory": _memory,
}


def main() -> int:
    """The exit status: 0 when every target of ours is met."""
    options = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer packs, one run of each")
    options.add_argument("--only", nargs="*", default=[], choices=[*_PARTS], help="these parts")
    options.add_argument("--memory", action="store_true", help="only the long run that watches memory")
    options.add_argument("--shipped", action="store_true", help="the broker configuration we ship, with TLS")
    options.add_argument("--times", type=int, default=0, help="runs of each; the median counts")
    options.add_argument("--readme", action="store_true", help="renew the table in bench/README.md")
    options.add_argument("--results", type=Path, default=RESULTS)
    chosen = options.parse_args()
    only = ["memory"] if chosen.memory else chosen.only or [name for name in _PARTS if name != "memory"]
    run = _Run(chosen.quick, chosen.shipped, chosen.times or (1 if chosen.quick else 5))
    figures: list[Figure] = []
    missed = False
    for name in only:
        for one in _PARTS[name](run):
            figure = stamped(one, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), quick=run.quick)
            print(told(figure), flush=True)
            missed = missed or not figure.holds
            figures = store(figure, chosen.results)
    if chosen.readme:
        write_readme(figures)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
