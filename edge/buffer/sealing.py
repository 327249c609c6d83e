"""Open groups and waiting entries become sealed packs of the current stream. How a pack is made: edge/buffer/seal.py.

Keeps "sealed exactly once" and "seqs are contiguous and chained": the transaction that stores fresh packs moves the
stream's head and deletes what they were made of. And "nothing gives way in silence": when some of that was damaged, the
same transaction declares it lost, in a new stream.
"""

from __future__ import annotations

import logging
import sqlite3

from edge.buffer.base import BufferFull
from edge.buffer.books import Books
from edge.buffer.file import CorruptFile, transaction
from edge.buffer.groups import Batch, drop_batch, last_stamp, next_batch
from edge.buffer.key_change import begin_with_change
from edge.buffer.packs import insert_packs
from edge.buffer.seal import Cargo, Sealed, seal_all, seal_one
from edge.buffer.stream import Stream
from edge.buffer.turn import Turn, enter_turn, save_turn
from wire.envelope import WireError
from wire.observation import Stamp
from wire.pack import Loss, StreamHead

log = logging.getLogger(__name__)


def seal_open(books: Books, stamp: Stamp) -> list[StreamHead]:
    """Seal all open groups and declare what is to be declared, in as many transactions as memory allows."""
    heads: list[StreamHead] = []
    while not (batch := next_batch(books.db, stamp)).empty:
        heads += _seal_batch(books, batch, stamp)
    return heads


def seal_leftovers(books: Books) -> None:
    """Seal what an earlier run left open, before anything else, with the clocks of its last observation.

    So the bytes depend on nothing but the file: two copies of one file seal one and the same pack of it.
    """
    try:
        while (clocks := last_stamp(books.db)) is not None:
            _seal_batch(books, next_batch(books.db, clocks), clocks)
    except (BufferFull, sqlite3.OperationalError) as error:
        log.error("what was left open waits to be sealed: file=%s why=%s", books.path, error)


def seal_cargo(books: Books, cargo: Cargo | None, stamp: Stamp) -> list[Sealed]:
    """The next pack of the current stream with this cargo, if there is any; the caller stores it. Raises WireError."""
    return [] if cargo is None else [seal_one(cargo, books.current.chain, stamp, identity=books.identity)]


def _seal_batch(books: Books, batch: Batch, stamp: Stamp) -> list[StreamHead]:
    heads = begin_with_change(books, stamp)
    try:
        packs = _sign(books, batch, stamp)
    except WireError as error:
        log.error("accepted observations cannot be sealed together, looking for the cause: %s", error)
        batch = next_batch(books.db, stamp, check=books.seal_options)
        packs = _sign_sound(books, batch, stamp)
    turn = _after_damage(books.current, packs) if batch.damaged else None
    begun: Stream | None = None
    with transaction(books.db):
        insert_packs(books.db, books.current, packs, sealed_ms=stamp.observed_at_ms)
        drop_batch(books.db, batch, books.current.id)
        if turn is not None:
            begun = save_turn(books, turn)
    heads += books.advance(packs)
    if begun is not None and turn is not None:
        enter_turn(books, begun, turn)
    return heads


def _after_damage(stream: Stream, packs: list[Sealed]) -> Turn:
    """What was damaged never had a seq: its loss has no end, and is that of a stream that is left."""
    head = StreamHead(stream.name, packs[-1].seq, packs[-1].hash) if packs else stream.head
    sealed = 0 if head is None else head.last_seq
    reason = "accepted readings were damaged on the gateway's disk before they were sealed"
    return Turn(head, (Loss(stream.name, sealed + 1, None, None, "lost", reason),), reason)


def _sign(books: Books, batch: Batch, stamp: Stamp) -> list[Sealed]:
    return seal_all(
        batch.observations,
        books.current.chain,
        stamp,
        identity=books.identity,
        options=books.seal_options,
        losses=batch.losses,
        corrections=batch.corrections,
    )


def _sign_sound(books: Books, batch: Batch, stamp: Stamp) -> list[Sealed]:
    try:
        return _sign(books, batch, stamp)
    except WireError as error:  # not for the observations' sake: the stream or a loss has been damaged
        raise CorruptFile(f"nothing can be sealed on this file any more: {error}") from error
