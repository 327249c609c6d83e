"""Rebuild makes from the records, to the byte, what was there; killed, it has changed nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update

from cloud.db import tables
from cloud.db.engine import open_engine, reading, sqlite_url, writing
from cloud.ingest.gap_follower import GapFollower
from cloud.rebuild import rebuild
from cloud.registry.keys import add_gateway
from cloud.telemetry import fold, query
from cloud.telemetry.compactor import compact
from tests.cloud.field import BOOT, START_MS, Gateway
from tests.cloud.field import reading as read
from tests.cloud.telemetry.test_fold import AIR, DAY_MS, EVER, contents, keys, packs_of, store
from wire.pack import Correction

PROJECTIONS = (
    *("settled", "gap", "declared_loss", "carried", "succession", "finding", "series", "tail", "chunk", "chunk_body"),
    *("scan", "correction", "boot", "event_item", "cursor", "scan_finding"),
)


def finish(engine: Engine) -> None:
    GapFollower(engine).run_once()
    compact(engine, lambda _done, _of: None)


def dumped(engine: Engine, names: tuple[str, ...] = PROJECTIONS) -> dict[str, list[tuple[Any, ...]]]:
    with reading(engine) as conn:
        return {
            name: sorted(map(tuple, conn.execute(select(tables.metadata.tables[name]))), key=repr) for name in names
        }


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(contents, min_size=2, max_size=7),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=2),
    st.randoms(use_true_random=False),
)
def test_rebuilt_and_folded_is_equal_to_the_byte(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
):
    gateway = Gateway("gw-kho-01")
    file = Path(shutil.copy(migrated_file, Path(tempfile.mkdtemp(dir=tmp_path)) / "cloud.db"))
    engine = open_engine(sqlite_url(file))
    packs = packs_of(gateway, drawn, copied)
    random.shuffle(packs)
    try:
        with writing(engine) as conn:
            add_gateway(conn, gateway.public_half, START_MS)
        while packs:
            some = [packs.pop() for _ in range(min(len(packs), random.randint(1, 3)))]
            store(engine, gateway, *some)
            for key in random.sample(waiting := keys(engine), random.randint(0, len(waiting))):
                fold.fold(engine, [key])
        finish(engine)
        before = dumped(engine)
        done = rebuild(engine, lambda _share: None)
        assert done.packs == len(drawn)
        finish(engine)
        assert dumped(engine) == before
    finally:
        engine.dispose()


def test_what_was_damaged_is_as_it_was(engine: Engine, gateway: Gateway):
    rows = [read(at_s=60 * at, mantissa=at) for at in range(50)]
    told = [Correction(BOOT, 0, DAY_MS, 90_000, 1, "ntp")]
    store(engine, gateway, gateway.pack(1, rows), gateway.pack(2, corrections=told))
    finish(engine)
    before = dumped(engine)
    with writing(engine) as conn:
        conn.execute(update(tables.chunk_body).values(body=b"damaged"))
        conn.execute(update(tables.boot).values(ceiling_ms=1))
        for table in (tables.correction, tables.settled, tables.finding, tables.gap):
            conn.execute(delete(table))
    rebuild(engine, lambda _share: None)
    with reading(engine) as conn:
        assert len(query.readings(conn, gateway.name, AIR, 0, EVER)) == 50, "before it is folded"
    finish(engine)
    after = dumped(engine)
    for of in (before, after):
        of["finding"] = [row[1:] for row in of["finding"]]
    assert after == before


@pytest.mark.parametrize("at", [0.1, 0.6, 0.99])
def test_killed_rebuild_has_changed_nothing(engine: Engine, gateway: Gateway, at: float):
    store(engine, gateway, *(gateway.pack(seq) for seq in range(1, 6)))
    finish(engine)
    store(engine, gateway, gateway.pack(6))
    before = dumped(engine)

    def killed(share: float) -> None:
        if share >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(engine, killed)
    assert dumped(engine) == before


def test_a_pack_whose_bytes_were_removed_keeps_what_it_settled(engine: Engine, gateway: Gateway):
    store(engine, gateway, *(gateway.pack(seq) for seq in (1, 2, 3)))
    with writing(engine) as conn:
        conn.execute(update(tables.pack).where(tables.pack.c.seq == 2).values(envelope=b""))
        conn.execute(delete(tables.tail).where(tables.tail.c.pack_id == 2))
    before = dumped(engine, ("settled", "boot"))
    done = rebuild(engine, lambda _share: None)
    assert (done.packs, done.removed) == (2, 1)
    finish(engine)
    assert dumped(engine, ("settled", "boot")) == before
    with reading(engine) as conn:
        assert [row.seq for row in query.readings(conn, gateway.name, AIR, 0, EVER)] == [1, 3]
