"""Losses and corrections: kept until the next pack carries them, and counted.

Keeps "nothing gives way in silence" for what is declared: an entry is durable before anybody relies on it, and
`lost_packs` counts a pack once, however often its loss is declared.
"""

from __future__ import annotations

from edge.buffer.base import DeclarationRefused
from edge.buffer.books import Books
from edge.buffer.file import transaction
from edge.buffer.groups import insert_entry
from edge.buffer.meta import LOST_PACKS, add_to_tally
from edge.buffer.ranges import Range, size, unite
from edge.buffer.seal import admit_entry
from edge.buffer.stream import newly_done, save_ranges
from wire.observation import INT64_MAX
from wire.pack import Correction, Loss


def declare(books: Books, entry: Loss | Correction) -> None:
    """Keep a loss or a correction until the next pack carries it. Raises DeclarationRefused."""
    entry = admit_entry(entry)
    if isinstance(entry, Loss) and entry.stream == books.current.name:
        sealed = books.current.last_seq
        if entry.last_seq is None or entry.last_seq > sealed:
            raise DeclarationRefused(f"not declared: of this stream only seqs to {sealed} are sealed")
    with transaction(books.db):
        insert_entry(books.db, entry)
        if isinstance(entry, Loss) and entry.kind == "lost":
            add_to_tally(books.db, LOST_PACKS, unreceipted(books, entry))
    books.look()


def unreceipted(books: Books, loss: Loss) -> int:
    """How many packs a loss takes from the record; 1 when nobody knows."""
    last = loss.last_seq
    for stream in books.streams:
        if stream.name == loss.stream and last is not None:
            return size(newly_done(stream, [(loss.first_seq, last)]))
    return 1 if last is None else last - loss.first_seq + 1


def save_loss(books: Books, loss: Loss) -> None:
    """Write that a loss is declared; in the caller's transaction, and `enter_loss` follows its commit.

    One without an end takes all that the stream might have had, so its stream must be one that is left.
    """
    for stream in books.streams:
        if stream.name == loss.stream:
            save_ranges(books.db, stream, "declared", unite(stream.declared, [span(loss)]))


def enter_loss(books: Books, loss: Loss) -> None:
    """From here on the cloud may settle what a loss declares."""
    for stream in books.streams:
        if stream.name == loss.stream:
            stream.declared = unite(stream.declared, [span(loss)])
            stream.handed_out = unite(stream.handed_out, stream.declared)


def span(loss: Loss) -> Range:
    """The seqs a loss speaks of."""
    return loss.first_seq, INT64_MAX if loss.last_seq is None else loss.last_seq
