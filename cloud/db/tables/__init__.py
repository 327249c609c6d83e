"""Every table of the cloud, a module for each room. Records are marked; all else is a projection, rebuilt from them.

Instants are INTEGER milliseconds UTC in columns named `_ms`, digests and envelopes are BLOB, structures are JSON text.
"""

from __future__ import annotations

from cloud.db.tables.base import metadata
from cloud.db.tables.events import cursor, event, event_item, scan_finding
from cloud.db.tables.evidence import decision, evidence_version, lot_summary
from cloud.db.tables.ingest import (
    carried,
    command,
    conflict,
    declared_loss,
    finding,
    gap,
    gateway_state,
    pack,
    quarantine,
    settled,
    succession,
)
from cloud.db.tables.ledger import (
    checkpoint,
    cosignature,
    leaf,
    ledger_epoch,
    ledger_key,
    ledger_state,
    ledger_tile,
    time_stamp,
)
from cloud.db.tables.people import former_person, person, session
from cloud.db.tables.registry import (
    gateway,
    gateway_key,
    invitation,
    key_end,
    key_older_stream,
    link_certificate,
    party,
    place,
    product,
    profile,
    read_point,
    revocation,
    sensor_binding,
)
from cloud.db.tables.retention import hold, pruning, tombstone
from cloud.db.tables.telemetry import boot, chunk, chunk_body, correction, scan, series, tail

__all__ = [
    "boot",
    "carried",
    "checkpoint",
    "chunk",
    "chunk_body",
    "command",
    "conflict",
    "correction",
    "cosignature",
    "cursor",
    "decision",
    "declared_loss",
    "event",
    "event_item",
    "evidence_version",
    "finding",
    "former_person",
    "gap",
    "gateway",
    "gateway_key",
    "gateway_state",
    "hold",
    "invitation",
    "key_end",
    "key_older_stream",
    "leaf",
    "ledger_epoch",
    "ledger_key",
    "ledger_state",
    "ledger_tile",
    "link_certificate",
    "lot_summary",
    "metadata",
    "pack",
    "party",
    "person",
    "place",
    "product",
    "profile",
    "pruning",
    "quarantine",
    "read_point",
    "revocation",
    "scan",
    "scan_finding",
    "sensor_binding",
    "series",
    "session",
    "settled",
    "succession",
    "tail",
    "time_stamp",
    "tombstone",
]
