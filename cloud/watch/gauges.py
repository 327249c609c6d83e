"""The cloud's figures for Prometheus: the process's own counts, and the database's, asked at most every few seconds.

No family grows with the number of gateways.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, func, select

from cloud.config import MirrorConfig
from cloud.db import tables
from cloud.db.cursor import position
from cloud.db.engine import reading, sqlite_file
from cloud.health import Health
from cloud.ingest import quarantine
from cloud.ingest.gap_follower import FOLLOWER as GAPS
from cloud.ingest.gap_follower import LEAF
from cloud.ledger import checkpoint, log
from cloud.mirror.follower import FOLLOWER as MIRROR
from cloud.mirror.follower import target_of
from cloud.watch.exposition import Family, Sample, by, one

FRESH_S = 5.0

MetricsOf = Callable[[], list[Family]]


class Gauges:
    """What the database tells, kept for FRESH_S: a scrape that repeats costs nothing. mirror: the configured one."""

    def __init__(self, engine: Engine, mirror: MirrorConfig | None = None) -> None:
        self._engine, self._mirror = engine, mirror
        self._asked_s = float("-inf")
        self._families: list[Family] = []

    def families(self) -> list[Family]:
        """The figures. Raises DatabaseUnavailable."""
        if time.monotonic() - self._asked_s >= FRESH_S:
            with reading(self._engine) as conn:
                self._families = [*of_record(conn, self._mirror), *of_database(self._engine)]
            self._asked_s = time.monotonic()
        return self._families


def of_record(conn: Connection, mirror: MirrorConfig | None = None) -> list[Family]:
    """What is on record, and how far those who follow it are behind: of mirrors the configured one alone."""
    head, signed = log.head(conn), checkpoint.latest(conn)
    signed_size = 0 if signed is None else signed.size
    parts = {GAPS: LEAF} if mirror is None else {GAPS: LEAF, MIRROR: target_of(mirror)}
    behind = {name: _beyond(conn, position(conn, name, part), head.size) for name, part in parts.items()}
    online = _by(conn, tables.gateway_state.c.online)
    gap = tables.gap
    oldest = conn.execute(
        select(func.count(), func.min(gap.c.opened_ms)).select_from(gap).where(gap.c.state == "open")
    ).one()
    return [
        one("ledger_leaves", "gauge", "Leaves of the ledger.", head.size),
        one("ledger_unsigned_leaves", "gauge", "Leaves beyond the newest checkpoint.", head.size - signed_size),
        one(
            "ledger_checkpoint_timestamp_seconds", "gauge", "When the newest checkpoint was signed.",
            None if signed is None else signed.signed_ms / 1000,
        ),
        by("follower_lag_leaves", "gauge", "Leaves a follower has not worked through.", "follower", behind),
        by(
            "quarantine_messages_total", "counter", "Messages that could not be accepted, ever.", "reason",
            quarantine.by_reason(conn),
        ),
        one("quarantine_entries", "gauge", "Different messages kept in the quarantine.", quarantine.count(conn)),
        one("conflicts_total", "counter", "Envelopes under the number of another.", _count(conn, tables.conflict)),
        one("gaps_open", "gauge", "Ranges of pack numbers neither come nor declared.", oldest[0]),
        one(
            "gap_oldest_open_timestamp_seconds", "gauge", "Since when the oldest of them has been open.",
            None if oldest[1] is None else oldest[1] / 1000,
        ),
        by("findings_total", "counter", "Contradictions in the record.", "kind", _by(conn, tables.finding.c.kind)),
        by(
            "gateways", "gauge", "Gateways ever heard, by their last word.", "state",
            {"online": online.get("True", 0), "offline": online.get("False", 0)},
        ),
        one("pack_last_received_timestamp_seconds", "gauge", "When the newest pack was received.", _newest_s(conn)),
    ]  # fmt: skip


def of_database(engine: Engine) -> list[Family]:
    """How large the files of an SQLite database are; nothing for another one, whose server tells."""
    file = sqlite_file(engine.url)
    if file is None:
        return []
    sizes = {
        name: path.stat().st_size
        for name, path in (("database", file), ("log", file.with_name(file.name + "-wal")))
        if path.exists()
    }
    return [by("database_size_bytes", "gauge", "Size of the database and of its write-ahead log.", "file", sizes)]


def of_process(health: Health, started_s: float, version: str) -> list[Family]:
    """How the parts are, and what the process takes."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [
        Family("info", "gauge", "Which program this is.", [Sample(1, {"version": version})]),
        by(
            "part_ok", "gauge", "Whether a part does its work; /healthz says why not.", "part",
            {name: part.ok for name, part in health.parts.items()},
        ),
        one("up", "gauge", "Whether every part does its work.", health.ok),
        one("start_timestamp_seconds", "gauge", "When the process started.", started_s),
        one("cpu_seconds_total", "counter", "Processor time, user and system.", usage.ru_utime + usage.ru_stime),
        one("resident_memory_bytes", "gauge", "Resident memory.", _resident_bytes()),
    ]  # fmt: skip


def of_counters(name: str, counters: Mapping[str, int], text: str) -> list[Family]:
    """Counts of a part since its start, a family each. What begins with `lag` goes up and down."""
    found = []
    for key, value in counters.items():
        lags = key.startswith("lag")
        unit = f"{key[:-2]}_seconds" if key.endswith("_s") else key
        found.append(one(f"{name}_{unit}" + ("" if lags else "_total"), "gauge" if lags else "counter", text, value))
    return found


def _beyond(conn: Connection, stands_at: int | None, size: int) -> int:
    """How many leaves there are beyond one, None for all; 0 when no pack is among them: packs are what is followed."""
    leaf_index = -1 if stands_at is None else stands_at
    packs = select(tables.pack.c.id).where(tables.pack.c.leaf_index > leaf_index)
    return 0 if conn.scalar(packs.limit(1)) is None else size - 1 - leaf_index


def _count(conn: Connection, table: Table) -> int:
    return int(conn.scalar(select(func.count()).select_from(table)) or 0)


def _by(conn: Connection, column: Column[Any]) -> dict[str, int]:
    """How many rows there are for each value of a column."""
    return {str(row[0]): int(row[1]) for row in conn.execute(select(column, func.count()).group_by(column))}


def _newest_s(conn: Connection) -> float | None:
    newest = conn.scalar(select(tables.pack.c.received_ms).order_by(tables.pack.c.id.desc()).limit(1))
    return None if newest is None else newest / 1000


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
