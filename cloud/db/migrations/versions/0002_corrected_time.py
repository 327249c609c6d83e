"""Corrections of gateways' clocks, and both times of everything that was observed.

`tail` and `scan` are projections: they are built anew from their old rows and from the packs, which say what those rows
left out (boot, monotonic time, state of the clock).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from wire.course import NOTHING, Course, TimeCorrection, Told, rank
from wire.observation import ClockState
from wire.pack import Block, Pack, unseal

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FUTURE_MS = 300_000
AT_ONCE = 500

Courses = dict[tuple[str, bytes], Course]


def upgrade() -> None:
    conn = op.get_bind()
    op.drop_index("ix_tail_series_time", "tail")
    op.drop_index("ix_scan_channel_time", "scan")
    for name in ("tail", "scan"):
        op.rename_table(name, f"old_{name}")
        if conn.dialect.name == "postgresql":  # where the index of a key has a name of its own, which is needed again
            op.drop_constraint(f"pk_{name}", f"old_{name}")
    _create()
    courses = _read_packs(conn)
    _fill_tail(conn, courses)
    _fill_scan(conn, courses)
    op.drop_table("old_tail")
    op.drop_table("old_scan")


def _create() -> None:
    op.create_table(
        "correction",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("from_monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("offset_ms", sa.BigInteger(), nullable=False),
        sa.Column("uncertainty_ms", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_correction_pack_id_pack")),
        sa.PrimaryKeyConstraint("pack_id", "position", name=op.f("pk_correction")),
    )
    op.create_index("ix_correction_boot", "correction", ["gateway", "boot_id"], unique=False)
    op.create_table(
        "boot",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("ceiling_ms", sa.BigInteger(), nullable=False),
        sa.Column("synced_monotonic_ms", sa.BigInteger(), nullable=True),
        sa.Column("synced_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "boot_id", "stream", name=op.f("pk_boot")),
    )
    op.create_table(
        "tail",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_ordinal", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
        sa.Column("believed_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("believed_to_ms", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("from_monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("future", sa.Boolean(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_tail_pack_id_pack")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_tail_series_id_series")),
        sa.PrimaryKeyConstraint("pack_id", "first_ordinal", name=op.f("pk_tail")),
    )
    op.create_index("ix_tail_series_time", "tail", ["series_id", "to_ms", "from_ms"], unique=False)
    op.create_index("ix_tail_boot", "tail", ["boot_id", "from_monotonic_ms", "to_monotonic_ms"], unique=False)
    future = sa.column("future", sa.Boolean())
    op.create_index("ix_tail_future", "tail", ["series_id"], sqlite_where=future, postgresql_where=future)
    op.create_table(
        "scan",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("symbology", sa.Text(), nullable=False),
        sa.Column("observed_ms", sa.BigInteger(), nullable=False),
        sa.Column("believed_ms", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("clock", sa.Integer(), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_scan_pack_id_pack")),
        sa.PrimaryKeyConstraint("pack_id", "ordinal", name=op.f("pk_scan")),
    )
    op.create_index("ix_scan_channel_time", "scan", ["gateway", "channel", "observed_ms"], unique=False)
    op.create_index("ix_scan_boot", "scan", ["gateway", "boot_id", "monotonic_ms"], unique=False)


def _read_packs(conn: sa.Connection) -> Courses:
    """Corrections, links and boots of every pack; what holds in the boots that were corrected."""
    told: list[tuple[str, bytes, bytes, Told]] = []
    links: dict[str, dict[bytes, bytes]] = {}
    boots: dict[tuple[str, bytes, bytes], tuple[int, int, tuple[int, int] | None]] = {}
    rows: list[dict[str, Any]] = []
    for pack_id, received_ms, pack in _packs(conn):
        if pack.predecessor is not None:
            links.setdefault(pack.gateway, {})[pack.stream] = pack.predecessor.stream
        sealed = pack.sealed
        key = pack.gateway, sealed.boot_id, pack.stream
        synced = (sealed.monotonic_ms, sealed.observed_at_ms) if sealed.clock is ClockState.SYNCED else None
        seq, ceiling_ms, known = boots.get(key, (pack.seq, received_ms - sealed.monotonic_ms, None))
        boots[key] = (
            min(seq, pack.seq),
            min(ceiling_ms, received_ms - sealed.monotonic_ms),
            max((at for at in (synced, known) if at is not None), default=None),
        )
        for position, one in enumerate(pack.corrections):
            rows.append(
                {
                    "pack_id": pack_id,
                    "position": position,
                    "gateway": pack.gateway,
                    "stream": pack.stream,
                    "seq": pack.seq,
                    **msgspec.structs.asdict(one),
                }
            )
            counts = TimeCorrection(one.offset_ms, one.uncertainty_ms, one.source)
            precedence = (0, pack.stream, pack.seq, position)
            found = Told(precedence, one.from_monotonic_ms, one.to_monotonic_ms, counts)
            told.append((pack.gateway, pack.stream, one.boot_id, found))
    _insert(conn, "correction", rows)
    names = ("gateway", "boot_id", "stream", "first_seq", "ceiling_ms", "synced_monotonic_ms", "synced_ms")
    told_of = [(*key, seq, ceiling_ms, *(last or (None, None))) for key, (seq, ceiling_ms, last) in boots.items()]
    _insert(conn, "boot", [dict(zip(names, each, strict=True)) for each in told_of])
    grouped: dict[tuple[str, bytes], list[Told]] = {}
    for gateway, stream, boot_id, each in told:
        ranked = (rank(stream, links.get(gateway, {})), *each.precedence[1:])
        grouped.setdefault((gateway, boot_id), []).append(msgspec.structs.replace(each, precedence=ranked))
    return {key: Course(ones) for key, ones in grouped.items()}


def _fill_tail(conn: sa.Connection, courses: Courses) -> None:
    query = (
        "SELECT t.pack_id, t.first_ordinal, t.series_id, t.count, t.body, p.gateway, p.received_ms "
        "FROM old_tail t JOIN pack p ON p.id = t.pack_id ORDER BY t.pack_id, t.first_ordinal"
    )
    waiting: list[dict[str, Any]] = []
    for row in conn.execute(sa.text(query), execution_options={"yield_per": AT_ONCE}):
        block = msgspec.msgpack.decode(row.body, type=Block)
        course = courses.get((row.gateway, block.boot_id), NOTHING)
        steps = block.wall_dt_ms or block.dt_ms
        walls = list(accumulate(steps[1:], initial=block.base_wall_ms))
        monotonic = list(accumulate(block.dt_ms[1:], initial=block.base_monotonic_ms))
        times = [at + _offset_ms(course, when) for at, when in zip(walls, monotonic, strict=True)]
        waiting.append(
            {
                "pack_id": row.pack_id,
                "first_ordinal": row.first_ordinal,
                "series_id": row.series_id,
                "count": row.count,
                "from_ms": min(times),
                "to_ms": max(times),
                "believed_from_ms": min(walls),
                "believed_to_ms": max(walls),
                "boot_id": block.boot_id,
                "from_monotonic_ms": monotonic[0],
                "to_monotonic_ms": monotonic[-1],
                "future": max(times) > row.received_ms + FUTURE_MS,
                "body": row.body,
            }
        )
        if len(waiting) == AT_ONCE:
            _insert(conn, "tail", waiting)
            waiting = []
    _insert(conn, "tail", waiting)


def _fill_scan(conn: sa.Connection, courses: Courses) -> None:
    for pack_id, _, pack in _packs(conn, "WHERE id IN (SELECT pack_id FROM old_scan)"):
        first = sum(len(block.values) for block in pack.blocks)
        rows = []
        for ordinal, seen in enumerate(pack.scans, start=first):
            course = courses.get((pack.gateway, seen.stamp.boot_id), NOTHING)
            rows.append(
                {
                    "pack_id": pack_id,
                    "ordinal": ordinal,
                    "gateway": pack.gateway,
                    "stream": pack.stream,
                    "seq": pack.seq,
                    "channel": seen.channel,
                    "code": seen.code,
                    "symbology": seen.symbology,
                    "observed_ms": seen.stamp.observed_at_ms + _offset_ms(course, seen.stamp.monotonic_ms),
                    "believed_ms": seen.stamp.observed_at_ms,
                    "boot_id": seen.stamp.boot_id,
                    "monotonic_ms": seen.stamp.monotonic_ms,
                    "clock": int(seen.stamp.clock),
                    "quality": int(seen.quality),
                }
            )
        _insert(conn, "scan", rows)


def _packs(conn: sa.Connection, where: str = "") -> Iterator[tuple[int, int, Pack]]:
    """(id, received_ms, pack) of every pack, by id; envelopes are read a few hundred at a time."""
    ids = list(conn.scalars(sa.text(f"SELECT id FROM pack {where} ORDER BY id")))  # noqa: S608 - our own text
    few = sa.text("SELECT id, received_ms, envelope FROM pack WHERE id BETWEEN :first AND :last ORDER BY id")
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        wanted = set(some)
        for row in conn.execute(few, {"first": some[0], "last": some[-1]}).all():
            if row.id in wanted:
                yield row.id, row.received_ms, unseal(row.envelope)[1]


def _insert(conn: sa.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        conn.execute(sa.insert(sa.table(table, *(sa.column(name) for name in rows[0]))), rows)


def _offset_ms(course: Course, monotonic_ms: int) -> int:
    holds = course.at(monotonic_ms)
    return 0 if holds is None else holds.offset_ms
