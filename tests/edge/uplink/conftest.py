"""A gateway's buffer and uplink against a real broker and a small cloud."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.buffer.base import SealOptions
from edge.buffer.sqlite import SqliteBuffer
from edge.clock import SystemClock
from edge.uplink.base import UplinkOptions
from edge.uplink.uplink import Uplink
from tests.edge.buffer.material import KEY, identity, make, reading, stamp
from tests.edge.uplink.fake_cloud import CLOUD_KEY, FakeCloud


@pytest.fixture
def cloud(broker: Any) -> Iterator[FakeCloud]:
    """A cloud that listens."""
    made = FakeCloud(broker.host, broker.port, KEY.public_key())
    assert made.ready.wait(5)
    yield made
    made.close()


class Gateway:
    """Buffer and uplink; `produce` appends readings and seals one pack of each."""

    def __init__(self, buffer: SqliteBuffer, uplink: Uplink) -> None:
        self.buffer = buffer
        self.uplink = uplink
        self.produced = 0

    async def produce(self, packs: int) -> None:
        await self.buffer.append([reading(n) for n in range(self.produced, self.produced + packs)])
        self.produced += packs
        await self.buffer.seal(stamp(self.produced))
        self.uplink.notify()

    async def until(self, claim: Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until a claim holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not claim():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"never came true: {self.uplink.state()} {self.buffer.state()}")

    async def all_released(self, timeout_s: float = 10) -> None:
        await self.until(lambda: self.buffer.state().unsent_packs == 0, timeout_s)


@asynccontextmanager
async def run_gateway(
    folder: Path,
    port: int,
    *,
    cloud_key_of: Callable[[], Ed25519PublicKey] = CLOUD_KEY.public_key,
    floor_ms: Callable[[], int] | None = None,
    max_readings: int = 1,
    **named: Any,
) -> AsyncIterator[Gateway]:
    """A running gateway; options of the uplink by name."""
    options = UplinkOptions(**({"host": "127.0.0.1", "port": port, "cloud_key": "-"} | named))
    async with make(folder, seal_options=SealOptions(max_readings=max_readings)) as buffer:
        uplink = Uplink(
            options,
            buffer,
            SystemClock(),
            identity=identity(),
            cloud_key=cloud_key_of,
            floor_ms=floor_ms,
            devices=lambda: {"room-1": "up"},
            version="0-test",
            rng=random.Random(5),
        )
        running = asyncio.create_task(uplink.run(), name="uplink")
        try:
            yield Gateway(buffer, uplink)
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled(), running.exception()
