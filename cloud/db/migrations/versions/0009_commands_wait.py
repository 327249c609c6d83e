"""Commands wait in the database until the broker has them, so that any process can issue one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEPT = "gateway, counter, id, kind, issued_ms, expires_ms, stream, ranges, envelope, answered_ms"


def upgrade() -> None:
    op.drop_index("ix_command_issued", "command")
    if op.get_bind().dialect.name == "postgresql":  # where names of constraints are the schema's, not the table's
        op.drop_constraint("pk_command", "command")
    op.rename_table("command", "old_command")
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
        sa.Column("published_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "counter", name=op.f("pk_command")),
    )
    op.execute(f"INSERT INTO command ({KEPT}, published_ms) SELECT {KEPT}, issued_ms FROM old_command")  # noqa: S608
    op.drop_table("old_command")
    op.create_index("ix_command_issued", "command", ["issued_ms"], unique=False)
    waiting = sa.text("published_ms IS NULL")
    op.create_index(
        "ix_command_waiting", "command", ["issued_ms"], unique=False, sqlite_where=waiting, postgresql_where=waiting
    )
