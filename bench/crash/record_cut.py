"""Power cuts of the cloud's database at seeded points of a recorded life: run_record_cuts.

The real ingest worker takes in a seeded post (post.py) and the real chores work beside it, on a database whose every
write and sync is recorded (trace.py). A point is a place in that record: the power goes there, and a disk (disk.py) is
made up that holds what was synced and any part of the rest. The database is opened on it, and held against what the
outside had seen by then:

- it opens, undamaged; fsck finds nothing, and the readings and scans that are shown are those of the packs (audit.py);
- whatever was acknowledged to the broker is there: as a pack, a conflict, or in the quarantine;
- every number that a receipt has settled is there, or declared lost.

In a part of the points the cloud lives on and is cut again (power.py). In the end everything that was not acknowledged,
and every pack without a receipt, comes again, as from broker and gateways: then all packs are there, once, nothing else
is a pack, fsck finds nothing, and all that is derived equals that of a record which nothing ever happened to.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, Table, event, select

from bench.crash.audit import audit, differences, finish, projections
from bench.crash.chores import chores
from bench.crash.life import START_MS
from bench.crash.post import READINGS, SCANS, Letter, admit, post
from bench.crash.power import cut, lives, put_down
from bench.crash.result import PointResult
from bench.crash.trace import Recorder, Step
from cloud.config import IngestConfig
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.sqlite import writer_of
from cloud.ingest.subscriber import Delivery
from cloud.ingest.worker import IngestWorker
from cloud.keys import CloudKey, load_or_create
from wire import receipt as wire_receipt
from wire.receipt import Receipt

PACKS = 40
POINTS_PER_LIFE = 25  # recorded lives are shared by so many points
NEAR = ("acknowledged", "receipted", "sync", "sync_folder", "unlink", "truncate", "create")  # steps cuts fall beside
PRAGMAS = ["wal_autocheckpoint = 24"]  # pages, in place of 4,000: folding the log in is a dangerous moment
NOW_MS = START_MS + 86_400_000  # by when all of it is old enough to be folded
CHORE_SHARE = 0.5  # of the turns in which a chore does a step
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
Mark = Callable[[str, object], None]


class Seen(msgspec.Struct):
    """What the outside had seen before a cut."""

    acknowledged: set[bytes] = set()
    receipts: list[Receipt] = []

    def see(self, step: Step) -> None:
        """A step is done: if it is a mark, the outside has seen it."""
        if step.kind == "acknowledged":
            self.acknowledged.add(step.note)
        elif step.kind == "receipted":
            self.receipts.append(wire_receipt.unseal(step.note)[1])

    def settles(self, gateway: str, stream: bytes, seq: int) -> bool:
        """Whether a receipt said that this number is settled."""
        return any(one.gateway == gateway and one.stream == stream and one.settles(seq) for one in self.receipts)


class Line:
    """The worker's end of a broker that hands out letters in seeded groups, and tells what comes back.

    It has what the worker uses of a Subscriber. Chores do their steps between two groups, on the same thread: a record
    has one writer.
    """

    connected, one_of_several = True, False

    def __init__(
        self,
        letters: Sequence[Letter],
        rng: random.Random,
        mark: Mark,
        between: Callable[[], None],
        end: threading.Event,
    ) -> None:
        self._letters = list(letters)
        self._rng = rng
        self._mark = mark
        self._between = between
        self._end = end

    def collect(self, *, most: int, window_s: float, patience_s: float) -> list[Delivery]:  # noqa: ARG002
        """The next group; after the last one the end is near."""
        self._between()
        count = self._rng.randint(1, min(9, most))
        group, self._letters = self._letters[:count], self._letters[count:]
        if not group:
            self._end.set()
        return [Delivery(one.topic, one.payload, retained=False, mid=1, qos=1, connection=1) for one in group]

    def acknowledge(self, delivery: Delivery) -> None:
        """The broker forgets a letter."""
        self._mark("acknowledged", delivery.payload)

    def publish(self, _topic: str, payload: bytes) -> bool:
        """A gateway gets a receipt."""
        self._mark("receipted", payload)
        return True

    def flush(self, _within_s: float) -> bool:
        """All of it has gone."""
        return True


class _Cloud:
    """What all points share: a key, an empty database, a post, and what an undisturbed record of it looks like."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.keys = folder / "keys"
        self.key = load_or_create(self.keys)
        self.root = folder / "site"
        self.post = post(rng, PACKS)
        self.file = self.root / "data" / "cloud.db"
        self.file.parent.mkdir(parents=True)
        self._engine = open_engine(sqlite_url(self.file))
        for half in (self._engine, writer_of(self._engine)):
            event.listen(half, "connect", _fold_often)
        with self.opened() as engine:
            migrate(engine)
            with writing(engine) as conn:
                admit(conn, self.post.gateways, START_MS)
        self.empty = {str(self.file): self.file.read_bytes()}
        self._take_in(self.post.letters, random.Random(0))
        self.undisturbed = self.look()[1]

    @contextmanager
    def opened(self) -> Iterator[Engine]:
        """The database, opened anew: what is kept from one time to the next are compiled statements."""
        try:
            yield self._engine
        finally:
            self._engine.dispose()  # the last one out folds the log in and takes it away

    def record(self, content: dict[str, bytes], letters: Sequence[Letter], rng: random.Random) -> list[Step]:
        """Live on over this content; what was done to the files and what the outside saw."""
        put_down(self.root, content)
        with Recorder(self.root, rng) as recorder:
            self._take_in(letters, rng, recorder.mark)
        return recorder.steps

    def finish(self, letters: Sequence[Letter]) -> tuple[set[bytes], dict[str, object]]:
        """Take in the rest; which bytes are kept anywhere, and the projections."""
        self._take_in(letters, random.Random(1))
        return self.look()

    def look(self) -> tuple[set[bytes], dict[str, object]]:
        """Hashes of all bytes that are kept, and the projections."""
        with self.opened() as engine:
            with reading(engine) as conn:
                kept = _hashes(conn, tables.pack, tables.conflict, tables.quarantine)
            return kept, projections(engine)

    def _take_in(self, letters: Sequence[Letter], rng: random.Random, mark: Mark | None = None) -> None:
        """Letters through the real worker, chores beside it; without a record they do all there is to do."""
        end = threading.Event()
        with self.opened() as engine:
            working = chores(engine, lambda: NOW_MS, self.keys)

            def between() -> None:
                if rng.random() < CHORE_SHARE:
                    rng.choice(working).step(threading.Event())

            line = Line(letters, rng, mark or (lambda *_: None), between, end)
            _worker(engine, line, self.key).run(end)
            if mark is None:
                finish(working)


def _fold_often(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _hashes(conn: Connection, *kinds: Table) -> set[bytes]:
    return {digest for table in kinds for digest in conn.scalars(select(table.c.hash))}


def _worker(engine: Engine, line: Line, key: CloudKey) -> IngestWorker:
    config = IngestConfig(group_packs=9, group_window_ms=0, receipt_every_ms=0)
    return IngestWorker(engine, line, key=key, now=lambda: NOW_MS, config=config, rng=random.Random(1))


class _Life:
    """A life on record, as one point cuts it."""

    def __init__(self, cloud: _Cloud) -> None:
        self._cloud = cloud
        self.root = cloud.root
        self.seen = Seen()
        self.see = self.seen.see

    def live_on(self, content: dict[str, bytes], rng: random.Random) -> list[Step]:
        """The cloud starts again, and is sent what it did not take."""
        return self._cloud.record(content, self.again(), rng)

    def again(self) -> list[Letter]:
        """What broker and gateways send: what was not acknowledged, and packs that no receipt speaks of."""
        seen = self.seen
        return [
            letter
            for letter in self._cloud.post.letters
            if letter.payload not in seen.acknowledged or (letter.pack is not None and not seen.settles(*letter.pack))
        ]

    def look(self) -> list[str]:
        """The promises that the database breaks right after a cut."""
        try:
            with self._cloud.opened() as engine:
                found = audit(engine)
                with reading(engine) as conn:
                    kept = _hashes(conn, tables.conflict, tables.quarantine)
                    losses = conn.execute(select(tables.declared_loss)).all()
        except Exception as error:  # noqa: BLE001 - whatever it is, the cloud does not start
            return [f"the database does not open: {error!r}"]
        problems = list(found.problems)
        seen, post, stored = self.seen, self._cloud.post, set(found.packs.values())
        missing = [one for one in post.letters if one.payload in seen.acknowledged - stored and one.hash not in kept]
        if missing:
            problems.append(f"{len(missing)} letters were acknowledged and are not there")
        declared = {(row.gateway, row.stream, row.first_seq) for row in losses}
        problems += [
            f"a receipt speaks of seq {key[2]} of {key[0]}, which is not there"
            for key in [*post.sealed, *post.declared]
            if seen.settles(*key) and key not in found.packs and key not in declared
        ]
        if any(found.packs[key] != post.sealed.get(key) for key in found.packs):
            problems.append("a pack is stored that nobody sealed")
        return problems


def run_record_cuts(count: int, seed: int, *, first: int = 0) -> list[PointResult]:
    """Points first … first + count - 1 of a seed. Raises vfs.Unreachable where SQLite cannot be traced."""
    results: list[PointResult] = []
    for number, points in lives(first, count, POINTS_PER_LIFE):
        with tempfile.TemporaryDirectory(prefix="record-cut-", dir=MEMORY) as folder:
            cloud = _Cloud(Path(folder), random.Random(f"post {seed} {number}"))
            steps = cloud.record(cloud.empty, cloud.post.letters, random.Random(f"record {seed} {number}"))
            results += [_point(cloud, steps, seed, point) for point in points]
    return results


def _point(cloud: _Cloud, steps: list[Step], seed: int, point: int) -> PointResult:
    began_s = time.monotonic()
    life, sealed = _Life(cloud), cloud.post.sealed
    plan, problems = cut(life, steps, cloud.empty, random.Random(f"record cut {seed} {point}"), near=NEAR)
    lost = doubled = stored = 0
    try:
        kept, derived = cloud.finish(life.again())
        with cloud.opened() as engine:
            found = audit(engine)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be taken in any more
        problems.append(f"what comes again cannot be taken in: {error!r}")
        lost = len(sealed)
    else:
        lost, doubled, stored = len(sealed.keys() - found.packs.keys()), found.doubled, len(found.packs)
        problems += found.problems + differences(cloud.undisturbed, derived)
        if found.packs != sealed:
            problems.append("what is stored in the end is not what was sealed")
        if not {letter.hash for letter in cloud.post.letters} <= kept:
            problems.append("a letter is in none of record, conflicts and quarantine")
    each = READINGS + SCANS
    return PointResult(
        fault="record_cut",
        seed=seed,
        point=point,
        plan=plan,
        produced=len(sealed) * each,
        accepted=sum(letter.pack is not None for letter in cloud.post.letters) * each,
        delivered=stored * each,
        lost=lost * each,
        doubled=doubled,
        problems=tuple(dict.fromkeys(problems)),
        seconds=time.monotonic() - began_s,
    )
