"""What the ledger costs as it grows: tiles, checkpoints and proofs over many leaves, and fsck over real packs.

    python -m bench.ledger [--leaves 1000000] [--packs 20000]

Leaves are appended in groups of 100, as ingest does; the packs are sealed by one gateway, 100 readings each, chained,
and go through ingest's own transaction. Times are CPU time of this process: steady on a machine that does other work.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.fsck.check import check
from cloud.ingest.record import Arrival, record
from cloud.ledger import checkpoint, log, proof
from cloud.ledger.tile import store_all
from cloud.registry.keys import PublicHalf, add_gateway
from standards import cose
from standards.tlog.proof import verify_inclusion
from standards.tlog.tree import leaf_hash
from wire import pack as wire_pack
from wire.envelope import envelope_hash
from wire.observation import ClockState, Quality, Reading, Stamp
from wire.pack import Pack, build_blocks
from wire.topics import up_pack

NOW_MS, ORIGIN, GROUP = 1_790_000_000_000, "bench.example/ledger", 100
PROOFS, READINGS = 1_000, 100


def main() -> None:
    """Measure and print, one figure a line."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--leaves", type=int, default=1_000_000)
    asked.add_argument("--packs", type=int, default=20_000)
    chosen = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _proofs(Path(folder), chosen.leaves)
        _fsck(Path(folder), chosen.packs)


def _proofs(folder: Path, leaves: int) -> None:
    engine = _database(folder / "leaves.db")
    took_s = _timed(lambda: _append(engine, leaves))
    print(f"append, groups of {GROUP}: {1e6 * took_s / leaves:.1f} µs a leaf, with its commit")
    took_s = _timed(lambda: store_all(engine, threading.Event()))
    print(f"tiles of {leaves} leaves: {1e6 * took_s / leaves:.1f} µs a leaf")
    with writing(engine) as conn:
        took_s = _timed(lambda: checkpoint.sign(conn, folder, origin=ORIGIN, now_ms=NOW_MS))
    print(f"first checkpoint: {1000 * took_s:.1f} ms")
    rng = random.Random(1)
    indexes = sorted(rng.sample(range(leaves), min(PROOFS, leaves)))
    with reading(engine) as conn:
        root = proof.root_at(conn, leaves)
        took_s = _timed(lambda: proof.inclusion(conn, rng.randrange(leaves), leaves))
        print(f"one inclusion proof of {leaves} leaves: {1000 * took_s:.1f} ms")
        started_s = time.process_time()
        paths = proof.inclusion_many(conn, indexes, leaves)
        print(
            f"{len(indexes)} at once, scattered: {1000 * (time.process_time() - started_s) / len(indexes):.2f} ms each"
        )
        took_s = _timed(lambda: proof.consistency(conn, leaves // 3, leaves))
        print(f"one consistency proof: {1000 * took_s:.1f} ms")
        for index, path in zip(indexes, paths, strict=True):
            leaf = leaf_hash(log.read_data(conn, index, index + 1)[0])
            verify_inclusion(leaf, index=index, size=leaves, proof=path, root=root)
    engine.dispose()


def _fsck(folder: Path, packs: int) -> None:
    engine = _database(folder / "packs.db")
    _ingest(engine, packs)
    store_all(engine, threading.Event())
    with writing(engine) as conn:
        checkpoint.sign(conn, folder, origin=ORIGIN, now_ms=NOW_MS)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_s = time.process_time()
    with reading(engine) as conn:
        report = check(conn)
    took_s = time.process_time() - started_s
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert report.ok, report.divergences[0]
    print(f"fsck: {report.packs / took_s:,.0f} packs/s ({READINGS} readings each), memory + {grown_mib:.0f} MiB")
    engine.dispose()


def _database(path: Path) -> Engine:
    engine = open_engine(sqlite_url(path))
    migrate(engine)
    return engine


def _append(engine: Engine, leaves: int) -> None:
    for first in range(0, leaves, GROUP):
        group = range(first, min(leaves, first + GROUP))
        with writing(engine) as conn:
            log.append_many(conn, [log.Leaf("pack", hashlib.sha256(b"%d" % at).digest(), str(at)) for at in group])


def _ingest(engine: Engine, packs: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    kid = cose.key_id(key.public_key())
    name, stream = "gw-bench", b"\x01" * 16
    with writing(engine) as conn:
        half = PublicHalf(name, base64.b64encode(key.public_key().public_bytes_raw()).decode(), simulated=False)
        add_gateway(conn, half, NOW_MS)
    prev: bytes | None = None
    for first in range(1, packs + 1, GROUP):
        arrivals = []
        for seq in range(first, min(packs + 1, first + GROUP)):
            envelope = wire_pack.seal(_pack(name, stream, seq, prev), key=key, kid=kid)
            prev = envelope_hash(envelope)
            arrivals.append(Arrival(up_pack(name), envelope, NOW_MS))
        assert record(engine, arrivals).accepted == len(arrivals)


def _pack(name: str, stream: bytes, seq: int, prev: bytes | None) -> Pack:
    boot = bytes(16)
    readings = []
    for at in range(READINGS):
        elapsed_ms = (seq * READINGS + at) * 1000
        stamp = Stamp(NOW_MS - 10**9 + elapsed_ms, elapsed_ms, boot, ClockState.SYNCED)
        readings.append(Reading(f"room-{at % 10}/air", "CEL", -1800 - at % 7, -2, stamp, Quality.OK))
    sealed = Stamp(NOW_MS - 10**9 + seq * READINGS * 1000, seq * READINGS * 1000, boot, ClockState.SYNCED)
    return Pack(
        gateway=name,
        stream=stream,
        seq=seq,
        prev=prev,
        sealed=sealed,
        simulated=False,
        blocks=build_blocks(readings),
        scans=[],
        losses=[],
        corrections=[],
    )


def _timed(work: Callable[[], object]) -> float:
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


if __name__ == "__main__":
    main()
