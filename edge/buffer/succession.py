"""Who signs, while one key follows another.

A change of key is a pack, signed by the old key, that names the new one. Until the cloud is known to have it both keys
are kept. That is known when a receipt settles the change. A stream that a copy writes, too, proves nothing.

A stream that begins before that begins with the change once more, and the old key signs nothing else in it. Should
the cloud have had the change already, it refuses that one empty pack and takes all behind it, which proves as much: the
new key signed that, and the cloud takes nothing from a key it was not told of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from edge.buffer.base import PackName
from edge.buffer.file import CorruptFile
from edge.buffer.meta import KEY_CHANGES, read_text, write_text
from edge.buffer.ranges import contains, subtract, unite
from edge.buffer.stream import Stream
from edge.keys import Identity


class Changes(msgspec.Struct, frozen=True):
    """What the file remembers: the packs (stream in hex, seq) that named the key `kid`, in hex."""

    kid: str = ""
    packs: list[tuple[str, int]] = []


class Succession:
    """The keys of one buffer file. `successor`: the next key, None when no change is under way."""

    def __init__(
        self, db: sqlite3.Connection, streams: Sequence[Stream], identity: Identity, successor: Identity | None
    ) -> None:
        """Raises CorruptFile."""
        self._db = db
        self.identity = identity
        self.successor = successor
        kept = _read(db)
        newest = (successor or identity).kid.hex()
        self.changes: list[PackName] = (
            [(bytes.fromhex(name), seq) for name, seq in kept.packs] if kept.kid == newest else []
        )
        if not self.changes and successor is not None and streams and streams[-1].kid == successor.kid:
            self.changes = [(streams[-1].name, streams[-1].last_seq + 1)]  # made by a program that remembered nothing

    def signer(self, kid: bytes) -> Identity:
        """Who signs in a stream of this key."""
        return self.successor if self.successor is not None and self.successor.kid == kid else self.identity

    def beginner(self, streams: Sequence[Stream]) -> Identity:
        """Who signs first in a stream that begins now."""
        return self.successor if self.successor is not None and self.arrived(streams) else self.identity

    def arrived(self, streams: Sequence[Stream]) -> bool:
        """Whether the cloud surely knows the successor."""
        return any(_proves(stream, seq) for stream in streams for name, seq in self.changes if name == stream.name)

    def begin(self, successor: Identity) -> None:
        """A change to this key is under way."""
        if self.successor is None or self.successor.kid != successor.kid:
            self.successor, self.changes = successor, []

    def finish(self) -> None:
        """The successor is the only key there is."""
        self.identity, self.successor = self.successor or self.identity, None

    def save(self, successor: Identity, change: PackName) -> None:
        """Write down a pack that names the successor; in the caller's transaction, and `note` follows its commit."""
        packs = [(name.hex(), seq) for name, seq in [*self.changes, change]]
        write_text(self._db, KEY_CHANGES, msgspec.json.encode(Changes(successor.kid.hex(), packs)).decode())

    def note(self, change: PackName) -> None:
        """Remember what was written down: another pack that took this name instead would prove nothing."""
        self.changes.append(change)

    def superfluous(self, streams: Sequence[Stream]) -> list[tuple[Stream, int]]:
        """Changes that will never be settled: the cloud had an earlier one, for it has later packs of the stream."""
        if self.successor is not None:
            return []
        return [(stream, seq) for stream, seq in self._waiting(streams) if _proves(stream, seq)]

    def over(self, streams: Sequence[Stream]) -> bool:
        """Whether what is remembered serves nothing any more."""
        return bool(self.changes) and self.successor is None and not self._waiting(streams)

    def forget(self) -> None:
        """The change is over; in the caller's transaction, or in one of its own."""
        write_text(self._db, KEY_CHANGES, "{}")
        self.changes = []

    def _waiting(self, streams: Sequence[Stream]) -> list[tuple[Stream, int]]:
        return [
            (stream, seq)
            for stream in streams
            for name, seq in self.changes
            if name == stream.name and contains(stream.unsent, seq)
        ]


def _proves(stream: Stream, seq: int) -> bool:
    """Whether the cloud has accepted this change as ours, or what the successor signed behind it."""
    said_otherwise = [*stream.declared, *stream.carried, *stream.to_carry, *((each, each) for each in stream.shelved)]
    accepted = subtract(stream.settled, unite([], said_otherwise))
    return not stream.disputed and (contains(accepted, seq) or (seq == 1 and bool(accepted)))


def _read(db: sqlite3.Connection) -> Changes:
    try:
        kept = msgspec.json.decode(read_text(db, KEY_CHANGES) or "{}", type=Changes)
        for name, _ in kept.packs:
            bytes.fromhex(name)
    except ValueError as error:
        raise CorruptFile(f"what is known of a change of key no longer decodes: {error}") from error
    return kept
