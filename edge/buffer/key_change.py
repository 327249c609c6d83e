"""The packs that let one key follow another. Who signs meanwhile, and when it is over: edge/buffer/succession.py.

Keeps: the pack that names the successor is the last one that the old key signs in its stream, and the stream's key
changes in the very transaction that stores that pack.
"""

from __future__ import annotations

import logging

from edge.buffer.books import Books
from edge.buffer.declaration import enter_loss, save_loss
from edge.buffer.file import transaction
from edge.buffer.groups import insert_entry
from edge.buffer.meta import LOST_PACKS, add_to_tally
from edge.buffer.packs import count_packs, insert_packs
from edge.buffer.seal import Cargo, seal_one
from edge.keys import Identity
from wire.observation import Stamp
from wire.pack import KeyChange, Loss, StreamHead

log = logging.getLogger(__name__)


def name_successor(books: Books, successor: Identity, stamp: Stamp) -> list[StreamHead]:
    """Seal the pack that names the successor's key; from there on the successor signs."""
    stream = books.current
    change = KeyChange(successor.key.public_key().public_bytes_raw(), stream.last_seq + 2)
    pack = seal_one(Cargo(key_change=change), stream.chain, stamp, identity=books.identity)
    with transaction(books.db):
        insert_packs(books.db, stream, [pack], sealed_ms=stamp.observed_at_ms)
        books.db.execute("UPDATE stream SET kid = ? WHERE id = ?", (successor.kid, stream.id))
        books.keys.save(successor, (stream.name, pack.seq))
    books.keys.note((stream.name, pack.seq))
    stream.kid = successor.kid
    books.identity = successor
    log.info("a new key signs: stream=%s from_seq=%d", stream.name.hex(), change.first_seq)
    return books.advance([pack])


def begin_with_change(books: Books, stamp: Stamp) -> list[StreamHead]:
    """Where a stream begins while a change of key is under way: the change before all else."""
    successor = books.keys.successor
    if successor is None or successor.kid == books.identity.kid or books.current.last_seq:
        return []
    return name_successor(books, successor, stamp)


def drop_superfluous_changes(books: Books) -> None:
    """Declare lost the changes of key that the cloud needed no more, and so refuses for ever."""
    for stream, seq in books.keys.superfluous(books.streams):
        loss = Loss(stream.name, seq, seq, None, "lost", "named a key that the cloud knew already")
        leaving = count_packs(books.db, stream, [(seq, seq)])
        with transaction(books.db):
            insert_entry(books.db, loss)
            add_to_tally(books.db, LOST_PACKS, 1)
            save_loss(books, loss)
        enter_loss(books, loss)
        books.unsent -= leaving
    if books.keys.over(books.streams):
        books.keys.forget()
