-- What the next pack carries beside observations, typed. body: MessagePack of a Loss or a Correction.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('loss', 'correction')),
    body BLOB NOT NULL
) STRICT;

INSERT INTO entry (id, kind, body) SELECT id, 'loss', loss FROM declaration;

DROP TABLE declaration;
