"""Declared losses, carried copies, successions, findings and commands; filled from the packs that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from wire import pack as wire_pack
from wire.envelope import open_envelope
from wire.pack import Pack

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PACKS_AT_ONCE = 500


def upgrade() -> None:
    op.create_table(
        "declared_loss",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=True),
        sa.Column("last_hash", sa.LargeBinary(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=True),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('thinned', 'lost')", name=op.f("ck_declared_loss_known_kind")),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_declared_loss_pack_id_pack")),
        sa.PrimaryKeyConstraint("pack_id", "position", name=op.f("pk_declared_loss")),
    )
    op.create_index("ix_declared_loss_last", "declared_loss", ["gateway", "stream", "last_seq"], unique=False)
    op.create_table(
        "carried",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("first_ordinal", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_carried_pack_id_pack")),
        sa.PrimaryKeyConstraint("pack_id", "position", name=op.f("pk_carried")),
    )
    op.create_index("ix_carried_origin", "carried", ["gateway", "stream", "seq"], unique=False)
    op.create_table(
        "succession",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("prior_stream", sa.LargeBinary(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_succession_pack_id_pack")),
        sa.PrimaryKeyConstraint("pack_id", name=op.f("pk_succession")),
    )
    op.create_index("ix_succession_prior", "succession", ["gateway", "prior_stream", "last_seq"], unique=False)
    op.create_table(
        "finding",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("found_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
        sa.UniqueConstraint("kind", "gateway", "stream", "seq", name=op.f("uq_finding_kind")),
    )
    op.create_table(
        "command",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=True),
        sa.Column("ranges", sa.Text(), nullable=True),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("answered_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "counter", name=op.f("pk_command")),
    )
    op.create_index("ix_command_issued", "command", ["issued_ms"], unique=False)
    _fill(op.get_bind())


def _fill(conn: sa.Connection) -> None:
    """What the new tables say of packs that were stored before there were any."""
    for pack_id, pack in _packs(conn):
        _insert(conn, "declared_loss", list(_losses(pack_id, pack)))
        _insert(conn, "carried", list(_carried(pack_id, pack)))
        _insert(conn, "succession", list(_succession(pack_id, pack)))
    conn.execute(
        sa.text(
            "INSERT INTO finding (kind, gateway, stream, seq, detail, found_ms) "
            "SELECT 'chain_broken', b.gateway, b.stream, b.seq, "
            "'names another hash for the pack before it than that pack has', b.received_ms "
            "FROM pack a JOIN pack b ON b.gateway = a.gateway AND b.stream = a.stream AND b.seq = a.seq + 1 "
            "WHERE b.prev IS NULL OR b.prev <> a.hash"
        )
    )


def _packs(conn: sa.Connection) -> Iterator[tuple[int, Pack]]:
    last = 0
    query = sa.text("SELECT id, envelope FROM pack WHERE id > :last ORDER BY id LIMIT :most")
    while rows := conn.execute(query, {"last": last, "most": PACKS_AT_ONCE}).all():
        for row in rows:
            yield row.id, wire_pack.read_payload(open_envelope(row.envelope))
        last = rows[-1].id


def _insert(conn: sa.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = list(rows[0])
        columns, values = ", ".join(names), ", ".join(f":{name}" for name in names)
        conn.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), rows)  # noqa: S608 - our own names


def _losses(pack_id: int, pack: Pack) -> Iterator[dict[str, Any]]:
    for position, loss in enumerate(pack.losses):
        yield {
            "pack_id": pack_id,
            "position": position,
            "gateway": pack.gateway,
            "stream": loss.stream,
            "first_seq": loss.first_seq,
            "last_seq": loss.last_seq,
            "last_hash": loss.last_hash,
            "kind": loss.kind,
            "reason": loss.reason,
            "counts": json.dumps(loss.counts, ensure_ascii=False, separators=(",", ":")),
            "from_ms": loss.from_ms,
            "to_ms": loss.to_ms,
        }


def _carried(pack_id: int, pack: Pack) -> Iterator[dict[str, Any]]:
    for position, one in enumerate(pack.carried_from):
        yield {
            "pack_id": pack_id,
            "position": position,
            "gateway": pack.gateway,
            "stream": one.stream,
            "seq": one.seq,
            "hash": one.hash,
            "first_ordinal": one.first_ordinal,
            "count": one.count,
        }


def _succession(pack_id: int, pack: Pack) -> Iterator[dict[str, Any]]:
    if pack.predecessor is not None:
        yield {
            "pack_id": pack_id,
            "gateway": pack.gateway,
            "stream": pack.stream,
            "prior_stream": pack.predecessor.stream,
            "last_seq": pack.predecessor.last_seq,
            "hash": pack.predecessor.hash,
        }
