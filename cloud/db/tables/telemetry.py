"""Readings, scans and the clocks they were taken by: projections of the packs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from cloud.db.tables.base import Id, metadata

series = Table(
    "series",
    metadata,
    Column("id", Id, primary_key=True),
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
    sqlite_with_rowid=False,  # a pack's blocks lie side by side, in the order in which they come and go
)
# One index for those who ask for a boot, a chunk, or a window of time: the tail is short, its inserts are many.
Index("ix_tail_series", tail.c.series_id, tail.c.boot_id, tail.c.from_monotonic_ms, tail.c.to_ms, tail.c.from_ms)
Index("ix_tail_future", tail.c.series_id, sqlite_where=text("future = 1"), postgresql_where=tail.c.future)

#: Blocks of a series that begin in one aligned day of a boot's monotonic time, folded: no correction changes which
#: chunk a block belongs to. carried: of packs that carry rows over, which may stop counting; they are kept apart.
#: Times and hours are as corrections say; stale: they have changed since, and the times are only bounds. hours:
#: telemetry/rollup.py, NULL where the body must be read. future_*: of the blocks with a row from the future.
chunk = Table(
    "chunk",
    metadata,
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("boot_id", LargeBinary, primary_key=True),
    Column("day", BigInteger, primary_key=True),
    Column("carried", Boolean, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    Column("believed_from_ms", BigInteger, nullable=False),
    Column("believed_to_ms", BigInteger, nullable=False),
    Column("from_monotonic_ms", BigInteger, nullable=False),
    Column("to_monotonic_ms", BigInteger, nullable=False),
    Column("future_count", Integer, nullable=False),
    Column("future_from_ms", BigInteger),
    Column("future_to_ms", BigInteger),
    Column("stale", Boolean, nullable=False),
    Column("hours", LargeBinary),
)
Index("ix_chunk_series_time", chunk.c.series_id, chunk.c.to_ms, chunk.c.from_ms)
# SQLite takes a partial index where the query has the same words, and `= 1` is how a boolean is asked for.
Index("ix_chunk_stale", chunk.c.series_id, sqlite_where=text("stale = 1"), postgresql_where=chunk.c.stale)
Index(
    "ix_chunk_future",
    chunk.c.series_id,
    sqlite_where=chunk.c.future_count > 0,
    postgresql_where=chunk.c.future_count > 0,
)

#: The readings of a chunk (telemetry/body.py), apart, so that looking through chunks doesn't read them.
chunk_body = Table(
    "chunk_body",
    metadata,
    Column("series_id", ForeignKey("series.id"), primary_key=True),
    Column("boot_id", LargeBinary, primary_key=True),
    Column("day", BigInteger, primary_key=True),
    Column("carried", Boolean, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

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
