"""EPCIS events as captured, and how far followers have read."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from cloud.db.tables.base import Id, metadata

#: Record. An EPCIS 2.0 event as captured. `origin` names the scan or document it came from.
event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("event_time_ms", BigInteger, nullable=False),
    Column("record_time_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
)

#: Which identifiers (canonical Digital Link URIs) an event speaks of (projection). role: epc, parent, child, class.
event_item = Table(
    "event_item",
    metadata,
    Column("event_id", ForeignKey("event.id"), primary_key=True),
    Column("item", Text, primary_key=True),
    Column("role", Text, primary_key=True),
)
Index("ix_event_item_item", event_item.c.item)

#: Scans the rules could not turn into an event, with the reason (projection).
scan_finding = Table(
    "scan_finding",
    metadata,
    Column("pack_id", Id, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("observed_ms", BigInteger, nullable=False),
)

#: How far a follower has read. stream scans: per (gateway, stream) the last seq worked through.
cursor = Table(
    "cursor",
    metadata,
    Column("follower", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
)
