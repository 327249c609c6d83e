"""Taking a receipt in: what it settles, what it refuses, and when it tells of a copy.

Keeps "a pack leaves only on a receipt": receipts are united in any order, and settle what was handed out in this run.
"""

from __future__ import annotations

import logging

from edge.buffer.books import Books
from edge.buffer.dispute import dispute, meet_copy
from edge.buffer.file import transaction
from edge.buffer.key_change import drop_superfluous_changes
from edge.buffer.packs import count_packs, insert_shelved, refused_here
from edge.buffer.ranges import gaps, subtract, unite
from edge.buffer.stream import Stream, newly_done, save_settled
from edge.buffer.turn import leave_if_change
from wire.observation import INT64_MAX
from wire.receipt import CONFLICT, Receipt

log = logging.getLogger(__name__)


def settle(books: Books, receipt: Receipt) -> int:
    """Unite a receipt with what is known; how many packs it released. Raises StreamUnknown, ReceiptBeyondHead."""
    stream = books.find(receipt.stream)
    refused = refused_here(books.db, stream, receipt)
    conflicts = [seq for seq, reason in refused if reason == CONFLICT]
    _shelve(books, stream, [(seq, reason) for seq, reason in refused if reason != CONFLICT])
    if conflicts:
        dispute(books, stream, "the cloud has another pack of the same seq", conflicts)
    claimed = [(1, receipt.through)] if receipt.through else []
    claimed += receipt.ranges
    if not stream.disputed and any(gaps(stream.may_have_left, first, last) for first, last in claimed):
        meet_copy(books, stream, receipt)
    foreign = [] if stream.disputed else gaps(stream.handed_out, 1, stream.last_seq)  # perhaps a copy's
    ours = subtract(claimed, [*foreign, (stream.last_seq + 1, INT64_MAX)])
    settled = unite(stream.settled, ours)
    released = 0
    changed = settled != stream.settled
    if changed:
        amount = count_packs(books.db, stream, newly_done(stream, ours))
        with transaction(books.db):
            save_settled(books.db, stream, settled)
        stream.settled = settled
        books.unsent -= amount
        books.space.archive += amount
        if stream.to_carry:
            books.count_archive()
        released = amount.packs
        drop_superfluous_changes(books)
    if changed or refused:
        books.look()
    return released


def _shelve(books: Books, stream: Stream, rows: list[tuple[int, str]]) -> None:
    """Shelve (seq, reason) of packs that the cloud refuses."""
    if not rows:
        return
    fresh = newly_done(stream, [(seq, seq) for seq, _ in rows])
    with transaction(books.db):
        insert_shelved(books.db, stream, "refused", rows)
    books.unsent -= count_packs(books.db, stream, fresh)
    for seq, reason in rows:
        stream.shelved[seq] = "refused"
        log.error("cloud refused a pack: stream=%s seq=%d reason=%s", stream.name.hex(), seq, reason)
        if seq > 1:  # where the stream began with it, the cloud does not want it: once more would not help
            leave_if_change(books, stream, seq)
