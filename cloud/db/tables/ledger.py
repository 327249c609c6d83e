"""The Merkle log: its leaves, its signed checkpoints, who vouched for them, and what may be computed again."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, LargeBinary, Table, Text

from cloud.db.tables.base import metadata

#: Record. Leaves of the Merkle log, numbered from 0 without holes. kind: cloud/ledger/log.py's KINDS.
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

#: Full tiles of 256 hashes, and the root over each (projection of leaf).
ledger_tile = Table(
    "ledger_tile",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("tile_index", BigInteger, primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
)

#: Record. The origins the log has had; all but the first were opened after a restore. body: the bytes of its leaf.
ledger_epoch = Table(
    "ledger_epoch",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False, unique=True),
    Column("base_size", BigInteger, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("leaf_index", BigInteger, unique=True),
)

#: Record. Public keys that sign checkpoints, from the size `first_size` on and up to `ends_ms`. body: as above.
ledger_key = Table(
    "ledger_key",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("public_key", LargeBinary, nullable=False, unique=True),
    Column("first_size", BigInteger, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger),
    Column("body", Text, nullable=False),
    Column("leaf_index", BigInteger, unique=True),
)

#: Record. A root as it was signed: at most one for each size, each larger than those before it.
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", ForeignKey("ledger_epoch.number"), nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_ms", BigInteger, nullable=False),
)

#: Record. A witness's signature line under a checkpoint. vkey: the key it was checked with.
cosignature = Table(
    "cosignature",
    metadata,
    Column("size", ForeignKey("checkpoint.size"), primary_key=True),
    Column("vkey", Text, primary_key=True),
    Column("line", Text, nullable=False),
    Column("cosigned_ms", BigInteger, nullable=False),
)

#: Record. A time stamp (RFC 3161) of a checkpoint's note, as the authority answered.
time_stamp = Table(
    "time_stamp",
    metadata,
    Column("size", ForeignKey("checkpoint.size"), primary_key=True),
    Column("authority", Text, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("stamped_ms", BigInteger, nullable=False),
)
