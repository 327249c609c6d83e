"""Chunks: readings folded by series, boot and day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chunk",
        *_key(),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
        sa.Column("believed_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("believed_to_ms", sa.BigInteger(), nullable=False),
        sa.Column("from_monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("future_count", sa.Integer(), nullable=False),
        sa.Column("future_from_ms", sa.BigInteger(), nullable=True),
        sa.Column("future_to_ms", sa.BigInteger(), nullable=True),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("hours", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_chunk_series_id_series")),
        sa.PrimaryKeyConstraint("series_id", "boot_id", "day", "carried", name=op.f("pk_chunk")),
    )
    op.create_index("ix_chunk_series_time", "chunk", ["series_id", "to_ms", "from_ms"], unique=False)
    stale = sa.column("stale", sa.Boolean())
    op.create_index("ix_chunk_stale", "chunk", ["series_id"], sqlite_where=stale, postgresql_where=stale)
    future = sa.column("future_count", sa.Integer()) > 0
    op.create_index("ix_chunk_future", "chunk", ["series_id"], sqlite_where=future, postgresql_where=future)
    op.create_table(
        "chunk_body",
        *_key(),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_chunk_body_series_id_series")),
        sa.PrimaryKeyConstraint("series_id", "boot_id", "day", "carried", name=op.f("pk_chunk_body")),
    )


def _key() -> list[sa.Column[object]]:
    return [
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("carried", sa.Boolean(), nullable=False),
    ]
