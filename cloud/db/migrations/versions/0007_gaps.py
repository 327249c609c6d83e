"""The numbers that are or were missing. The follower fills the table from the packs that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gap",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("settled_ms", sa.BigInteger(), nullable=True),
        sa.Column("pack_id", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'explained', 'closed')", name=op.f("ck_gap_known_state")),
        sa.CheckConstraint("(state = 'open') = (settled_ms IS NULL)", name=op.f("ck_gap_open_is_not_settled")),
        sa.PrimaryKeyConstraint("gateway", "stream", "first_seq", name=op.f("pk_gap")),
    )
    is_open = sa.text("state = 'open'")
    op.create_index(
        "ix_gap_open", "gap", ["gateway", "opened_ms"], unique=False, sqlite_where=is_open, postgresql_where=is_open
    )
