"""kill -9 of the real ingest process at seeded points: run_cloud_kills.

A point is a fresh database and a gateway with PACKS chained packs. The ingest process dies once to three times, by
SIGKILL at the n-th hit of a phase (ingest_child.py):

    sql   SQL statements      io   between any two file operations of SQLite
    ack   around the acknowledgement of a message      receipt   around sending a receipt
    chore   around a step of a chore                   timer   anywhere

Before each life the gateway sends everything again that no receipt speaks of. In every third point it sends each pack
once and never again: then the broker's repeats alone have to do, so that an acknowledgement before its commit shows.
After each death the database is held against its promises: what a receipt said is there, fsck finds nothing, the
readings and scans that are shown are those of the packs, each once (audit.py). In the end one life takes in all the
rest and the chores finish: all packs are there, fsck still finds nothing, and all that is derived equals that of a
record that nothing happened to.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine, func, select

from bench.crash.audit import audit, differences, finish, projections
from bench.crash.chores import chores
from bench.crash.ingest_child import IngestLife
from bench.crash.life import IDENTITY, World
from bench.crash.nursery import ENDED, Nursery
from bench.crash.post import admit
from bench.crash.result import PointResult
from cloud.clock import system_now_ms
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest.record import Arrival, record
from cloud.keys import load_or_create
from coldproof.demo.broker import LocalBroker, free_port
from edge.buffer.ranges import unite
from wire import receipt as wire_receipt
from wire import topics
from wire.envelope import envelope_hash
from wire.pack import Pack, build_blocks, seal

PACKS = 40
READINGS, SCANS = 2, 1  # of each pack
RANGES = {"sql": (1, 260), "io": (1, 260), "ack": (1, 70), "receipt": (1, 24), "chore": (1, 60), "timer": (1, 200)}
CONNECTED_WITHIN_S, SETTLED_WITHIN_S, LAST_SETTLED_WITHIN_S = 30.0, 30.0, 240.0
LOOK_S = 0.005


class _Field:
    """A gateway's end of the broker: its packs out, the receipts that verify in."""

    def __init__(self, port: int, cloud_key: Ed25519PublicKey) -> None:
        self._cloud_key = cloud_key
        self._settled: dict[tuple[str, bytes], list[tuple[int, int]]] = {}
        self._lock = threading.Lock()
        self.problems: list[str] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="field", protocol=MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(topics.down_receipt("+"), 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        if not self._ready.wait(CONNECTED_WITHIN_S):
            raise RuntimeError("the field does not reach the broker")

    def publish(self, gateway: str, envelope: bytes) -> None:
        """Hand to the broker, without waiting for its word: it proves nothing."""
        self._client.publish(topics.up_pack(gateway), envelope, qos=1)

    def settled(self, gateway: str, stream: bytes) -> set[int]:
        """Every seq that a receipt has spoken of."""
        with self._lock:
            return {
                seq
                for first, last in self._settled.get((gateway, stream), [])
                for seq in range(first, min(last, 10 * PACKS) + 1)
            }

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        signed, letter = wire_receipt.unseal(bytes(message.payload))
        with self._lock:
            if not signed.is_signed_by(self._cloud_key):
                self.problems.append("a receipt is not signed by the cloud")
                return
            told = [(1, letter.through), *letter.ranges] if letter.through else list(letter.ranges)
            name = (letter.gateway, letter.stream)
            self._settled[name] = unite(self._settled.get(name, []), told)


class _Site:
    """What all points share: a broker, the field, an empty database to copy, and a process to fork from."""

    def __init__(self, folder: Path, nursery: Nursery, broker: LocalBroker) -> None:
        self.folder = folder
        self.nursery = nursery
        self.broker = broker
        self.empty = folder / "empty.db"
        engine = open_engine(sqlite_url(self.empty))
        migrate(engine)
        engine.dispose()
        self.field = _Field(broker.port, load_or_create(folder / "cloud").private.public_key())


def run_cloud_kills(count: int, seed: int, *, first: int = 0) -> list[PointResult]:
    """Points first … first + count - 1 of a seed."""
    with _site() as site:
        return [_Point(site, seed, point).run() for point in range(first, first + count)]


@contextmanager
def _site() -> Iterator[_Site]:
    with tempfile.TemporaryDirectory(prefix="cloud-") as name, Nursery("bench.crash.ingest_child") as nursery:
        broker = LocalBroker(Path(name), free_port())
        broker.start()
        try:
            site = _Site(Path(name), nursery, broker)
            try:
                yield site
            finally:
                site.field.close()
        finally:
            broker.stop()


class _Point:
    """One point: a gateway, its packs, a database."""

    def __init__(self, site: _Site, seed: int, number: int) -> None:
        self._site = site
        self._seed = seed
        self._number = number
        self._rng = random.Random(f"cloud {seed} {number}")
        self._gateway = f"gw-{number}"
        self._stream = self._rng.randbytes(16)
        self._sealed = self._seal()
        self._folder = site.folder / self._gateway
        self._sends_again = self._rng.random() < 2 / 3
        self._sent = False
        self._problems: list[str] = []
        self._doubled = 0

    def run(self) -> PointResult:
        """Kill, look, and in the end take in the rest."""
        began_s = time.monotonic()
        self._folder.mkdir()
        shutil.copytree(self._site.folder / "cloud", self._folder / "cloud")
        shutil.copy(self._site.empty, self._folder / "cloud.db")
        self._engine = open_engine(sqlite_url(self._folder / "cloud.db"))
        self._admit(self._engine)
        plan = []
        for _ in range(self._rng.randint(1, 3)):
            phase = self._rng.choice(list(RANGES))
            plan.append((phase, self._rng.randint(*RANGES[phase])))
            self._live(*plan[-1])
            self._check()
        self._live("none", 1)
        self._problems += self._derive()
        receipted = self._settled()
        stored = self._check()
        if self._sends_again and receipted != set(self._sealed):
            self._problems.append(f"{len(self._sealed) - len(receipted)} packs were never receipted")
        if stored != self._sealed:
            self._problems.append("what is stored is not what was sealed")
        self._engine.dispose()
        shutil.rmtree(self._folder)
        lost = len(self._sealed.keys() - stored.keys())
        each = READINGS + SCANS
        return PointResult(
            fault="cloud",
            seed=self._seed,
            point=self._number,
            plan=", then ".join(f"{phase} {count}" for phase, count in plan)
            + ("" if self._sends_again else ", sent once"),
            produced=PACKS * each,
            accepted=len(receipted) * each,
            delivered=len(stored) * each,
            lost=lost * each,
            doubled=self._doubled,
            problems=tuple(dict.fromkeys([*self._problems, *self._site.field.problems])),
            seconds=time.monotonic() - began_s,
        )

    def _seal(self) -> dict[int, bytes]:
        world = World(self._rng)
        sealed: dict[int, bytes] = {}
        for seq in range(1, PACKS + 1):
            pack = Pack(
                gateway=self._gateway,
                stream=self._stream,
                seq=seq,
                prev=envelope_hash(sealed[seq - 1]) if seq > 1 else None,
                sealed=world.stamp(),
                simulated=False,
                blocks=build_blocks([world.reading() for _ in range(READINGS)]),
                scans=[world.scan() for _ in range(SCANS)],
            )
            sealed[seq] = seal(pack, key=IDENTITY.key, kid=IDENTITY.kid)
        return sealed

    def _settled(self) -> set[int]:
        return self._site.field.settled(self._gateway, self._stream)

    def _live(self, phase: str, count: int) -> None:
        """One life of the ingest process; when it has got everything it dies anyway."""
        nursery = self._site.nursery
        nursery.begin(IngestLife(str(self._folder), self._site.broker.port, phase, count))
        words = nursery.hear()
        if words and words[0] == ENDED:  # before it could take anything
            return
        pid = int(words[1])
        self._send_unsettled()
        ends_s = time.monotonic() + (LAST_SETTLED_WITHIN_S if phase == "none" else SETTLED_WITHIN_S)
        while _is_alive(pid) and time.monotonic() < ends_s:
            if self._is_done():
                _kill(pid)
            time.sleep(LOOK_S)
        _kill(pid)
        nursery.wait()

    def _is_done(self) -> bool:
        """Whether all is receipted; a gateway that does not ask again may miss a receipt, so all stored will do."""
        if self._settled() == set(self._sealed):
            return True
        if self._sends_again:
            return False
        with reading(self._engine) as conn:
            return conn.scalar(select(func.count()).select_from(tables.pack)) == len(self._sealed)

    def _send_unsettled(self) -> None:
        """What a gateway does: everything without a receipt goes again, the newest first now and then."""
        if self._sent and not self._sends_again:
            return
        self._sent = True
        seqs = sorted(set(self._sealed) - self._settled(), reverse=self._rng.random() < 0.3)
        for seq in seqs:
            self._site.field.publish(self._gateway, self._sealed[seq])

    def _check(self) -> dict[int, bytes]:
        """The packs on the disk, after holding the database against everything it promises."""
        receipted = self._settled()
        found = audit(self._engine)
        stored = {seq: envelope for (_, _, seq), envelope in found.packs.items()}
        self._doubled += found.doubled
        self._problems += found.problems
        if not receipted <= set(stored):
            self._problems.append("a receipt spoke of a pack that is not there")
        return stored

    def _derive(self) -> list[str]:
        """Let the chores finish; where all that is derived differs from an undisturbed record."""
        try:
            finish(chores(self._engine, system_now_ms, self._folder / "cloud"))
            derived = projections(self._engine)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be derived any more
            return [f"the chores do not finish: {error!r}"]
        beside = self._folder / "undisturbed.db"
        shutil.copy(self._site.empty, beside)
        engine = open_engine(sqlite_url(beside))
        try:
            self._admit(engine)
            topic, now_ms = topics.up_pack(self._gateway), system_now_ms()
            record(engine, [Arrival(topic, envelope, now_ms) for envelope in self._sealed.values()])
            finish(chores(engine, system_now_ms, self._folder / "cloud"))
            return differences(projections(engine), derived)
        finally:
            engine.dispose()

    def _admit(self, engine: Engine) -> None:
        with writing(engine) as conn:
            admit(conn, [self._gateway], system_now_ms())


def _is_alive(pid: int) -> bool:
    """Whether the process runs; a killed one stays until its parent has looked, as `Z`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone, before or while it was read
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may end by itself at any moment
        os.kill(pid, signal.SIGKILL)
