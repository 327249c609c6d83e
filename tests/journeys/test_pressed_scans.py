"""A gateway packs pallets while it is offline and its disk fills; the cloud gets what it would have got with room."""

from __future__ import annotations

import json
import random
from pathlib import Path

from sqlalchemy import Engine, select

from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.events import query
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from edge.buffer.base import MIN_MAX_BYTES, BufferOptions, SealedPack, SealOptions
from edge.buffer.sqlite import SqliteBuffer
from edge.keys import Identity
from tests.cloud.field import BOOT, START_MS, Gateway
from tests.cloud.site import SSCC_1, SSCC_2, carton, pallet, register
from wire.observation import ClockState, Observation, Reading, Scan, Stamp
from wire.pack import unseal

GROUPS, GROUP_S = 420, 500
GATEWAY = Gateway("gw-kho-01")


def _stamp(at_s: float) -> Stamp:
    return Stamp(START_MS + round(at_s * 1000), round(at_s * 1000), BOOT, ClockState.SYNCED)


def _scans(group: int) -> list[Observation]:
    """A carton in every other group, a pallet over what was scanned in every seventh."""
    codes = [carton(f"L{group % 3}")] if group % 2 else []
    codes += [pallet((SSCC_1, SSCC_2)[group % 2])] if group % 7 == 6 else []
    return [Scan("packing/scan", code, "C1", _stamp(group * GROUP_S + at)) for at, code in enumerate(codes)]


def _readings(group: int, rng: random.Random) -> list[Observation]:
    """2,500 readings that hardly compress."""
    times = [_stamp(group * GROUP_S + at) for at in range(GROUP_S)]
    return [Reading(f"dev-{c}/air", "CEL", rng.getrandbits(62), -1, at) for at in times for c in range(5)]


async def _record(folder: Path, max_bytes: int, *, readings: bool) -> tuple[list[SealedPack], int]:
    """Everything the gateway has to send when the line is back, and how many readings gave way."""
    rng = random.Random(7)
    identity = Identity(GATEWAY.name, GATEWAY.key, GATEWAY.kid)
    options = BufferOptions(commit_window_ms=1, max_bytes=max_bytes, min_free_bytes=0)
    buffer = SqliteBuffer(folder / "buffer.db", identity, options, seal_options=SealOptions())
    async with buffer:
        for group in range(GROUPS):
            observed = _scans(group) + (_readings(group, rng) if readings else [])
            if observed:
                await buffer.append(observed)
                await buffer.seal(_stamp((group + 1) * GROUP_S))
        state = buffer.state()
        names = await buffer.held(state.stream, [(1, state.head_seq)], limit=100_000)
        return await buffer.fetch(names), state.thinned_readings


def _told(folder: Path, packs: list[SealedPack], *, every: int) -> tuple[list[str], list[str]]:
    """Events but for their ids, and findings, of a cloud that follows while packs come."""
    folder.mkdir(parents=True, exist_ok=True)
    engine: Engine = open_engine(sqlite_url(folder / "cloud.db"))
    migrate(engine)
    with writing(engine) as conn:
        add_gateway(conn, GATEWAY.public_half, START_MS)
    register(engine)
    now_ms = START_MS + 10**9
    follower = ScanFollower(engine, lambda: now_ms)
    for at in range(0, len(packs), every):
        arrivals = [Arrival(GATEWAY.topic, pack.envelope, now_ms) for pack in packs[at : at + every]]
        assert record(engine, arrivals).accepted == len(arrivals)
        follower.run_once()
    with reading(engine) as conn:
        bodies = [json.loads(body) for body in conn.scalars(select(tables.event.c.body))]
        reasons = [one.reason for one in query.findings(conn)]
    engine.dispose()
    return sorted(json.dumps({**body, "eventID": ""}, sort_keys=True) for body in bodies), reasons


async def test_events_are_those_of_a_gateway_that_had_room(tmp_path: Path) -> None:
    (tmp_path / "roomy").mkdir()
    (tmp_path / "pressed").mkdir()
    expected, _ = await _record(tmp_path / "roomy", 1_000_000_000, readings=False)
    packs, thinned = await _record(tmp_path / "pressed", MIN_MAX_BYTES, readings=True)
    assert thinned > 50_000
    moved = [pack for _, pack in (unseal(each.envelope) for each in packs) if pack.carried_from and pack.scans]
    assert sum(len(pack.scans) for pack in moved) > 20
    told, reasons = _told(tmp_path / "roomy", expected, every=1_000)
    random.Random(11).shuffle(packs)
    assert _told(tmp_path / "pressed", packs, every=40) == (told, reasons)
    assert len(told) == GROUPS // 2 + GROUPS // 7
    assert reasons == []
