"""Frozen evidence and what people decided on it: records. The lines of the officials' list: a projection."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text

from cloud.db.tables.base import Id, metadata

#: Record. A frozen version of a lot's evidence; `body` is evidence/model.py's LotEvidence as JSON.
evidence_version = Table(
    "evidence_version",
    metadata,
    Column("gtin", Text, primary_key=True),
    Column("lot", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("computed_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
)

#: Record. What people decided: submitted, returned, approved. A decision names the evidence version it saw.
decision = Table(
    "decision",
    metadata,
    Column("id", Id, primary_key=True),
    Column("gtin", Text, nullable=False),
    Column("lot", Text, nullable=False),
    Column("evidence_version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("decided_ms", BigInteger, nullable=False),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
    CheckConstraint("kind IN ('submitted', 'returned', 'approved')", name="known_kind"),
)
Index("ix_decision_lot", decision.c.gtin, decision.c.lot)

#: A line of the officials' list as it was last computed (projection, some minutes old at most): body is
#: review/worklist.py's LotSummary as JSON. leaves, registry: the basis it was computed on (evidence/basis.py);
#: moving: the lot is still in our custody, so that its line changes with time alone.
lot_summary = Table(
    "lot_summary",
    metadata,
    Column("gtin", Text, primary_key=True),
    Column("lot", Text, primary_key=True),
    Column("computed_ms", BigInteger, nullable=False),
    Column("leaves", BigInteger, nullable=False),
    Column("registry", LargeBinary, nullable=False),
    Column("moving", Boolean, nullable=False),
    Column("body", Text, nullable=False),
)
