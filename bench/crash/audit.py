"""What the cloud's record promises, held against the record: after a kill, after a power cut, and in the end.

A reading is known by its number (its mantissa), a scan by what follows the dash in its code (life.World), so that one
that is lost, doubled or invented shows, wherever it is kept by now.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Engine, select

from bench.crash.balance import number_of
from cloud.chore import Chore
from cloud.db import tables
from cloud.db.engine import reading
from cloud.ledger import log
from cloud.telemetry import query
from standards.tlog import tree
from wire.pack import observations, unseal

PackKey = tuple[str, bytes, int]  # gateway, stream, seq
EVER_MS = 2**62


class Found(msgspec.Struct, frozen=True):
    """What is stored, and every broken promise. lost, doubled: numbers, of the packs that are there."""

    packs: dict[PackKey, bytes]
    lost: int
    doubled: int
    problems: list[str]


def audit(engine: Engine) -> Found:
    """Hold the record against itself: packs, readings, scans and leaves, all of one moment."""
    with reading(engine) as conn:
        damage = conn.exec_driver_sql("PRAGMA quick_check").scalar()
        rows = {(row.gateway, row.stream, row.seq): row for row in conn.execute(select(tables.pack))}
        leaves = conn.execute(select(tables.leaf).order_by(tables.leaf.c.leaf_index)).all()
        head = log.head(conn)
        signed = conn.execute(select(tables.checkpoint.c.size, tables.checkpoint.c.root)).all()
        shown = Counter(_numbers(conn, sorted({name for name, _, _ in rows})))
    meant = Counter(number_of(one) for row in rows.values() for _, one in observations(unseal(row.envelope)[1]))
    hashed = [tree.leaf_hash(log.leaf_data(row.kind, row.hash)) for row in leaves]
    hashes = sorted(row.hash for row in rows.values())
    claims = (
        (f"the database is damaged: {damage}", damage == "ok"),
        ("readings and scans are not those of the packs", shown == meant),
        ("leaves are not numbered without holes", [row.leaf_index for row in leaves] == list(range(len(leaves)))),
        ("the root is not that of the leaves", head.root == tree.root(hashed)),
        ("packs and their leaves do not match", sorted(row.hash for row in leaves if row.kind == "pack") == hashes),
        ("a checkpoint is not of these leaves", all(tree.root(hashed[: one.size]) == one.root for one in signed)),
        ("a pack names another's leaf", all(leaves[row.leaf_index].hash == row.hash for row in rows.values())),
    )
    return Found(
        packs={key: row.envelope for key, row in rows.items()},
        lost=sum((meant - shown).values()),
        doubled=sum((shown - meant).values()),
        problems=[claim for claim, holds in claims if not holds],
    )


def projections(engine: Engine) -> dict[str, object]:
    """What is derived from the packs and must not depend on what happened on the way, in one order."""
    with reading(engine) as conn:
        settled = conn.execute(select(tables.settled).order_by(*tables.settled.primary_key.columns)).all()
        findings = conn.execute(select(tables.finding.c.kind, tables.finding.c.gateway, tables.finding.c.seq)).all()
        losses = conn.execute(select(tables.declared_loss.c.gateway, tables.declared_loss.c.first_seq)).all()
        events = conn.scalars(select(tables.event.c.event_id)).all()
        no_events = conn.execute(select(tables.scan_finding.c.code, tables.scan_finding.c.reason)).all()
        readings = {
            (span.gateway, span.channel): [
                (row.observed_ms, row.mantissa, row.stream, row.seq, row.ordinal)
                for row in query.readings(conn, span.gateway, span.channel, 0, EVER_MS)
            ]
            for span in query.list_series(conn)
        }
    sets = {"settled": settled, "findings": findings, "losses": losses, "events": events, "no events": no_events}
    return {name: sorted(map(_plain, found)) for name, found in sets.items()} | {"readings": readings}


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """In words, where two sets of projections are not the same."""
    return [f"{name} are not those of an undisturbed record" for name in one if one[name] != other[name]]


def finish(chores: Sequence[Chore], *, most: int = 1_000) -> None:
    """Let chores do all there is to do."""
    for _ in range(most):
        if not sum(chore.step(threading.Event()) for chore in chores):
            return
    raise RuntimeError(f"chores still find work after {most} rounds")


def _numbers(conn: Connection, gateways: Iterable[str]) -> Iterable[int]:
    wanted = set(gateways)
    for span in query.list_series(conn):
        if span.gateway in wanted:
            for row in query.readings(conn, span.gateway, span.channel, 0, EVER_MS):
                yield row.mantissa or 0
    for code in conn.scalars(select(tables.scan.c.code)):
        yield int(code.rpartition("-")[2])


def _plain(row: object) -> tuple[object, ...] | str:
    return row if isinstance(row, str) else tuple(row)  # type: ignore[call-overload,no-any-return]
