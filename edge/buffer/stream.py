"""Streams as the buffer file knows them: 16 random bytes and a chain of packs each. When one begins: turn.py.

Keeps each range that the file remembers (RANGE_TABLES) the same in the stream and in its table.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from edge.buffer.file import CorruptFile
from edge.buffer.ranges import Range, Ranges, gaps, numbers, unite
from edge.buffer.seal import Chain
from wire.pack import StreamHead

RANGE_TABLES = ("settled", "declared", "to_carry", "carried")  # each a field of Stream, each a table
WANTED_MAX = 200  # four windows: enough to skip everything that is on its way


@dataclass(slots=True)
class Stream:
    """One stream: its head, what of it is settled, and what is shelved (kind by seq).

    declared: gave way under disk pressure, a later pack says so. handed_out: what was, in this run; only that is
    settled by receipts. offered: the highest seq that may have left, ever. trusted: settled before this run.
    disputed: a copy of us writes it, too. Its packs are sent on until receipts settle their seqs, but these may mean
    the copy's: to_carry and carried are seqs whose observations have to be, and were, carried over as well.
    """

    id: int
    name: bytes
    kid: bytes
    last_seq: int = 0
    last_hash: bytes | None = None
    predecessor: StreamHead | None = None
    settled: Ranges = field(default_factory=list)
    shelved: dict[int, str] = field(default_factory=dict)
    declared: Ranges = field(default_factory=list)
    handed_out: Ranges = field(default_factory=list)
    offered: int = 0
    trusted: Ranges = field(default_factory=list)
    disputed: bool = False
    to_carry: Ranges = field(default_factory=list)
    carried: Ranges = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        """Where the next pack goes on."""
        return Chain(self.name, self.last_seq, self.last_hash, self.predecessor)

    @property
    def head(self) -> StreamHead | None:
        """The last pack, None before the first."""
        return None if self.last_hash is None else StreamHead(self.name, self.last_seq, self.last_hash)

    @property
    def done(self) -> Ranges:
        """What is no longer sent by itself: settled, shelved or declared."""
        return unite(self.settled, [*self._shelved_ranges, *self.declared])

    @property
    def archived(self) -> Ranges:
        """What is settled and lies here for nobody but the archive, if it is still here."""
        kept = unite(self._shelved_ranges, self.to_carry)
        return [piece for first, last in self.settled for piece in gaps(kept, first, last)]

    @property
    def may_have_left(self) -> Ranges:
        """What a receipt may speak of, if nobody else writes this stream."""
        return unite(self.handed_out, [(1, self.offered)] if self.offered else [])

    @property
    def unsent(self) -> Ranges:
        """What still has to be sent."""
        return gaps(self.done, 1, self.last_seq)

    @property
    def _shelved_ranges(self) -> Ranges:
        return unite([], ((seq, seq) for seq in self.shelved))

    @property
    def released_through(self) -> int:
        """Highest seq below which everything is settled."""
        return self.settled[0][1] if self.settled and self.settled[0][0] == 1 else 0


def load_streams(connection: sqlite3.Connection) -> list[Stream]:
    """Every stream of the file, oldest first. Raises CorruptFile."""
    streams: dict[int, Stream] = {}
    rows = connection.execute(
        "SELECT id, name, kid, last_seq, last_hash, predecessor, disputed FROM stream ORDER BY id"
    )
    for id_, name, kid, last_seq, last_hash, predecessor, disputed in rows:
        before = None if predecessor is None else _predecessor(predecessor)
        streams[id_] = Stream(id_, name, kid, last_seq, last_hash, before, offered=last_seq, disputed=bool(disputed))
    for table in RANGE_TABLES:
        for id_, first, last in connection.execute(f"SELECT stream_id, first, last FROM {table} ORDER BY 1, 2"):  # noqa: S608 - our names
            getattr(_sealed(streams, id_, last), table).append((first, last))
    for id_, seq, kind in connection.execute("SELECT stream_id, seq, kind FROM shelved"):
        _sealed(streams, id_, seq).shelved[seq] = kind
    for stream in streams.values():
        stream.trusted = stream.settled
        stream.handed_out = stream.done
    return list(streams.values())


def _sealed(streams: dict[int, Stream], id_: int, seq: int) -> Stream:
    """The stream that has sealed this seq. Raises CorruptFile: SQLite checks no reference of rows that are there.

    Of a stream that was left, a copy of us or a newer file may have sealed more than this file knows.
    """
    if id_ not in streams or (id_ == max(streams) and seq > streams[id_].last_seq):
        raise CorruptFile(f"something is settled, declared or shelved of seq {seq} of stream {id_}, never sealed")
    return streams[id_]


def save_ranges(connection: sqlite3.Connection, stream: Stream, table: str, wanted: Ranges) -> None:
    """Write the difference between what `stream` has of `table` and `wanted`; in the caller's transaction."""
    assert table in RANGE_TABLES
    before, after = set(getattr(stream, table)), set(wanted)
    connection.executemany(
        f"DELETE FROM {table} WHERE stream_id = ? AND first = ?",  # noqa: S608 - our names
        [(stream.id, first) for first, _ in before - after],
    )
    connection.executemany(
        f"INSERT INTO {table} (stream_id, first, last) VALUES (?, ?, ?)",  # noqa: S608 - our names
        [(stream.id, first, last) for first, last in after - before],
    )


def save_settled(connection: sqlite3.Connection, stream: Stream, settled: Ranges) -> None:
    """Write what receipts have settled; in the caller's transaction."""
    save_ranges(connection, stream, "settled", settled)


def save_dispute(connection: sqlite3.Connection, stream: Stream, to_carry: Ranges) -> None:
    """Write that a copy writes this stream, and what has to be carried over; in the caller's transaction."""
    connection.execute("UPDATE stream SET disputed = 1 WHERE id = ?", (stream.id,))
    save_ranges(connection, stream, "to_carry", to_carry)


def newly_done(stream: Stream, more: list[Range]) -> Ranges:
    """What of `more` was not settled or shelved before."""
    done = stream.done
    return unite([], (gap for first, last in more for gap in gaps(done, first, last)))


def wanted(stream: Stream, *, newest_first: bool) -> list[int]:
    """Unsent seqs, as many as one call can want."""
    return list(islice(numbers(stream.unsent, descending=newest_first), WANTED_MAX))


def _predecessor(data: bytes) -> StreamHead:
    try:
        return msgspec.msgpack.decode(data, type=StreamHead)
    except msgspec.MsgspecError as error:
        raise CorruptFile(f"the predecessor of a stream no longer decodes: {error}") from error
