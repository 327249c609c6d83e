"""The cloud's database is lost and an old backup put in its place: the gateways bring what is missing."""

from __future__ import annotations

import asyncio
import base64
import random
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, select

from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest import command, finding, quarantine
from cloud.ingest.chain import linked_through
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import load_or_create
from cloud.registry.keys import PublicHalf, add_gateway, keys_of
from cloud.telemetry import declared
from cloud.telemetry.query import readings
from edge.buffer.base import SealOptions
from edge.buffer.sqlite import SqliteBuffer
from edge.clock import SystemClock
from edge.uplink.base import UplinkOptions
from edge.uplink.uplink import Uplink
from tests.edge.buffer.material import KEY, START_MS, identity, make, stamp
from tests.edge.buffer.material import reading as measured

PACKS = 20
EARLY, LATE, DARK = 0, PACKS, 2 * PACKS  # when the backup was made, after it, and while the cloud was down


class Cloud:
    """A data folder and the ingest worker on it, stopped and started again as often as one likes."""

    def __init__(self, folder: Path, port: int) -> None:
        self.file = folder / "cloud.db"
        self.key = load_or_create(folder)
        self._port = port
        with self.opened() as engine:
            migrate(engine)
            raw = KEY.public_key().public_bytes_raw()
            with writing(engine) as conn:
                add_gateway(conn, PublicHalf("gw-1", base64.b64encode(raw).decode()), START_MS)

    @contextmanager
    def opened(self) -> Iterator[Engine]:
        engine = open_engine(sqlite_url(self.file))
        yield engine
        engine.dispose()

    @contextmanager
    def running(self) -> Iterator[IngestWorker]:
        """Ingest, until the block ends."""
        subscriber, stop = Subscriber(Link("127.0.0.1", self._port, "coldproof-ingest-1")), threading.Event()
        with self.opened() as engine:
            worker = IngestWorker(
                engine, subscriber, key=self.key, now=system_now_ms, config=IngestConfig(), rng=random.Random(1)
            )
            thread = threading.Thread(target=worker.run, args=(stop,), name="ingest")
            subscriber.open()
            thread.start()
            try:
                yield worker
            finally:
                stop.set()
                thread.join(15)
                subscriber.close()
                assert not thread.is_alive()

    def back_up(self, copy: Path) -> None:
        with closing(sqlite3.connect(self.file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

    def restore(self, copy: Path) -> None:
        for file in self.file.parent.glob("cloud.db*"):
            file.unlink()
        shutil.copy(copy, self.file)

    def stored(self) -> Counter[int]:
        """The number of each reading, and how often it counts."""
        with self.opened() as engine, reading(engine) as conn:
            rows = readings(conn, "gw-1", "room-1/air", START_MS, START_MS + 10**9)
        return Counter(row.mantissa for row in rows if row.mantissa is not None)

    def unanswered(self) -> int:
        """How many commands wait for an answer."""
        with self.opened() as engine, reading(engine) as conn:
            return len(command.unanswered(conn, "gw-1", 10))


class Gateway:
    """A real buffer and uplink; reading n travels in a pack of its own."""

    def __init__(self, buffer: SqliteBuffer, uplink: Uplink) -> None:
        self.buffer, self.uplink = buffer, uplink

    async def produce(self, first: int) -> None:
        await self.buffer.append([measured(n) for n in range(first, first + PACKS)])
        await self.buffer.seal(stamp(first + PACKS))
        self.uplink.notify()

    async def released(self) -> None:
        await until(lambda: self.buffer.state().unsent_packs == 0)


async def until(claim: Callable[[], bool], limit_s: float = 40) -> None:
    async with asyncio.timeout(limit_s):
        while not claim():
            await asyncio.sleep(0.05)


@pytest.fixture
def cloud(tmp_path: Path, broker: Any) -> Cloud:
    """A cloud that knows the gateway."""
    return Cloud(tmp_path / "cloud", broker.port)


@asynccontextmanager
async def running_gateway(folder: Path, cloud: Cloud, port: int) -> AsyncIterator[Gateway]:
    """A gateway that sends to this cloud, until the block ends."""
    options = UplinkOptions(host="127.0.0.1", port=port, cloud_key="-")
    async with make(folder, seal_options=SealOptions(max_readings=1)) as buffer:
        uplink = Uplink(
            options,
            buffer,
            SystemClock(),
            identity=identity(),
            cloud_key=cloud.key.private.public_key,
            rng=random.Random(5),
        )
        running = asyncio.create_task(uplink.run(), name="uplink")
        try:
            yield Gateway(buffer, uplink)
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled(), running.exception()


async def live_until_the_restore(gateway: Gateway, cloud: Cloud, backup: Path) -> None:
    """Send, back up, send on, go on while the cloud is down, and put the backup in its place."""
    with cloud.running():
        await gateway.produce(EARLY)
        await gateway.released()
        cloud.back_up(backup)
        await gateway.produce(LATE)
        await gateway.released()
    await gateway.produce(DARK)
    cloud.restore(backup)
    assert set(cloud.stored()) == set(range(EARLY, LATE)), "else nothing was lost, and the test proves nothing"


async def test_restored_cloud_gets_everything_back_once(cloud: Cloud, broker: Any, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, cloud, broker.port) as gateway:
        await live_until_the_restore(gateway, cloud, tmp_path / "backup.db")
        with cloud.running():
            await gateway.released()
            await until(lambda: len(cloud.stored()) == DARK + PACKS)
        counts, head = gateway.uplink.state().counts, gateway.buffer.state()
    assert cloud.stored() == Counter(range(DARK + PACKS)), "0 lost, 0 doubled"
    assert counts["commands"] >= 1
    assert {name: count for name, count in counts.items() if name.startswith("letters_") and count} == {}
    with cloud.opened() as engine, reading(engine) as conn:
        assert linked_through(conn, "gw-1", head.stream) == head.head_seq
        assert [one.finding.kind for one in finding.newest(conn, 10)] == [finding.CLOUD_BEHIND]
        (asked,) = command.newest(conn, 10)
        assert asked.ranges == [(LATE + 1, DARK)]
        assert conn.scalars(select(tables.conflict.c.id)).all() == []


async def test_two_key_changes_since_the_backup_come_back(cloud: Cloud, broker: Any, tmp_path: Path) -> None:
    """What the third key signed comes before anybody here knows the second one."""
    async with running_gateway(tmp_path, cloud, broker.port) as gateway:
        with cloud.running():
            await gateway.produce(EARLY)
            await gateway.released()
            cloud.back_up(tmp_path / "backup.db")
            for number, first in enumerate((LATE, DARK), 2):
                key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
                await gateway.buffer.change_key(identity(key=key), stamp(first))
                await gateway.produce(first)
                await gateway.released()
            assert len(cloud.stored()) == 3 * PACKS
        await gateway.produce(3 * PACKS)
        cloud.restore(tmp_path / "backup.db")
        with cloud.running():
            await until(lambda: len(cloud.stored()) == 4 * PACKS)
            await gateway.released()
    assert cloud.stored() == Counter(range(4 * PACKS)), "0 lost, 0 doubled"
    with cloud.opened() as engine, reading(engine) as conn:
        assert len(keys_of(conn, "gw-1")) == 3
        assert quarantine.total(conn) == 0


async def test_what_no_archive_has_any_more_is_declared_and_shown(cloud: Cloud, broker: Any, tmp_path: Path) -> None:
    gone = range(LATE, LATE + PACKS // 2)
    async with running_gateway(tmp_path, cloud, broker.port) as gateway:
        await live_until_the_restore(gateway, cloud, tmp_path / "backup.db")
    with sqlite3.connect(tmp_path / "buffer.db") as archive:  # as the byte bound does it: the oldest leave first
        archive.execute("DELETE FROM pack WHERE seq BETWEEN ? AND ?", (gone[0] + 1, gone[-1] + 1))
    archive.close()
    async with running_gateway(tmp_path, cloud, broker.port) as gateway:
        with cloud.running():
            await gateway.released()
            await until(lambda: gateway.buffer.state().pending_declarations > 0)
            await gateway.produce(DARK + PACKS)
            await gateway.released()
            await until(lambda: len(cloud.stored()) == DARK + 2 * PACKS - len(gone))
            await until(lambda: cloud.unanswered() == 0)
    assert cloud.stored() == Counter(set(range(DARK + 2 * PACKS)) - set(gone))
    with cloud.opened() as engine, reading(engine) as conn:
        (loss,) = declared.losses(conn, 10)
        (span,) = declared.spans(conn, "gw-1", "room-1/air", START_MS, START_MS + 10**9)
    assert (loss.kind, loss.first_seq, loss.last_seq) == ("lost", gone[0] + 1, gone[-1] + 1)
    assert (span.reason, span.left_out) == ("was receipted and has left the archive", None)
