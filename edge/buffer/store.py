"""The buffer's records in one SQLite file, for one thread. Every public method is one durable step.

Raises sqlite3.Error as it comes (the caller translates it), CorruptFile for a file that contradicts itself, and
buffer errors for the rest.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from edge.buffer.base import (
    BufferFull,
    BufferOptions,
    BufferState,
    DeclarationRefused,
    PackName,
    ReceiptBeyondHead,
    SealedPack,
    SealOptions,
    StreamUnknown,
)
from edge.buffer.copies import Carriage, corrections, doubtful, next_carriage
from edge.buffer.file import CorruptFile, is_full, set_aside_names, transaction
from edge.buffer.groups import (
    Batch,
    drop_batch,
    group_row,
    insert_entries_first,
    insert_entry,
    insert_group,
    last_stamp,
    look_at_backlog,
    next_batch,
)
from edge.buffer.head import HeadFile
from edge.buffer.meta import LOST_PACKS, THINNED_READINGS, add_to_tally, claim_file, use_counter
from edge.buffer.packs import (
    Amount,
    amount_of,
    count_packs,
    count_rows,
    held_names,
    insert_packs,
    insert_shelved,
    read_pack,
    refused_here,
)
from edge.buffer.pressure import Step, plan
from edge.buffer.ranges import Range, contains, gaps, size, subtract, unite
from edge.buffer.reserve import Reserve
from edge.buffer.seal import Cargo, Sealed, admit_entry, seal_all, seal_one
from edge.buffer.space import FreeBytes, Space
from edge.buffer.state import state_of
from edge.buffer.stream import (
    Stream,
    Turn,
    begin_stream,
    load_streams,
    must_turn,
    newly_done,
    save_dispute,
    save_ranges,
    save_settled,
    wanted,
)
from edge.buffer.succession import Succession
from edge.keys import Identity
from edge.limits import Limits
from wire.envelope import WireError
from wire.observation import INT64_MAX, Observation, Stamp
from wire.pack import Correction, KeyChange, Loss, StreamHead
from wire.receipt import CONFLICT, Receipt

HEAD_NAME = "head.json"
CARRIAGES_PER_SEAL = 8
STEPS_PER_APPEND = 8  # of making room: an append must not wait longer than that

log = logging.getLogger(__name__)


class Store:
    """Streams, open groups, packs and what is settled of them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        identity: Identity,
        options: BufferOptions,
        seal_options: SealOptions,
        free_bytes: FreeBytes,
        successor: Identity | None = None,
        limits: Limits | None = None,
        log_damaged: bool = False,
    ) -> None:
        self._db = connection
        self._path = path
        self._options = options
        self._seal_options = seal_options
        self._limits = limits or Limits()
        self._space = Space(connection, path, options, free_bytes)
        self._reserve = Reserve(path.with_name(f"{path.name}.reserve"))
        self._head_file = HeadFile(path.with_name(HEAD_NAME))
        self._streams = load_streams(connection)
        self._keys = Succession(connection, self._streams, identity, successor)
        self._identity = self._keys.signer(self._current.kid) if self._streams else identity
        self._set_aside = set_aside_names(path)
        self._full = False
        self._start(log_damaged=log_damaged)
        self._unsent = sum((count_packs(connection, each, each.unsent) for each in self._streams), Amount())
        self._count_archive()
        self.seal_at_once = False  #: open groups are many or hold a scan, or an entry waits to be declared
        self._seal_leftovers()
        self.state = self._look()

    def append(self, observations: Sequence[Observation]) -> None:
        """Commit one group of admitted observations. Raises BufferFull."""
        row = group_row(observations)
        self._full = True
        try:
            self._reserve.keep(self._space.spare_bytes())
            self._make_room(len(row[-1]), observations[-1].stamp)
            try:
                self._insert(row)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                self._make_room_on_a_full_disk(len(row[-1]), observations[-1].stamp)
                self._insert(row)
            self._full = False
        finally:
            self.state = self._look()

    def seal(self, stamp: Stamp) -> list[StreamHead]:
        """Seal all open groups and declare what is to be declared, in as many transactions as memory allows."""
        heads: list[StreamHead] = []
        flowing = self._flowing
        try:
            heads += self._carry_over(stamp)
            while not (batch := next_batch(self._db, stamp)).empty:
                heads += self._seal_batch(batch, stamp)
            if not flowing:
                self._record_head()
        finally:
            self.state = self._look()
        return heads

    @property
    def identity(self) -> Identity:
        """Who signs now."""
        return self._identity

    def declare(self, entry: Loss | Correction) -> None:
        """Keep a loss or a correction until the next pack carries it. Raises DeclarationRefused."""
        entry = admit_entry(entry)
        if isinstance(entry, Loss) and entry.stream == self._current.name:
            sealed = self._current.last_seq
            if entry.last_seq is None or entry.last_seq > sealed:
                raise DeclarationRefused(f"not declared: of this stream only seqs to {sealed} are sealed")
        with transaction(self._db):
            insert_entry(self._db, entry)
            if isinstance(entry, Loss) and entry.kind == "lost":
                add_to_tally(self._db, LOST_PACKS, self._unreceipted(entry))
        self.state = self._look()

    def change_key(self, successor: Identity, stamp: Stamp) -> list[StreamHead]:
        """Seal all, then the pack that names the successor's key; from there on the successor signs."""
        if successor.kid == self._identity.kid:
            return []
        heads = self.seal(stamp)
        self._keys.begin(successor)
        try:
            if successor.kid != self._identity.kid:  # a stream that was still empty has begun with it
                heads += self._change_key(successor, stamp)
            self._record_head()
        finally:
            self.state = self._look()
        return heads

    def change_arrived(self) -> bool:
        """Whether the cloud surely knows the key that is to follow."""
        return self._keys.arrived(self._streams)

    def finish_change(self) -> None:
        """The successor is the only key there is."""
        self._keys.finish()
        self._drop_superfluous_changes()
        self.state = self._look()

    def unsent(self, *, newest_first: bool, limit: int, exclude: Collection[PackName]) -> list[SealedPack]:
        """Up to `limit` packs to send; a pack that is damaged here is shelved, and its loss declared."""
        packs: list[SealedPack] = []
        for stream in reversed(self._streams) if newest_first else self._streams:
            for seq in wanted(stream, newest_first=newest_first):
                if len(packs) < limit and (stream.name, seq) not in exclude:
                    packs += self._read(stream, seq)
        return self._hand_out(packs)

    def fetch(self, names: Sequence[PackName]) -> list[SealedPack]:
        """Those of the named packs that are here and whole."""
        by_name = {stream.name: stream for stream in self._streams}
        packs = [pack for name, seq in names if name in by_name for pack in self._read(by_name[name], seq)]
        return self._hand_out(packs)

    def held(self, name: bytes, ranges: Sequence[Range], *, limit: int) -> list[PackName]:
        """Names of packs in these ranges that are here. Raises StreamUnknown."""
        return held_names(self._db, self._find(name), ranges, limit)

    def head_of(self, name: bytes) -> StreamHead | None:
        """The last pack of a stream as this file knows it, None before the first. Raises StreamUnknown."""
        return self._find(name).head

    def settle(self, receipt: Receipt) -> int:
        """Unite a receipt with what is known; how many packs it released. Raises StreamUnknown, ReceiptBeyondHead."""
        stream = self._find(receipt.stream)
        refused = refused_here(self._db, stream, receipt)
        conflicts = [seq for seq, reason in refused if reason == CONFLICT]
        self._shelve(stream, [(seq, reason) for seq, reason in refused if reason != CONFLICT])
        if conflicts:
            self._dispute(stream, "the cloud has another pack of the same seq", conflicts)
        claimed = [(1, receipt.through)] if receipt.through else []
        claimed += receipt.ranges
        if not stream.disputed and any(gaps(stream.may_have_left, first, last) for first, last in claimed):
            self._meet_copy(stream, receipt)
        foreign = [] if stream.disputed else gaps(stream.handed_out, 1, stream.last_seq)  # perhaps a copy's
        ours = subtract(claimed, [*foreign, (stream.last_seq + 1, INT64_MAX)])
        settled = unite(stream.settled, ours)
        released = 0
        changed = settled != stream.settled
        if changed:
            amount = count_packs(self._db, stream, newly_done(stream, ours))
            with transaction(self._db):
                save_settled(self._db, stream, settled)
            stream.settled = settled
            self._unsent -= amount
            self._space.archive += amount
            if stream.to_carry:
                self._count_archive()
            released = amount.packs
            self._drop_superfluous_changes()
        if changed or refused:
            self.state = self._look()
        return released

    def use_command(self, counter: int) -> bool:
        """Use up a command counter; False when it, or a later one, was used before."""
        return use_counter(self._db, counter)

    def close(self) -> None:
        """Fold the write-ahead log into the file, if that can be (the next start does it, too), and close it."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.warning("write-ahead log stays beside the buffer file: file=%s error=%s", self._path, error)
        finally:
            self._db.close()

    def abandon(self) -> None:
        """Close a corrupt file without waiting for its log to be folded in whole."""
        self._db.close()

    # -- how it is done --

    @property
    def _current(self) -> Stream:
        return self._streams[-1]

    def _start(self, *, log_damaged: bool) -> None:
        claim_file(self._db, self._path, self._identity.gateway)
        head = self._head_file.read()
        if head is not None and self._streams and head.chain.stream == self._current.name:
            self._current.offered = head.offered
        turn = must_turn(self._streams, head, self._identity.kid, log_damaged=log_damaged)
        if turn is not None:
            self._turn(turn)
        try:
            self._record_head()
        except BufferFull as error:
            log.error("starting without a fresh head file: %s", error)

    def _count_archive(self) -> None:
        self._space.archive = sum((count_packs(self._db, each, each.archived) for each in self._streams), Amount())

    def _turn(self, turn: Turn) -> None:
        lost = sum(self._unreceipted(loss) for loss in turn.losses)
        with transaction(self._db):
            stream = begin_stream(self._db, turn, self._keys.beginner(self._streams).kid)
            for loss in turn.losses:
                self._take_loss(loss)
            add_to_tally(self._db, LOST_PACKS, lost)
        self._follow(stream, turn)

    def _take_loss(self, loss: Loss) -> None:
        """The cloud may settle what a loss declares; in the caller's transaction."""
        for stream in self._streams:
            if stream.name == loss.stream and loss.last_seq is not None:
                declared = unite(stream.declared, [(loss.first_seq, loss.last_seq)])
                save_ranges(self._db, stream, "declared", declared)
                stream.declared, stream.handed_out = declared, unite(stream.handed_out, declared)

    def _follow(self, stream: Stream, turn: Turn) -> None:
        self._streams.append(stream)
        self._identity = self._keys.signer(stream.kid)
        level = logging.INFO if turn.predecessor is None and not turn.losses else logging.ERROR
        log.log(level, "buffer begins a new stream: file=%s stream=%s why=%s", self._path, stream.name.hex(), turn.why)

    def _unreceipted(self, loss: Loss) -> int:
        """How many packs a loss takes from the record; 1 when nobody knows."""
        last = loss.last_seq
        for stream in self._streams:
            if stream.name == loss.stream and last is not None:
                return size(newly_done(stream, [(loss.first_seq, last)]))
        return 1 if last is None else last - loss.first_seq + 1

    def _make_room(self, need: int, stamp: Stamp) -> None:
        """Let give way what may, in the order of its worth, until `need` bytes fit. Raises BufferFull."""
        for _ in range(STEPS_PER_APPEND):
            if not self._space.is_short(need):
                return
            if not self._space.trim(self._streams) and not self._relieve(stamp):
                break
        self._space.require(need)

    def _insert(self, row: tuple[int, int, int, bytes]) -> None:
        with transaction(self._db):
            insert_group(self._db, row)

    def _make_room_on_a_full_disk(self, need: int, stamp: Stamp) -> None:
        """The disk takes nothing more: free pages inside the file, with what is kept in reserve to write them."""
        self._reserve.give_up()
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()  # the log is written from its start again
        for _ in range(STEPS_PER_APPEND):
            if not self._space.is_cramped(need):
                return
            if not self._space.trim(self._streams) and not self._relieve(stamp):
                return

    def _relieve(self, stamp: Stamp) -> bool:
        """Let the oldest unsent data give way by one step; whether there was any that may."""
        step = plan(self._db, self._streams, self._limits)
        if step is None:
            return False
        for stream, seq in step.damaged:
            self._give_up(stream, seq)
        self._begin_with_change(stamp)
        try:
            packs = self._sign_cargo(step.cargo, stamp)
        except WireError as error:
            log.error("packs cannot be thinned together and stay: %s", error)
            step, packs = Step(marks={opened.id: "stay" for opened in step.gone}), []
        self._carry_out(step, packs, stamp)
        return True

    def _sign_cargo(self, cargo: Cargo | None, stamp: Stamp) -> list[Sealed]:
        return [] if cargo is None else [seal_one(cargo, self._current.chain, stamp, identity=self._identity)]

    def _carry_out(self, step: Step, packs: list[Sealed], stamp: Stamp) -> None:
        """Replace the packs that give way by the fresh ones, in one transaction: never both, never neither."""
        ids = [opened.id for opened in step.gone]
        gone = count_rows(self._db, ids)
        seqs = {
            s.id: unite([], [(each.seq, each.seq) for each in step.gone if each.stream is s]) for s in self._streams
        }
        with transaction(self._db):
            self._db.executemany("DELETE FROM pack WHERE id = ?", [(id_,) for id_ in ids])
            insert_packs(self._db, self._current, packs, sealed_ms=stamp.observed_at_ms, rows=ids[: len(packs)])
            self._db.executemany("UPDATE pack SET pressure = ? WHERE id = ?", [(p, i) for i, p in step.marks.items()])
            for stream in self._streams:
                save_ranges(self._db, stream, "declared", unite(stream.declared, seqs[stream.id]))
                save_ranges(self._db, stream, "to_carry", subtract(stream.to_carry, seqs[stream.id]))
            add_to_tally(self._db, THINNED_READINGS, step.left_out)
            add_to_tally(self._db, LOST_PACKS, step.lost)
        for stream in self._streams:
            stream.declared = unite(stream.declared, seqs[stream.id])
            stream.to_carry = subtract(stream.to_carry, seqs[stream.id])
            stream.handed_out = unite(stream.handed_out, seqs[stream.id])  # the cloud may settle what is declared
        self._unsent -= gone
        self._move_head(packs)
        if packs:
            log.warning(
                "disk pressure: oldest unsent packs gave way: packs=%d from_seq=%d left_out=%d declared_lost=%d",
                len(ids),
                step.gone[0].seq,
                step.left_out,
                step.lost,
            )

    def _find(self, name: bytes) -> Stream:
        for stream in self._streams:
            if stream.name == name:
                return stream
        raise StreamUnknown(f"stream {name.hex()}: this buffer never had it")

    def _seal_leftovers(self) -> None:
        """Seal what an earlier run left open, before anything else, with the clocks of its last observation.

        So the bytes depend on nothing but the file: two copies of one file seal one and the same pack of it.
        """
        try:
            while (clocks := last_stamp(self._db)) is not None:
                self._seal_batch(next_batch(self._db, clocks), clocks)
        except (BufferFull, sqlite3.OperationalError) as error:
            log.error("what was left open waits to be sealed: file=%s why=%s", self._path, error)

    def _seal_batch(self, batch: Batch, stamp: Stamp) -> list[StreamHead]:
        heads = self._begin_with_change(stamp)
        try:
            packs = self._sign(batch, stamp)
        except WireError as error:
            log.error("accepted observations cannot be sealed together, looking for the cause: %s", error)
            batch = next_batch(self._db, stamp, check=self._seal_options)
            packs = self._sign_sound(batch, stamp)
        with transaction(self._db):
            insert_packs(self._db, self._current, packs, sealed_ms=stamp.observed_at_ms)
            drop_batch(self._db, batch)
        return heads + self._move_head(packs)

    def _begin_with_change(self, stamp: Stamp) -> list[StreamHead]:
        """Where a stream begins while a change of key is under way: the change before all else."""
        successor = self._keys.successor
        if successor is None or successor.kid == self._identity.kid or self._current.last_seq:
            return []
        return self._change_key(successor, stamp)

    def _change_key(self, successor: Identity, stamp: Stamp) -> list[StreamHead]:
        stream = self._current
        change = KeyChange(successor.key.public_key().public_bytes_raw(), stream.last_seq + 2)
        pack = seal_one(Cargo(key_change=change), stream.chain, stamp, identity=self._identity)
        with transaction(self._db):
            insert_packs(self._db, stream, [pack], sealed_ms=stamp.observed_at_ms)
            self._db.execute("UPDATE stream SET kid = ? WHERE id = ?", (successor.kid, stream.id))
            self._keys.note(successor, (stream.name, pack.seq))
        stream.kid = successor.kid
        self._identity = successor
        log.info("a new key signs: stream=%s from_seq=%d", stream.name.hex(), change.first_seq)
        return self._move_head([pack])

    def _drop_superfluous_changes(self) -> None:
        """Declare lost the changes of key that the cloud needed no more, and so refuses for ever."""
        for stream, seq in self._keys.superfluous(self._streams):
            loss = Loss(stream.name, seq, seq, None, "lost", "named a key that the cloud knew already")
            leaving = count_packs(self._db, stream, [(seq, seq)])
            with transaction(self._db):
                insert_entry(self._db, loss)
                add_to_tally(self._db, LOST_PACKS, 1)
                self._take_loss(loss)
            self._unsent -= leaving
        if self._keys.over(self._streams):
            self._keys.forget()

    def _leave_if_change(self, stream: Stream, seq: int) -> None:
        """If the pack that will not arrive is the change of key, the next stream begins with it again."""
        if stream is self._current and (stream.name, seq) in self._keys.changes and not self.change_arrived():
            self._turn(Turn(stream.head, (), "the change of key will not arrive"))

    def _sign(self, batch: Batch, stamp: Stamp) -> list[Sealed]:
        return seal_all(
            batch.observations,
            self._current.chain,
            stamp,
            identity=self._identity,
            options=self._seal_options,
            losses=batch.losses,
            corrections=batch.corrections,
        )

    def _sign_sound(self, batch: Batch, stamp: Stamp) -> list[Sealed]:
        try:
            return self._sign(batch, stamp)
        except WireError as error:  # not for the observations' sake: the stream or a loss has been damaged
            raise CorruptFile(f"nothing can be sealed on this file any more: {error}") from error

    def _move_head(self, packs: list[Sealed]) -> list[StreamHead]:
        stream = self._current
        heads = [StreamHead(stream.name, pack.seq, pack.hash) for pack in packs]
        if heads:
            stream.last_seq, stream.last_hash = heads[-1].last_seq, heads[-1].hash
            self._unsent += amount_of(packs)
        return heads

    def _record_head(self, *, offered: int = 0) -> None:
        """Bring the head file up to the current stream's head, and to `offered`, the highest seq about to leave."""
        self._record_left_streams()
        stream = self._current
        if stream.head is not None and not self._head_file.covers(stream.head, offered):
            waiting = [(each.head, each.released_through) for each in self._streams[:-1] if each.head and each.unsent]
            self._head_file.write(stream.head, stream.released_through, offered, waiting)

    def _record_left_streams(self) -> None:
        """A stream may be left before its last packs were recorded; while the new one has none, the file names it."""
        for stream in self._streams[:-1]:
            if stream.head is not None and self._head_file.lags(stream.head):
                self._head_file.write(stream.head, stream.released_through, stream.last_seq)

    @property
    def _flowing(self) -> bool:
        """Packs leave as they are sealed: the head is recorded when the next one leaves, and need not be before."""
        return bool(self._current.last_seq) and contains(self._current.handed_out, self._current.last_seq)

    def _read(self, stream: Stream, seq: int) -> list[SealedPack]:
        pack = read_pack(self._db, stream, seq)
        if pack is None:
            if contains(stream.unsent, seq):
                self._give_up(stream, seq)
            return []
        return [pack]

    def _hand_out(self, packs: list[SealedPack]) -> list[SealedPack]:
        """Nothing leaves before the head file says that it may have left."""
        offered = max((pack.seq for pack in packs if pack.stream == self._current.name), default=0)
        if packs:
            self._record_head(offered=offered)
        for stream in self._streams:
            seqs = [(pack.seq, pack.seq) for pack in packs if pack.stream == stream.name]
            stream.handed_out = unite(stream.handed_out, seqs) if seqs else stream.handed_out
        return packs

    def _give_up(self, stream: Stream, seq: int) -> None:
        reason = "pack was damaged on the gateway's disk"
        log.error("pack is damaged on disk, its loss is declared: stream=%s seq=%d", stream.name.hex(), seq)
        with transaction(self._db):
            insert_shelved(self._db, stream, "damaged", [(seq, reason)])
            insert_entry(self._db, Loss(stream.name, seq, seq, None, "lost", reason))
            add_to_tally(self._db, LOST_PACKS, 1)
        self._unsent -= count_packs(self._db, stream, [(seq, seq)])
        stream.shelved[seq] = "damaged"
        stream.handed_out = unite(stream.handed_out, [(seq, seq)])  # the cloud may settle a declared loss
        self._leave_if_change(stream, seq)
        self.state = self._look()

    def _shelve(self, stream: Stream, rows: list[tuple[int, str]]) -> None:
        """Shelve (seq, reason) of packs that the cloud refuses."""
        if not rows:
            return
        fresh = newly_done(stream, [(seq, seq) for seq, _ in rows])
        with transaction(self._db):
            insert_shelved(self._db, stream, "refused", rows)
        self._unsent -= count_packs(self._db, stream, fresh)
        for seq, reason in rows:
            stream.shelved[seq] = "refused"
            log.error("cloud refused a pack: stream=%s seq=%d reason=%s", stream.name.hex(), seq, reason)
            if seq > 1:  # where the stream began with it, the cloud does not want it: once more would not help
                self._leave_if_change(stream, seq)

    def _meet_copy(self, stream: Stream, receipt: Receipt) -> NoReturn:
        """The cloud has packs of this stream that we never gave: a copy of our file writes it, or ours is the copy."""
        self._dispute(stream, "a receipt speaks of packs that never left here")
        raise ReceiptBeyondHead(
            f"stream {stream.name.hex()}: receipt through {receipt.through} with {len(receipt.ranges)} ranges, but of "
            f"our {stream.last_seq} packs not all have left: a copy of this buffer is in use, or this one is the copy"
        )

    def _dispute(self, stream: Stream, why: str, conflicts: Sequence[int] = ()) -> None:
        """A copy writes this stream: write no more of it, and carry over what cannot be known to be accepted."""
        known = stream.disputed
        more = [] if known else doubtful(self._db, stream)
        to_carry = unite(stream.to_carry, [*more, *((seq, seq) for seq in conflicts)])
        fresh = subtract(to_carry, stream.to_carry)
        turn = Turn(stream.head, (), f"{why}: there is a copy of this buffer") if stream is self._current else None
        begun: Stream | None = None
        with transaction(self._db):
            save_dispute(self._db, stream, to_carry)
            insert_entries_first(self._db, corrections(self._db, stream, fresh))
            if turn is not None:
                others = [each for each in self._streams if each is not stream]
                begun = begin_stream(self._db, turn, self._keys.beginner(others).kid)
        stream.disputed, stream.to_carry = True, to_carry
        if begun is not None and turn is not None:
            self._follow(begun, turn)
        log.error(
            "packs are carried over into the new stream: from=%s packs=%d why=%s", stream.name.hex(), size(fresh), why
        )
        self._count_archive()
        self.state = self._look()

    def _carry_over(self, stamp: Stamp) -> list[StreamHead]:
        """Carry over what waits for it, a bounded number of steps; the rest when this is called next."""
        heads: list[StreamHead] = []
        for _ in range(CARRIAGES_PER_SEAL):
            carriage = next_carriage(self._db, self._streams)
            if carriage is None:
                break
            heads += self._carry(carriage, stamp)
        return heads

    def _carry(self, carriage: Carriage, stamp: Stamp) -> list[StreamHead]:
        stream = carriage.stream
        begun = self._begin_with_change(stamp)
        try:
            packs = self._sign_cargo(carriage.cargo, stamp)
        except WireError as error:
            if len(carriage.packs) > 1:
                alone = next_carriage(self._db, [stream], packs=1)
                return begun if alone is None else begun + self._carry(alone, stamp)
            log.error("a pack cannot be carried over, it is only sent on: seq=%d why=%s", carriage.seqs[0][0], error)
            packs = []
        seqs = carriage.seqs
        crowded = self._space.is_short(sum(len(pack.envelope) for pack in packs)) and bool(packs)
        moved = subtract(seqs, unite(stream.settled, [(seq, seq) for seq in carriage.damaged])) if crowded else []
        leaving = count_packs(self._db, stream, subtract(moved, stream.done))
        to_carry, carried = subtract(stream.to_carry, seqs), unite(stream.carried, seqs)
        declared = unite(stream.declared, moved)
        with transaction(self._db):
            for first, last in moved:  # no room for both: sent on in the new stream only
                self._db.execute(
                    "DELETE FROM pack WHERE stream_id = ? AND seq BETWEEN ? AND ?", (stream.id, first, last)
                )
            insert_packs(self._db, self._current, packs, sealed_ms=stamp.observed_at_ms)
            save_ranges(self._db, stream, "to_carry", to_carry)
            save_ranges(self._db, stream, "carried", carried)
            save_ranges(self._db, stream, "declared", declared)
        stream.to_carry, stream.carried, stream.declared = to_carry, carried, declared
        self._unsent -= leaving
        heads = begun + self._move_head(packs)
        for seq in carriage.damaged:
            if contains(stream.unsent, seq):
                self._give_up(stream, seq)
        self._count_archive()
        return heads

    def _look(self) -> BufferState:
        backlog = look_at_backlog(self._db)
        many = backlog.observations >= self._seal_options.max_readings
        waiting = backlog.scans > 0 or backlog.entries > 0 or any(stream.to_carry for stream in self._streams)
        self.seal_at_once = many or waiting
        return state_of(
            self._db,
            self._path,
            self._streams,
            backlog,
            unsent=self._unsent,
            archive=self._space.archive,
            max_bytes=self._options.max_bytes,
            full=self._full,
            set_aside=self._set_aside,
        )
