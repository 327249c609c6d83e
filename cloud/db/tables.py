"""Every table of the cloud. Records are marked; all else is a projection that can be rebuilt from them.

Instants are INTEGER milliseconds UTC in columns named `_ms`, digests and envelopes are BLOB, structures are JSON text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite auto-numbers only INTEGER PRIMARY KEY

# --- ingest: records ------------------------------------------------------------------------------------------------

#: Record. A pack as it came, first come first kept.
pack = Table(
    "pack",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("prev", LargeBinary),
    Column("envelope", LargeBinary, nullable=False),
    Column("observations", Integer, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("sealed_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
    UniqueConstraint("gateway", "stream", "seq"),
    CheckConstraint("seq >= 1", name="seq_starts_at_1"),
)

#: Record. Another envelope that claimed the identity of a kept pack.
conflict = Table(
    "conflict",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("pack_id", ForeignKey("pack.id"), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    UniqueConstraint("pack_id", "hash"),
)

#: Record. What could not be accepted, raw, with the reason.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("times", Integer, nullable=False, default=1),
    UniqueConstraint("topic", "hash"),
)

#: Settled seqs per stream as ascending ranges that neither overlap nor touch (projection of pack).
settled = Table(
    "settled",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("stream", LargeBinary, primary_key=True),
    Column("first_seq", BigInteger, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
)

#: A loss that a pack declares: seqs that will not come as they were sealed (projection of pack). position: in the
#: pack's list. counts: JSON, pairs of a channel and how many of its readings are left out.
declared_loss = Table(
    "declared_loss",
    metadata,
    Column("pack_id", ForeignKey("pack.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger),
    Column("last_hash", LargeBinary),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Column("from_ms", BigInteger),
    Column("to_ms", BigInteger),
    CheckConstraint("kind IN ('thinned', 'lost')", name="known_kind"),
)
Index("ix_declared_loss_last", declared_loss.c.gateway, declared_loss.c.stream, declared_loss.c.last_seq)

#: Ordinals of a pack that were sealed before, in the pack named by stream, seq and hash (projection of pack).
carried = Table(
    "carried",
    metadata,
    Column("pack_id", ForeignKey("pack.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("first_ordinal", Integer, nullable=False),
    Column("count", Integer, nullable=False),
)
Index("ix_carried_origin", carried.c.gateway, carried.c.stream, carried.c.seq)

#: The stream that a stream's first pack says it goes on from, and the head it knew there (projection of pack).
succession = Table(
    "succession",
    metadata,
    Column("pack_id", ForeignKey("pack.id"), primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("prior_stream", LargeBinary, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
Index("ix_succession_prior", succession.c.gateway, succession.c.prior_stream, succession.c.last_seq)

#: What does not fit in the record, once per place. kind: ingest/finding.py; stream and seq are empty and 0 where a
#: finding is about a gateway as a whole.
finding = Table(
    "finding",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Column("found_ms", BigInteger, nullable=False),
    UniqueConstraint("kind", "gateway", "stream", "seq"),
)

#: Record. A command as it was signed. stream, ranges (JSON): of what was asked for again. answered_ms: when nothing of
#: that was missing any more.
command = Table(
    "command",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("counter", BigInteger, primary_key=True),
    Column("id", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("stream", LargeBinary),
    Column("ranges", Text),
    Column("envelope", LargeBinary, nullable=False),
    Column("answered_ms", BigInteger),
)
Index("ix_command_issued", command.c.issued_ms)

#: The state each gateway last told about itself (retained status), and when it was heard.
gateway_state = Table(
    "gateway_state",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("online", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("heard_ms", BigInteger, nullable=False),
)

# --- ledger ---------------------------------------------------------------------------------------------------------

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

# --- telemetry: projections -----------------------------------------------------------------------------------------

series = Table(
    "series",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("unit", Text, nullable=False),
    UniqueConstraint("gateway", "channel", "unit"),
)

#: One row per block of a pack: columnar body (the wire's Block), with what a query needs to skip it.
#: from_ms, to_ms: the span of its corrected times; believed_*: of its times as sent. future: a row is from the future.
tail = Table(
    "tail",
    metadata,
    Column("pack_id", ForeignKey("pack.id"), primary_key=True),
    Column("first_ordinal", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("count", Integer, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    Column("believed_from_ms", BigInteger, nullable=False),
    Column("believed_to_ms", BigInteger, nullable=False),
    Column("boot_id", LargeBinary, nullable=False),
    Column("from_monotonic_ms", BigInteger, nullable=False),
    Column("to_monotonic_ms", BigInteger, nullable=False),
    Column("future", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("ix_tail_series_time", tail.c.series_id, tail.c.to_ms, tail.c.from_ms)
Index("ix_tail_boot", tail.c.boot_id, tail.c.from_monotonic_ms, tail.c.to_monotonic_ms)
Index("ix_tail_future", tail.c.series_id, sqlite_where=tail.c.future, postgresql_where=tail.c.future)

#: observed_ms: corrected as far as it is known; believed_ms: as sent. clock: what the gateway said of its wall clock.
#: place_*: where it stands in the order of a stream (telemetry/place.py); not where it came, when it was carried.
scan = Table(
    "scan",
    metadata,
    Column("pack_id", ForeignKey("pack.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("symbology", Text, nullable=False),
    Column("observed_ms", BigInteger, nullable=False),
    Column("believed_ms", BigInteger, nullable=False),
    Column("boot_id", LargeBinary, nullable=False),
    Column("monotonic_ms", BigInteger, nullable=False),
    Column("clock", Integer, nullable=False),
    Column("quality", Integer, nullable=False),
    Column("place_stream", LargeBinary, nullable=False),
    Column("place_seq", BigInteger, nullable=False),
    Column("place_position", Integer, nullable=False),
)
Index("ix_scan_place", scan.c.gateway, scan.c.place_stream, scan.c.place_seq, scan.c.place_position)
Index("ix_scan_channel_time", scan.c.gateway, scan.c.channel, scan.c.observed_ms)
Index("ix_scan_boot", scan.c.gateway, scan.c.boot_id, scan.c.monotonic_ms)

#: What to add to the believed times of a boot's rows, as gateways signed it (wire.md §4.3).
correction = Table(
    "correction",
    metadata,
    Column("pack_id", ForeignKey("pack.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("boot_id", LargeBinary, nullable=False),
    Column("from_monotonic_ms", BigInteger, nullable=False),
    Column("to_monotonic_ms", BigInteger, nullable=False),
    Column("offset_ms", BigInteger, nullable=False),
    Column("uncertainty_ms", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
)
Index("ix_correction_boot", correction.c.gateway, correction.c.boot_id)

#: Boots of a gateway as its packs tell of them. ceiling_ms: true time at monotonic 0 is not after this (the least of
#: receipt minus monotonic time of sealing); synced_*: when it was last sealed by a clock that was set, as believed.
boot = Table(
    "boot",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("boot_id", LargeBinary, primary_key=True),
    Column("stream", LargeBinary, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("ceiling_ms", BigInteger, nullable=False),
    Column("synced_monotonic_ms", BigInteger),
    Column("synced_ms", BigInteger),
)

# --- registry: records ----------------------------------------------------------------------------------------------

gateway = Table(
    "gateway",
    metadata,
    Column("name", Text, primary_key=True),
    Column("simulated", Boolean, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
)

gateway_key = Table(
    "gateway_key",
    metadata,
    Column("gateway", ForeignKey("gateway.name"), primary_key=True),
    Column("kid", LargeBinary, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

#: Record. Where a key ends: from `first_seq` of `stream` on it signs nothing, nor in any stream but the older ones.
#: cause: changed (signed by this key, naming the successor) or revoked.
key_end = Table(
    "key_end",
    metadata,
    Column("gateway", ForeignKey("gateway.name"), primary_key=True),
    Column("kid", LargeBinary, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("successor", LargeBinary),
    Column("ended_ms", BigInteger, nullable=False),
    CheckConstraint("cause IN ('changed', 'revoked')", name="known_cause"),
)

#: The streams from before a key's end, in which it stays good up to last_seq. linked: the end's stream went on from it.
key_older_stream = Table(
    "key_older_stream",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("kid", LargeBinary, primary_key=True),
    Column("stream", LargeBinary, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("linked", Boolean, nullable=False),
)

#: Record. Who took back a key or a link certificate, when and why. subject: the key's id, or the serial in hex.
revocation = Table(
    "revocation",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("gateway", ForeignKey("gateway.name"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("from_seq", BigInteger),
    Column("reason", Text, nullable=False),
    Column("revoked_ms", BigInteger, nullable=False),
    Column("leaf_index", BigInteger, nullable=False),
    CheckConstraint("kind IN ('key', 'link')", name="known_kind"),
    UniqueConstraint("leaf_index"),
)

#: Record. A certificate of ours that lets a gateway onto the broker. serial: in hex; certificate: DER.
link_certificate = Table(
    "link_certificate",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("link_key", LargeBinary, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

Index("ix_link_certificate_key", link_certificate.c.gateway, link_certificate.c.link_key)

#: Record. A one-time code, by the public half of the key that is in it: the code itself is kept nowhere.
invitation = Table(
    "invitation",
    metadata,
    Column("code_id", LargeBinary, primary_key=True),
    Column("code_key", LargeBinary, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("invited_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
    Column("used_by", LargeBinary),
)

party = Table(
    "party",
    metadata,
    Column("gln", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
)

#: kind: packing, storage, vehicle, customer. custody: whether we answer for the cold here (a customer's door ends it).
place = Table(
    "place",
    metadata,
    Column("gln", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_en", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("party", ForeignKey("party.gln"), nullable=False),
    Column("custody", Boolean, nullable=False),
)

#: A scanner's channel at a place, and what a scan there means: pack, store, load, deliver.
read_point = Table(
    "read_point",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("place", ForeignKey("place.gln"), nullable=False),
    Column("step", Text, nullable=False),
    CheckConstraint("step IN ('pack', 'store', 'load', 'deliver')", name="known_step"),
)

#: A measuring point: a series bound to a place for a time.
sensor_binding = Table(
    "sensor_binding",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("place", ForeignKey("place.gln"), nullable=False),
    Column("measurement", Text, nullable=False),
    Column("sensor", Text, nullable=False),
    Column("log_interval_s", Integer, nullable=False),
    Column("valid_from_ms", BigInteger, nullable=False),
    Column("valid_to_ms", BigInteger),
    Column("note", Text, nullable=False, default=""),
)

product = Table(
    "product",
    metadata,
    Column("gtin", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_en", Text, nullable=False),
    Column("party", ForeignKey("party.gln"), nullable=False),
    Column("profile", Text, nullable=False),
)

#: Limits of a product group, versioned; `body` is registry/profile.py's Profile as JSON.
profile = Table(
    "profile",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("valid_from_ms", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

# --- events: records ------------------------------------------------------------------------------------------------

#: Record. An EPCIS 2.0 event as captured. `origin` names the scan or document it came from.
event = Table(
    "event",
    metadata,
    Column("id", _Id, primary_key=True),
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
    Column("pack_id", Integer, primary_key=True),
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

# --- evidence and review: records -----------------------------------------------------------------------------------

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
    Column("id", _Id, primary_key=True),
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

# --- people ---------------------------------------------------------------------------------------------------------

person = Table(
    "person",
    metadata,
    Column("login", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    CheckConstraint("role IN ('operator', 'official')", name="known_role"),
)

session = Table(
    "session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("login", ForeignKey("person.login"), nullable=False),
    Column("csrf", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)
