"""The tail where its blocks come and go together: by pack in an SQLite file, and with one index in place of two."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_tail_boot", "tail")
    op.drop_index("ix_tail_series_time", "tail")
    if op.get_bind().dialect.name == "sqlite":
        _without_rowid()
    names = ["series_id", "boot_id", "from_monotonic_ms", "to_ms", "from_ms"]
    op.create_index("ix_tail_series", "tail", names, unique=False)


def _without_rowid() -> None:
    op.drop_index("ix_tail_future", "tail")
    op.rename_table("tail", "old_tail")
    op.create_table(
        "tail",
        sa.Column("pack_id", sa.Integer(), nullable=False),
        sa.Column("first_ordinal", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
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
        sqlite_with_rowid=False,
    )
    names = (
        "pack_id, first_ordinal, series_id, count, from_ms, to_ms, believed_from_ms, believed_to_ms, "
        "boot_id, from_monotonic_ms, to_monotonic_ms, future, body"
    )
    op.execute(f"INSERT INTO tail ({names}) SELECT {names} FROM old_tail ORDER BY pack_id, first_ordinal")  # noqa: S608
    op.drop_table("old_tail")
    # SQLite takes a partial index where the query has the same words; 0002 and 0010 wrote others.
    op.create_index("ix_tail_future", "tail", ["series_id"], sqlite_where=sa.text("future = 1"))
    op.drop_index("ix_chunk_stale", "chunk")
    op.create_index("ix_chunk_stale", "chunk", ["series_id"], sqlite_where=sa.text("stale = 1"))
