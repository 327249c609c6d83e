"""What is kept beyond its time and by whose word, and what was removed: records."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text

from cloud.db.tables.base import Id, metadata

#: Record. Somebody's word that a lot, a place, a series or a period is kept, and the word that ends it. body, release:
#: JSON (retention/holds.py); their SHA-256 are the leaves.
hold = Table(
    "hold",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", Text, nullable=False),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
    Column("release", Text),
    Column("release_leaf_index", BigInteger, unique=True),
)

#: Record. One transaction of a removal. body: JSON (retention/pruning.py) of when, why, by what rule, and which leaves
#: lost their bytes; its SHA-256 is a leaf.
pruning = Table(
    "pruning",
    metadata,
    Column("id", Id, primary_key=True),
    Column("body", Text, nullable=False),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
)

#: Record. A leaf whose bytes were removed. hash: of the bytes that were there, as in `leaf`; the row of the pack stays,
#: with an empty envelope.
tombstone = Table(
    "tombstone",
    metadata,
    Column("leaf_index", ForeignKey("leaf.leaf_index"), primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("pruning_id", ForeignKey("pruning.id"), nullable=False),
)
