"""Several ingest processes on one PostgreSQL: what one and two cost, and what it costs to kill one again and again.

    python -m bench.ingest.workers [--quick]

The server keeps its promises (fsync on). One worker is `cloud serve`; the second one is `cloud ingest --worker 2`
beside it. Then two of `cloud ingest` run under a steady load while one is killed (SIGKILL) every ten seconds and
started again. Gateways send again what no receipt has settled. In the end nothing may be lost, doubled or stuck.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import func, select

from bench.figure import Figure, store
from bench.fsck import complaints
from bench.ingest.__main__ import folder, say
from bench.ingest.load import LoadFile, Shape, make
from bench.ingest.publisher import Told
from bench.ingest.result import OURS, stamped, told
from bench.ingest.site import Site
from bench.postgres import Server
from bench.process import cost
from bench.report import HERE, replace_between
from cloud.db import tables
from cloud.db.engine import reading

RESULTS = HERE / "results" / "ingest_workers.json"
BEGIN, END = "<!-- workers: begin -->\n", "<!-- workers: end -->\n"
SUBSCRIBED = "broker link: subscribed"
READY_S = 60.0


class Crew:
    """The processes of `cloud ingest` over a site, by number; each has its log."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._begun: dict[int, int] = {}

    def start(self, number: int, *words: str) -> None:
        """Start a worker, or start it again as it was; returns when packs can come to it. words: more of its call."""
        name = self._name(number)
        if number in self._begun:
            self._site.stage.start_again(name)
        else:
            self._site.stage.start(name, "cloud", "ingest", str(self._site.config), "--worker", str(number), *words)
        self._begun[number] = self._begun.get(number, 0) + 1
        self._site.stage.wait_for(name, lambda: self.times_subscribed(number) >= self._begun[number], within_s=READY_S)

    def kill(self, number: int) -> None:
        """SIGKILL a worker. It has no time to say anything: what is counted is how often it was started."""
        self._site.stage.kill(self._name(number))
        self._begun[number] = self.times_subscribed(number)

    def stop(self, number: int) -> int:
        """Ask a worker to leave; its exit status."""
        return self._site.stage.stop(self._name(number))

    def wait_until(self, claim: Callable[[], bool]) -> None:
        """Wait for something while every worker lives."""
        self._site.stage.wait_for("the workers", claim, within_s=READY_S)

    def pid(self, number: int) -> int:
        """Of a running worker."""
        return self._site.stage.pid(self._name(number))

    def said(self, number: int) -> str:
        """Everything in a worker's log."""
        return (self._site.folder / "logs" / f"{self._name(number)}.log").read_text()

    def times_subscribed(self, number: int) -> int:
        """How often a worker said that packs can come."""
        return self.said(number).count(SUBSCRIBED)

    @staticmethod
    def _name(number: int) -> str:
        return f"worker-{number}"


class Kills(msgspec.Struct, frozen=True):
    """How a run with kills went. problems: what was lost, doubled or stuck, in words."""

    told: Told
    kills: int
    problems: list[str]


def run_kills(server: Server, load: Path, place: Path, *, every_s: float, rate: float, resend_s: float) -> Kills:
    """Two workers under a load, of which one at a time is killed every so often and started again."""
    with on_server(server, place) as site:
        site.admit(LoadFile(load))
        crew, rng, kills = Crew(site), random.Random(1), 0
        for number in (2, 3):
            crew.start(number)
        publisher = site.publisher(load, "--rate", f"{rate}", "--resend", f"{resend_s}")
        publisher.go()
        with ThreadPoolExecutor(1) as pool:
            went = pool.submit(publisher.wait)
            while not wait([went], timeout=every_s).done:
                number = rng.choice((2, 3))
                crew.kill(number)
                crew.start(number)
                kills += 1
        return Kills(went.result()[0], kills, problems(site, LoadFile(load)))


@contextmanager
def on_server(server: Server, place: Path) -> Iterator[Site]:
    """A site on a database of its own."""
    name = server.create()
    with Site(place, database_url=server.url(name)) as site:
        yield site
    server.drop(name)


def problems(site: Site, load: LoadFile) -> list[str]:
    """What of a load is not once in the record and settled as a whole; and what fsck says."""
    sent = {(load.heading.senders[one.sender].name, one.seq) for one in load.letters()}
    last = {name: max(seq for of, seq in sent if of == name) for name in {name for name, _ in sent}}
    with reading(site.engine) as conn:
        found = complaints(conn)
        stored = [(row.gateway, row.seq) for row in conn.execute(select(tables.pack.c.gateway, tables.pack.c.seq))]
        ranges = {
            row.gateway: (row.first_seq, row.last_seq)
            for row in conn.execute(select(tables.settled))
            if row.gateway in last
        }
        refused = conn.scalar(select(func.count()).select_from(tables.quarantine)) or 0
    if lost := sent - set(stored):
        found.append(f"{len(lost)} packs are lost: {sorted(lost)[:3]}")
    if len(stored) != len(set(stored)):
        found.append(f"{len(stored) - len(set(stored))} packs are doubled")
    if ranges != {name: (1, seq) for name, seq in last.items()}:
        found.append(f"settled is {ranges}")
    if refused:
        found.append(f"{refused} messages were refused")
    return found


def _rate(server: Server, load: Path, warm: Path, place: Path, workers: int) -> tuple[float, float, float]:
    """Readings per second, CPU seconds per million of the workers, and of the database server."""
    with on_server(server, place) as site:
        for file in (warm, load):
            site.admit(LoadFile(file))
        pids, crew = [site.start_cloud()], Crew(site)
        for number in range(2, workers + 1):
            crew.start(number)
            pids.append(crew.pid(number))
        first = site.publisher(warm)
        first.go()
        first.wait()
        publisher = site.publisher(load)
        before, server_before = sum(cost(pid).cpu_s for pid in pids), server.cpu_s()
        publisher.go()
        went, _ = publisher.wait()
        used, server_used = sum(cost(pid).cpu_s for pid in pids) - before, server.cpu_s() - server_before
        total = LoadFile(load).heading.shape.total
        if went.settled != went.letters or site.stored() != total + LoadFile(warm).heading.shape.total:
            raise SystemExit(f"{went.settled} of {went.letters} letters are settled, {site.stored()} readings stored")
    return total / went.seconds, used / total * 1e6, server_used / total * 1e6


def _rates(server: Server, *, quick: bool) -> Iterator[Figure]:
    times = 1 if quick else 3
    with folder() as path:
        make(Shape(20, 1_000 if quick else 3_000, 100, 20), path / "packs")
        make(Shape(20, 200, 100, 20), path / "warm", prefix="warm", seed=2)
        for workers in (1, 2):
            runs = []
            for at in range(times):
                runs.append(_rate(server, path / "packs", path / "warm", path / f"{workers}-{at}", workers))
                say(f"{workers} on PostgreSQL: {runs[-1][0]:,.0f}/s, {runs[-1][1]:.2f} + {runs[-1][2]:.2f} CPU s/M")
            rate, ours, theirs = (statistics.median(run[part] for run in runs) for part in range(3))
            note = f"of {times} runs: {', '.join(f'{run[0]:,.0f}' for run in runs)}"
            name = f"PostgreSQL, 100 readings per pack, {workers} worker{'s' if workers > 1 else ''}"
            yield Figure(f"{name}: rate", OURS, round(rate), "readings/s", note=note)
            note = f"PostgreSQL {theirs:.2f}"
            yield Figure(f"{name}: CPU of the ingest processes", OURS, round(ours, 2), "s per million", note=note)


def _killed(server: Server, *, quick: bool) -> Iterator[Figure]:
    seconds, rate = (20 if quick else 60), 200
    with folder() as path:
        make(Shape(20, seconds * rate, 100, 20), path / "packs")
        went = run_kills(server, path / "packs", path / "site", every_s=10, rate=rate, resend_s=30)
    for problem in went.problems:
        say(f"MISSED: {problem}")
    note = (
        f"{went.kills} kills, {went.told.letters} packs at {rate}/s, {went.told.again} sent again, all settled after "
    )
    note += f"{went.told.seconds:.0f} s"
    name = "PostgreSQL, two workers, one killed every 10 s: lost, doubled or stuck"
    yield Figure(name, OURS, len(went.problems) + went.told.letters - went.told.settled, "", at_most=0, note=note)


def _table(figures: Sequence[Figure]) -> str:
    """No peer stands beside these."""
    lines = ["| figure | target | measured | |", "|---|---|---|---|"]
    for one in figures:
        bound = "" if one.at_most is None else f"≤ {one.at_most:,g}"
        own = f"{one.value:,g} {one.unit}".strip() if one.holds else f"**missed:** {one.value:,g} {one.unit}"
        lines.append(f"| {one.name} | {bound} | {own} | {one.note} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, tell and keep; 1 when something was lost, doubled or stuck."""
    options = argparse.ArgumentParser(prog="python -m bench.ingest.workers", description=__doc__)
    options.add_argument("--quick", action="store_true", help="the short form, kept nowhere")
    quick = options.parse_args().quick
    server, missed = Server(durable=True), False
    try:
        for part in (_rates, _killed):
            for figure in part(server, quick=quick):
                print(told(figure), flush=True)
                missed = missed or not figure.holds
                if not quick:
                    figures = store(stamped(figure, time.strftime("%Y-%m-%d"), quick=quick), RESULTS)
                    replace_between(BEGIN, END, "\n" + _table(figures), HERE / "README.md")
    finally:
        server.remove()
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
