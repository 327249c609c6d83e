-- What the next pack carries beside observations, typed. body: MessagePack of a Loss or a Correction.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('loss', 'correction')),
    body BLOB NOT NULL
) STRICT;

INSERT INTO entry (id, kind, body) SELECT id, 'loss', loss FROM declaration;

DROP TABLE declaration;

-- What disk pressure may do to an unsent pack next: thin its readings, declare them lost, or nothing, ever.
ALTER TABLE pack ADD COLUMN pressure TEXT NOT NULL DEFAULT 'thin' CHECK (pressure IN ('thin', 'lose', 'stay'));

-- Seqs whose packs gave way: a later pack declares them. Ascending ranges that don't touch, like settled.
CREATE TABLE declared (
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    first INTEGER NOT NULL CHECK (first >= 1),
    last INTEGER NOT NULL,
    PRIMARY KEY (stream_id, first),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;

-- disputed: a copy of this file writes the stream, too.
ALTER TABLE stream ADD COLUMN disputed INTEGER NOT NULL DEFAULT 0 CHECK (disputed IN (0, 1));

-- Seqs of disputed streams whose packs have to be carried over, and those that were.
CREATE TABLE to_carry (
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    first INTEGER NOT NULL CHECK (first >= 1),
    last INTEGER NOT NULL,
    PRIMARY KEY (stream_id, first),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;

CREATE TABLE carried (
    stream_id INTEGER NOT NULL REFERENCES stream (id),
    first INTEGER NOT NULL CHECK (first >= 1),
    last INTEGER NOT NULL,
    PRIMARY KEY (stream_id, first),
    CHECK (first <= last)
) STRICT, WITHOUT ROWID;
