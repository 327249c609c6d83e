"""What the cloud's record promises, held against the record: after a kill, after a power cut, and in the end.

A reading is known by its number (its mantissa), a scan by what follows the dash in its code (life.World), so that one
that is lost, doubled or invented shows, wherever it is kept by now.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Engine, select

from bench.crash.balance import number_of
from bench.fsck import complaints
from cloud.chore import Chore
from cloud.db import tables
from cloud.db.engine import reading
from cloud.errors import CloudError
from cloud.telemetry import query
from wire.envelope import WireError
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
    """Hold the record against itself, all of one moment: by fsck, and beside it what fsck does not look at.

    That is the readings and scans that are shown. A record that cannot be read is a problem, too.
    """
    pack = tables.pack.c
    try:
        with reading(engine) as conn:
            problems = complaints(conn)
            rows = conn.execute(select(pack.gateway, pack.stream, pack.seq, pack.envelope)).all()
            shown = Counter(_shown(conn))
    except CloudError as error:
        return Found({}, 0, 0, [f"the record cannot be read: {error}"])
    meant = Counter(number for row in rows for number in _sealed(row.envelope))
    if shown != meant:
        problems.append("readings and scans are not those of the packs")
    return Found(
        packs={(row.gateway, row.stream, row.seq): row.envelope for row in rows},
        lost=sum((meant - shown).values()),
        doubled=sum((shown - meant).values()),
        problems=problems,
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


def _shown(conn: Connection) -> Iterator[int]:
    """The numbers of all readings and scans, as pages and events get them."""
    for span in query.list_series(conn):
        for row in query.readings(conn, span.gateway, span.channel, 0, EVER_MS):
            yield row.mantissa or 0
    for code in conn.scalars(select(tables.scan.c.code)):
        yield int(code.rpartition("-")[2])


def _sealed(envelope: bytes) -> Iterator[int]:
    """The numbers that a pack holds; none when it is no pack: fsck has named it."""
    with contextlib.suppress(WireError):
        for _, one in observations(unseal(envelope)[1]):
            yield number_of(one) or 0


def _plain(row: object) -> tuple[object, ...] | str:
    return row if isinstance(row, str) else tuple(row)  # type: ignore[call-overload,no-any-return]
