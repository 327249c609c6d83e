"""Beginning a new stream, durably, with the losses its first pack declares. Whether one must: edge/buffer/stream.py.

Keeps its half of "a seq is signed once": once a new stream is begun, nothing more is signed in the one before.
"""

from __future__ import annotations

import logging

from edge.buffer.books import Books
from edge.buffer.declaration import take_loss, unreceipted
from edge.buffer.file import transaction
from edge.buffer.meta import LOST_PACKS, add_to_tally
from edge.buffer.stream import Stream, Turn, begin_stream

log = logging.getLogger(__name__)


def take_turn(books: Books, turn: Turn) -> None:
    """Begin the stream that was decided on."""
    lost = sum(unreceipted(books, loss) for loss in turn.losses)
    with transaction(books.db):
        stream = begin_stream(books.db, turn, books.keys.beginner(books.streams).kid)
        for loss in turn.losses:
            take_loss(books, loss)
        add_to_tally(books.db, LOST_PACKS, lost)
    follow(books, stream, turn)


def follow(books: Books, stream: Stream, turn: Turn) -> None:
    """Go on in a stream that the file has just been given."""
    books.streams.append(stream)
    books.identity = books.keys.signer(stream.kid)
    level = logging.INFO if turn.predecessor is None and not turn.losses else logging.ERROR
    log.log(level, "buffer begins a new stream: file=%s stream=%s why=%s", books.path, stream.name.hex(), turn.why)


def leave_if_change(books: Books, stream: Stream, seq: int) -> None:
    """If the pack that will not arrive is the change of key, the next stream begins with it again."""
    changes = books.keys.changes
    if stream is books.current and (stream.name, seq) in changes and not books.keys.arrived(books.streams):
        take_turn(books, Turn(stream.head, (), "the change of key will not arrive"))
