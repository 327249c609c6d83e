"""The Merkle log."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, LargeBinary, Table, Text

from cloud.db.tables.base import metadata

#: Record. Leaves of the Merkle log, numbered from 0 without holes. kind: pack, event, evidence, decision, key.
leaf = Table(
    "leaf",
    metadata,
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("ref", Text, nullable=False),
)

#: The right edge of the tree (RFC 6962): one row, replaced with every append.
ledger_state = Table(
    "ledger_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
