"""Packs as they came, and what ingest derives from them about streams."""

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
    Table,
    Text,
    UniqueConstraint,
)

from cloud.db.tables.base import Id, metadata

#: Record. A pack as it came, first come first kept.
pack = Table(
    "pack",
    metadata,
    Column("id", Id, primary_key=True),
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

#: Record. Another envelope that claimed the identity of a kept pack, which stands here once more: receipts ask by it.
conflict = Table(
    "conflict",
    metadata,
    Column("id", Id, primary_key=True),
    Column("pack_id", ForeignKey("pack.id"), nullable=False),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    UniqueConstraint("pack_id", "hash"),
)
Index("ix_conflict_stream", conflict.c.gateway, conflict.c.stream, conflict.c.id)

#: Record. What could not be accepted, raw, with the reason.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Id, primary_key=True),
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

#: Numbers of a stream that were missing when a higher one came, or were declared lost or thinned, as ascending ranges
#: that do not overlap (projection of pack and declared_loss in the order of leaves). state: open (neither came nor
#: declared), explained (by the loss pack_id, position), closed (came after all). opened_ms, settled_ms: instants of
#: receipt; settled_ms is NULL while open, the last number's where several closed.
gap = Table(
    "gap",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("stream", LargeBinary, primary_key=True),
    Column("first_seq", BigInteger, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger),
    Column("pack_id", BigInteger),
    Column("position", Integer),
    CheckConstraint("state IN ('open', 'explained', 'closed')", name="known_state"),
    CheckConstraint("(state = 'open') = (settled_ms IS NULL)", name="open_is_not_settled"),
)
Index(
    "ix_gap_open",
    gap.c.gateway,
    gap.c.opened_ms,
    sqlite_where=gap.c.state == "open",
    postgresql_where=gap.c.state == "open",
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
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("stream", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Column("found_ms", BigInteger, nullable=False),
    UniqueConstraint("kind", "gateway", "stream", "seq"),
)

#: Record. A command as it was signed. stream, ranges (JSON): of what was asked for again. answered_ms: when nothing of
#: that was missing any more. published_ms: when it was given to the broker, NULL while it waits for that.
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
    Column("published_ms", BigInteger),
)
Index("ix_command_issued", command.c.issued_ms)
Index(
    "ix_command_waiting",
    command.c.issued_ms,
    sqlite_where=command.c.published_ms.is_(None),
    postgresql_where=command.c.published_ms.is_(None),
)

#: The state each gateway last told about itself (retained status), and when it was heard.
gateway_state = Table(
    "gateway_state",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("online", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("heard_ms", BigInteger, nullable=False),
)
