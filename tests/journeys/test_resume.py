"""A gateway and the cloud, both real, and a broker that goes and comes back: delivery resumes within 2 s."""

from __future__ import annotations

import asyncio
import base64
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import CloudKey, load_or_create
from cloud.registry.keys import PublicHalf, add_gateway
from tests.edge.buffer.material import KEY
from tests.edge.uplink.conftest import run_gateway

RESUME_S = 2.0
SLACK_S = 1.0  # a busy machine; the fault bench measures without it


class Cloud:
    """One ingest worker with a record of its own."""

    def __init__(self, folder: Path, broker: Any) -> None:
        self.engine: Engine = open_engine(sqlite_url(folder / "cloud.db"))
        migrate(self.engine)
        public = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
        with writing(self.engine) as conn:
            add_gateway(conn, PublicHalf("gw-1", public, False), system_now_ms())
        self.key: CloudKey = load_or_create(folder / "cloud")
        self._broker = broker
        self.start()

    def start(self) -> None:
        self.subscriber = Subscriber(Link(self._broker.host, self._broker.port, "ingest-1"))
        self.worker = IngestWorker(
            self.engine,
            self.subscriber,
            key=self.key,
            now=system_now_ms,
            config=IngestConfig(),
            rng=random.Random(1),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.worker.run, args=(self._stop,), name="ingest")
        self.subscriber.open()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self.subscriber.close()

    @property
    def packs(self) -> int:
        """Packs in the record."""
        with reading(self.engine) as conn:
            return conn.execute(select(func.count()).select_from(tables.pack)).scalar_one()


@pytest.fixture
def cloud(tmp_path: Path, broker: Any) -> Iterator[Cloud]:
    """A running cloud."""
    running = Cloud(tmp_path, broker)
    yield running
    running.stop()
    running.engine.dispose()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_first_pack_is_in_the_record_within_2_s_of_the_brokers_return(
    tmp_path: Path, broker: Any, cloud: Cloud, end: str
) -> None:
    """The broker keeps nothing: who comes back before the cloud has subscribed speaks to nobody, and must notice."""
    took: list[float] = []
    gateway_key = cloud.key.private.public_key
    async with run_gateway(tmp_path / "gateway", broker.port, cloud_key_of=gateway_key) as gateway:
        await gateway.produce(4)
        await gateway.all_released()
        for _ in range(5):
            await asyncio.to_thread(getattr(broker, end))
            await gateway.produce(6)
            await asyncio.sleep(random.Random(len(took)).uniform(1.0, 2.5))
            before = cloud.packs
            await asyncio.to_thread(broker.start)
            began = time.monotonic()
            await gateway.until(lambda before=before: cloud.packs > before)
            took.append(time.monotonic() - began)
            await gateway.all_released(20)
        nobody = gateway.uplink.state().counts.get("taken_for_nobody", 0)
    print(f"resumed after s: {[round(each, 2) for each in took]}; given to nobody: {nobody}")
    assert max(took) <= RESUME_S + SLACK_S
    assert sorted(took)[len(took) // 2] <= RESUME_S
    assert cloud.packs == gateway.produced


async def test_a_cloud_that_was_away_gets_what_was_given_to_nobody(tmp_path: Path, broker: Any, cloud: Cloud) -> None:
    gateway_key = cloud.key.private.public_key
    await asyncio.to_thread(cloud.stop)
    await asyncio.to_thread(broker.stop)  # with it goes the cloud's session
    await asyncio.to_thread(broker.start)
    async with run_gateway(tmp_path / "gateway", broker.port, cloud_key_of=gateway_key) as gateway:
        await gateway.produce(20)
        await gateway.until(lambda: gateway.uplink.state().counts.get("taken_for_nobody", 0) >= 3)
        sent = gateway.uplink.state().counts
        assert sent["packs_sent"] <= 4, "history waits while nobody takes it"
        cloud.start()
        began = time.monotonic()
        await gateway.until(lambda: cloud.packs > 0)
        assert time.monotonic() - began < RESUME_S + SLACK_S
        await gateway.all_released(20)
    assert cloud.packs == 20
