"""A sealed pack whose bytes are damaged on the disk: shelved, so that it never leaves, and its loss declared.

Keeps "sealed packs never change": other bytes than those that were signed are not handed out. And "nothing gives way
in silence": what the pack may have declared, nobody can read any more, so all that the cloud has not settled of what
was ever declared is declared again.
"""

from __future__ import annotations

import logging

from edge.buffer.books import Books
from edge.buffer.declaration import span
from edge.buffer.file import transaction
from edge.buffer.groups import insert_entry, waiting_losses
from edge.buffer.meta import LOST_PACKS, add_to_tally
from edge.buffer.packs import count_packs, insert_shelved
from edge.buffer.ranges import subtract, unite
from edge.buffer.stream import Stream
from edge.buffer.turn import leave_if_change
from wire.observation import INT64_MAX
from wire.pack import Loss

log = logging.getLogger(__name__)


def give_up(books: Books, stream: Stream, seq: int) -> None:
    """Shelve a damaged pack and declare its loss, in one transaction."""
    reason = "pack was damaged on the gateway's disk"
    log.error("pack is damaged on disk, its loss is declared: stream=%s seq=%d", stream.name.hex(), seq)
    with transaction(books.db):
        insert_shelved(books.db, stream, "damaged", [(seq, reason)])
        insert_entry(books.db, Loss(stream.name, seq, seq, None, "lost", reason))
        for loss in _perhaps_declared_by_it(books):
            insert_entry(books.db, loss)
        add_to_tally(books.db, LOST_PACKS, 1)
    books.unsent -= count_packs(books.db, stream, [(seq, seq)])
    stream.shelved[seq] = "damaged"
    stream.handed_out = unite(stream.handed_out, [(seq, seq)])  # the cloud may settle a declared loss
    leave_if_change(books, stream, seq)
    books.look()


def _perhaps_declared_by_it(books: Books) -> list[Loss]:
    """What was declared, is not settled, and does not wait to be declared anyhow."""
    waiting = waiting_losses(books.db)
    return [
        Loss(
            stream.name,
            first,
            None if last == INT64_MAX else last,
            None,
            "lost",
            "the pack that declared this was damaged on the gateway's disk",
        )
        for stream in books.streams
        for first, last in subtract(
            subtract(stream.declared, stream.settled),
            unite([], [span(loss) for loss in waiting if loss.stream == stream.name]),
        )
    ]
