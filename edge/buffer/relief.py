"""Making room in the file: what the archive gives first, then what disk pressure plans (edge/buffer/pressure.py).

Keeps "the byte bound holds", and "never both, never neither": the pack that declares a loss, and carries what was kept,
is stored in the very transaction that deletes the originals.
"""

from __future__ import annotations

import logging

from edge.buffer.books import Books
from edge.buffer.damage import give_up
from edge.buffer.file import transaction
from edge.buffer.key_change import begin_with_change
from edge.buffer.meta import LOST_PACKS, THINNED_READINGS, add_to_tally
from edge.buffer.packs import count_rows, insert_packs
from edge.buffer.pressure import Step, plan
from edge.buffer.ranges import subtract, unite
from edge.buffer.reserve import Reserve
from edge.buffer.seal import Sealed
from edge.buffer.sealing import seal_cargo
from edge.buffer.stream import save_ranges
from edge.limits import Limits
from wire.envelope import WireError
from wire.observation import Stamp

STEPS_PER_APPEND = 8  # of making room: an append must not wait longer than that

log = logging.getLogger(__name__)


class Relief:
    """Makes room, a bounded number of steps at a time. `limits`: what lies beyond them survives longest."""

    def __init__(self, books: Books, limits: Limits, reserve: Reserve) -> None:
        self._books = books
        self._limits = limits
        self._reserve = reserve

    def make_room(self, need: int, stamp: Stamp) -> None:
        """Let give way what may, in the order of its worth, until `need` bytes fit. Raises BufferFull."""
        space = self._books.space
        self._reserve.keep(space.spare_bytes())
        for _ in range(STEPS_PER_APPEND):
            if not space.is_short(need):
                return
            if not space.trim(self._books.streams) and not self._relieve(stamp):
                break
        space.require(need)

    def make_room_on_a_full_disk(self, need: int, stamp: Stamp) -> None:
        """The disk takes nothing more: free pages inside the file, with what is kept in reserve to write them."""
        space = self._books.space
        self._reserve.give_up()
        self._books.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()  # the log is written from its start again
        for _ in range(STEPS_PER_APPEND):
            if not space.is_cramped(need):
                return
            if not space.trim(self._books.streams) and not self._relieve(stamp):
                return

    def _relieve(self, stamp: Stamp) -> bool:
        """Let the oldest unsent data give way by one step; whether there was any that may."""
        books = self._books
        step = plan(books.db, books.streams, self._limits)
        if step is None:
            return False
        for stream, seq in step.damaged:
            give_up(books, stream, seq)
        begin_with_change(books, stamp)
        try:
            packs = seal_cargo(books, step.cargo, stamp)
        except WireError as error:
            log.error("packs cannot be thinned together and stay: %s", error)
            step, packs = Step(marks={opened.id: "stay" for opened in step.gone}), []
        _carry_out(books, step, packs, stamp)
        return True


def _carry_out(books: Books, step: Step, packs: list[Sealed], stamp: Stamp) -> None:
    """Replace the packs that give way by the fresh ones, in one transaction: never both, never neither."""
    ids = [opened.id for opened in step.gone]
    gone = count_rows(books.db, ids)
    seqs = {s.id: unite([], [(each.seq, each.seq) for each in step.gone if each.stream is s]) for s in books.streams}
    with transaction(books.db):
        books.db.executemany("DELETE FROM pack WHERE id = ?", [(id_,) for id_ in ids])
        insert_packs(books.db, books.current, packs, sealed_ms=stamp.observed_at_ms, rows=ids[: len(packs)])
        books.db.executemany("UPDATE pack SET pressure = ? WHERE id = ?", [(p, i) for i, p in step.marks.items()])
        for stream in books.streams:
            save_ranges(books.db, stream, "declared", unite(stream.declared, seqs[stream.id]))
            save_ranges(books.db, stream, "to_carry", subtract(stream.to_carry, seqs[stream.id]))
        add_to_tally(books.db, THINNED_READINGS, step.left_out)
        add_to_tally(books.db, LOST_PACKS, step.lost)
    for stream in books.streams:
        stream.declared = unite(stream.declared, seqs[stream.id])
        stream.to_carry = subtract(stream.to_carry, seqs[stream.id])
        stream.handed_out = unite(stream.handed_out, seqs[stream.id])  # the cloud may settle what is declared
    books.unsent -= gone
    books.advance(packs)
    if packs:
        log.warning(
            "disk pressure: oldest unsent packs gave way: packs=%d from_seq=%d left_out=%d declared_lost=%d",
            len(ids),
            step.gone[0].seq,
            step.left_out,
            step.lost,
        )
