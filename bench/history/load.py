"""What history is measured on: a year of cold rooms, real logs, and a cloud's database filled with them."""

from __future__ import annotations

import csv
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from sqlalchemy import Engine

from bench.report import HERE
from cloud.db.engine import migrate, writing
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import PublicHalf, add_gateway
from cloud.telemetry.compactor import compact
from standards import cose
from wire.columns import Block
from wire.observation import ClockState, Stamp
from wire.pack import Pack, seal
from wire.topics import up_pack

REAL = HERE.parent.parent / "shared/data/real/coldstore_saveris/values_2021-06-24_2021-11-30.csv"
MINUTE_MS, DAY_MS = 60_000, 86_400_000
PACKS_AT_ONCE = 50
LATE_MS = 50  # a device answers within, so that times don't compress better than real ones
BOOT_DAYS = 30  # the gateway reboots so often


class Series(NamedTuple):
    """Times and hundredths of a channel."""

    channel: str
    times_ms: NDArray[np.int64]
    mantissas: NDArray[np.int64]


def noisy(minutes: int, sensors: int) -> list[Series]:
    """Cold rooms: a level, a day, a week, and noise of 8 hundredths."""
    rng = np.random.default_rng(1)
    begin_ms = int(datetime(2025, 11, 1, tzinfo=UTC).timestamp() * 1000)
    at = np.arange(minutes)
    found = []
    for sensor in range(sensors):
        level = 400 - 220 * sensor + 50 * np.sin(at / 1440 * 2 * np.pi) + 20 * np.sin(at / 10080 * 2 * np.pi)
        values = np.round(level + rng.normal(0, 8, minutes)).astype(np.int64)
        times = begin_ms + at * MINUTE_MS + rng.integers(0, LATE_MS, minutes)
        found.append(Series(f"room-{sensor}/air", times, values))
    return found


def real() -> list[Series]:
    """Ten probes of a real cold store, every 15 minutes; empty where the file is not there."""
    if not REAL.exists():
        return []
    with REAL.open(encoding="utf-8") as file:
        heads, *rows = list(csv.reader(file))
    found = []
    for at, name in enumerate(heads[1:], start=1):
        kept = {  # the hour that summer time repeats is there twice: one of each is enough to measure
            datetime.fromisoformat(row[0]).replace(tzinfo=UTC): row[at] for row in rows if row[at].strip()
        }
        times = np.array([int(when.timestamp() * 1000) for when in sorted(kept)], np.int64)
        values = np.array([round(float(kept[when]) * 100) for when in sorted(kept)], np.int64)
        found.append(Series(f"store/{name.replace('_', '-')}", times, values))
    return found


class Store:
    """A cloud's database with one gateway, filled by the way of every pack."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
        public = self._key.public_key()
        half = PublicHalf("gw-1", b64encode(public.public_bytes_raw()).decode())
        migrate(engine)
        with writing(engine) as conn:
            add_gateway(conn, half, 0)
        self._seq = 0
        self._kid = cose.key_id(public)

    def load(self, several: Sequence[Series], rows: int) -> None:
        """Everything, in packs of so many rows per series."""
        arrivals: list[Arrival] = []
        for blocks, end_ms in _cut(several, rows):
            self._seq += 1
            arrivals.append(Arrival(up_pack("gw-1"), self._sealed(blocks, end_ms), end_ms + 1000))
            if len(arrivals) == PACKS_AT_ONCE:
                self._take(arrivals)
        self._take(arrivals)

    def fold(self) -> float:
        """Fold it all; the CPU seconds that takes."""
        began = time.process_time()
        compact(self.engine, lambda _done, _of: None)
        return time.process_time() - began

    def _take(self, arrivals: list[Arrival]) -> None:
        if arrivals and (taken := record(self.engine, arrivals).accepted) != len(arrivals):
            raise RuntimeError(f"{taken} of {len(arrivals)} packs were accepted")
        arrivals.clear()

    def _sealed(self, blocks: list[Block], end_ms: int) -> bytes:
        boot_id, last = blocks[0].boot_id, max(one.base_monotonic_ms + sum(one.dt_ms) for one in blocks)
        pack = Pack(
            gateway="gw-1",
            stream=b"s" * 16,
            seq=self._seq,
            prev=None if self._seq == 1 else b"p" * 32,
            sealed=Stamp(end_ms, last, boot_id, ClockState.SYNCED),
            simulated=False,
            blocks=blocks,
        )
        return seal(pack, key=self._key, kid=self._kid)


def _cut(several: Sequence[Series], rows: int) -> Iterator[tuple[list[Block], int]]:
    begin_ms = min(int(one.times_ms[0]) for one in several)
    for at in range(0, max(len(one.times_ms) for one in several), rows):
        blocks, end_ms = [], 0
        for one in several:
            times, values = one.times_ms[at : at + rows], one.mantissas[at : at + rows]
            if not len(times):
                continue
            boot = (int(times[0]) - begin_ms) // (BOOT_DAYS * DAY_MS)
            since = begin_ms + boot * BOOT_DAYS * DAY_MS
            blocks.append(
                Block(
                    channel=one.channel,
                    unit="CEL",
                    exponent=-2,
                    boot_id=boot.to_bytes(16, "big"),
                    base_monotonic_ms=int(times[0]) - since,
                    base_wall_ms=int(times[0]),
                    dt_ms=[0, *np.diff(times).tolist()],
                    values=values.tolist(),
                )
            )
            end_ms = max(end_ms, int(times[-1]))
        by_boot = {one.boot_id for one in blocks}
        for boot_id in sorted(by_boot):
            yield [one for one in blocks if one.boot_id == boot_id], end_ms
