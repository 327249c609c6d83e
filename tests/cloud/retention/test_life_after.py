"""After a removal everything else still works: fsck, rebuild, the lot's bundle."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from cloud.bundle.make import Ledger, lot_bundle
from cloud.db import tables
from cloud.db.engine import reading as look
from cloud.evidence.lot import lot_evidence
from cloud.fsck.check import check
from cloud.fsck.divergence import Report
from cloud.ingest.gap_follower import GapFollower
from cloud.rebuild import rebuild
from cloud.telemetry.compactor import compact
from tests.cloud.field import Gateway
from tests.cloud.journey import NOW_MS
from tests.cloud.retention.test_pruning import KEPT, OLD_DAYS, TODAY_MS, _prune, store
from tests.cloud.site import GTIN
from wire.bundle.verify import verify

__all__ = ["store"]  # a fixture
DERIVED = ("settled", "gap", "declared_loss", "carried", "succession", "finding", "scan", "correction", "boot")


def _fsck(engine: Engine) -> Report:
    with look(engine) as conn:
        return check(conn)


def _derived(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with look(engine) as conn:
        named = {name: tables.metadata.tables[name] for name in DERIVED}
        return {name: sorted(map(tuple, conn.execute(select(table))), key=repr) for name, table in named.items()}


@pytest.mark.parametrize("compacted", [False, True])
def test_removed_rebuilt_and_checked_the_lot_is_still_proven(
    engine: Engine, store: Gateway, tmp_path: Path, compacted: bool
) -> None:
    if compacted:
        compact(engine, lambda _done, _total: None)
    GapFollower(engine).run_once()
    with look(engine) as conn:
        evidence = lot_evidence(conn, GTIN, "L1", TODAY_MS)
    assert _prune(engine).removed == len(OLD_DAYS)
    checked = _fsck(engine)
    assert (checked.divergences, checked.pruned) == ([], len(OLD_DAYS))
    before = _derived(engine)
    done = rebuild(engine, lambda _share: None)
    assert (done.packs, done.removed) == (len(KEPT), len(OLD_DAYS))
    GapFollower(engine).run_once()
    assert _derived(engine) == before
    assert _fsck(engine) == checked
    with look(engine) as conn:
        assert lot_evidence(conn, GTIN, "L1", TODAY_MS) == evidence
    out = io.BytesIO()
    lot_bundle(engine, Ledger(tmp_path, "ledger.example/kho"), (GTIN, "L1"), out, now_ms=NOW_MS)
    size = out.tell()
    out.seek(0)
    report = verify(out, size=size)
    assert report.intact
    assert _fsck(engine).ok
