"""Conflicts with the identity they are about: receipts ask for those of a stream, however long it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "gateway": sa.Text(),
    "stream": sa.LargeBinary(),
    "seq": sa.BigInteger(),
}


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        op.add_column("conflict", sa.Column(name, kind, nullable=True))
        op.execute(f"UPDATE conflict SET {name} = (SELECT {name} FROM pack WHERE pack.id = conflict.pack_id)")  # noqa: S608
    with op.batch_alter_table("conflict") as table:
        for name, kind in _COLUMNS.items():
            table.alter_column(name, existing_type=kind, nullable=False)
    op.create_index("ix_conflict_stream", "conflict", ["gateway", "stream", "id"], unique=False)
