"""A copy of the buffer writes our stream: we leave it, and carry over what is in doubt (edge/buffer/copies.py).

Keeps "a seq is signed once" from there on, and that two copies of a buffer lose and double nothing: what waits to be
carried over is on the disk with the new stream, and each carried pack says where its observations were before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NoReturn

from edge.buffer.base import ReceiptBeyondHead
from edge.buffer.books import Books
from edge.buffer.copies import Carriage, corrections, doubtful, next_carriage, with_losses
from edge.buffer.damage import give_up
from edge.buffer.file import transaction
from edge.buffer.groups import insert_entries_first
from edge.buffer.key_change import begin_with_change
from edge.buffer.packs import count_packs, insert_packs
from edge.buffer.ranges import contains, size, subtract, unite
from edge.buffer.sealing import seal_cargo
from edge.buffer.stream import Stream, save_dispute, save_ranges
from edge.buffer.turn import Turn, begin_stream, follow
from wire.envelope import WireError
from wire.observation import Stamp
from wire.pack import StreamHead
from wire.receipt import Receipt

CARRIAGES_PER_SEAL = 8

log = logging.getLogger(__name__)


def meet_copy(books: Books, stream: Stream, receipt: Receipt) -> NoReturn:
    """The cloud has packs of this stream that we never gave: a copy of our file writes it, or ours is the copy."""
    dispute(books, stream, "a receipt speaks of packs that never left here")
    raise ReceiptBeyondHead(
        f"stream {stream.name.hex()}: receipt through {receipt.through} with {len(receipt.ranges)} ranges, but of "
        f"our {stream.last_seq} packs not all have left: a copy of this buffer is in use, or this one is the copy"
    )


def dispute(books: Books, stream: Stream, why: str, conflicts: Sequence[int] = ()) -> None:
    """A copy writes this stream: write no more of it, and carry over what cannot be known to be accepted."""
    known = stream.disputed
    more = [] if known else doubtful(books.db, stream)
    to_carry = unite(stream.to_carry, [*more, *((seq, seq) for seq in conflicts)])
    fresh = subtract(to_carry, stream.to_carry)
    turn = Turn(stream.head, (), f"{why}: there is a copy of this buffer") if stream is books.current else None
    following = books.streams[books.streams.index(stream) :]
    begun: Stream | None = None
    with transaction(books.db):
        save_dispute(books.db, stream, to_carry)
        insert_entries_first(books.db, corrections(books.db, following, fresh))
        if turn is not None:
            others = [each for each in books.streams if each is not stream]
            begun = begin_stream(books.db, turn, books.keys.beginner(others).kid)
    stream.disputed, stream.to_carry = True, to_carry
    if begun is not None and turn is not None:
        follow(books, begun, turn)
    log.error(
        "packs are carried over into the new stream: from=%s packs=%d why=%s", stream.name.hex(), size(fresh), why
    )
    books.count_archive()
    books.look()


def carry_over(books: Books, stamp: Stamp) -> list[StreamHead]:
    """Carry over what waits for it, a bounded number of steps; the rest when this is called next."""
    heads: list[StreamHead] = []
    for _ in range(CARRIAGES_PER_SEAL):
        carriage = next_carriage(books.db, books.streams)
        if carriage is None:
            break
        heads += _carry(books, carriage, stamp)
    return heads


def _carry(books: Books, carriage: Carriage, stamp: Stamp) -> list[StreamHead]:
    stream = carriage.stream
    begun = begin_with_change(books, stamp)
    try:
        packs = seal_cargo(books, carriage.cargo, stamp)
    except WireError as error:
        if len(carriage.packs) > 1:
            alone = next_carriage(books.db, [stream], packs=1)
            return begun if alone is None else begun + _carry(books, alone, stamp)
        log.error("a pack cannot be carried over, it is only sent on: seq=%d why=%s", carriage.seqs[0][0], error)
        packs = []
    seqs = carriage.seqs
    crowded = books.space.is_short(sum(len(pack.envelope) for pack in packs)) and bool(packs)
    moved = subtract(seqs, unite(stream.settled, [(seq, seq) for seq in carriage.damaged])) if crowded else []
    if moved:  # whole in the new stream, so nothing is left out of them
        packs = seal_cargo(books, with_losses(carriage, moved, "no room on the disk to send it on twice"), stamp)
    leaving = count_packs(books.db, stream, subtract(moved, stream.done))
    to_carry, carried = subtract(stream.to_carry, seqs), unite(stream.carried, seqs)
    declared = unite(stream.declared, moved)
    with transaction(books.db):
        for first, last in moved:  # no room for both: sent on in the new stream only
            books.db.execute("DELETE FROM pack WHERE stream_id = ? AND seq BETWEEN ? AND ?", (stream.id, first, last))
        insert_packs(books.db, books.current, packs, sealed_ms=stamp.observed_at_ms)
        save_ranges(books.db, stream, "to_carry", to_carry)
        save_ranges(books.db, stream, "carried", carried)
        save_ranges(books.db, stream, "declared", declared)
    stream.to_carry, stream.carried, stream.declared = to_carry, carried, declared
    books.unsent -= leaving
    heads = begun + books.advance(packs)
    for seq in carriage.damaged:
        if contains(stream.unsent, seq):
            give_up(books, stream, seq)
    books.count_archive()
    return heads
