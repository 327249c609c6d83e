-- Open groups wait to be sealed; packs are what was signed; settled ranges say which of them the cloud has.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- last_*: head of the chain; the pack itself may have left the archive. predecessor: MessagePack of a StreamHead.
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE CHECK (length(name) = 16),
    kid BLOB NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    last_hash BLOB CHECK (length(last_hash) = 32),
    predecessor BLOB,
    CHECK ((last_seq = 0) = (last_hash IS NULL))
) STRICT;

-- One row per commit: many small rows would cost several times the bytes.
CREATE TABLE open_group (
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL CHECK (count > 0),
    from_ms INTEGER NOT NULL,
    scans INTEGER NOT NULL CHECK (scans >= 0),
    observations BLOB NOT NULL
) STRICT;

-- The small columns stand before the envelope, so that counting never reads it.
CREATE TABLE pack (
    id INTEGER PRIMARY KEY,
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    seq INTEGER NOT NULL CHECK (seq >= 1),
    readings INTEGER NOT NULL CHECK (readings >= 0),
    scans INTEGER NOT NULL CHECK (scans >= 0),
    from_ms INTEGER,
    to_ms INTEGER,
    sealed_ms INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    envelope BLOB NOT NULL,
    UNIQUE (stream_id, seq)
) STRICT;

CREATE TABLE settled (
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    first INTEGER NOT NULL CHECK (first >= 1),
    last INTEGER NOT NULL,
    PRIMARY KEY (stream_id, first),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;

-- Packs that are not sent by themselves: finally refused by the cloud, or damaged on this disk.
CREATE TABLE shelved (
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('refused', 'damaged')),
    reason TEXT NOT NULL,
    PRIMARY KEY (stream_id, seq)
) STRICT, WITHOUT ROWID;

-- Losses (MessagePack) that the next pack will declare.
CREATE TABLE declaration (
    id INTEGER PRIMARY KEY,
    loss BLOB NOT NULL
) STRICT;

-- Groups whose bytes no longer decode: kept as evidence.
CREATE TABLE damaged_group (
    id INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    observations BLOB NOT NULL
) STRICT;
