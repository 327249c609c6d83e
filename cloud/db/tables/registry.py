"""Gateways and their keys, parties, places, sensors, products: records."""

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
    Column("id", Id, primary_key=True),
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
    Column("id", Id, primary_key=True),
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
