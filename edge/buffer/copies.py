"""When another copy of the buffer writes our stream: what has to be carried over into a new one.

A receipt names seqs, not bytes. Once a copy exists (a cloned card, or one restored from an old image), a settled seq
may mean the copy's pack. So everything that was not settled before this run of the program began is carried over: the
packs of the stream that are still here, receipted in this run or not, sent or not. The old packs are sent on as well
until their seqs are settled. `carried_from` names each by its hash, so that the cloud counts what it has of ours once:
shared packs from before the copy was made, which both carry, count in the stream they were sealed in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from edge.buffer.base import PACK_MAX_BYTES
from edge.buffer.carry import Carrier, merge_losses
from edge.buffer.packs import held_names
from edge.buffer.pressure import Opened, open_pack, weight
from edge.buffer.ranges import Ranges, contains, gaps, numbers, unite
from edge.buffer.seal import Cargo
from edge.buffer.stream import Stream
from wire.observation import INT64_MAX
from wire.pack import ENTRIES_MAX, SERIES_MAX, Correction, Loss

PACKS_PER_STEP = 32
READINGS_PER_STEP = 5_000
BYTES_PER_STEP = 64 * 1024  # of envelopes: carried together they stay far below one envelope's limit


class Carriage(msgspec.Struct, frozen=True):
    """One step: these packs of one stream are carried over by this cargo, None when they hold nothing to carry."""

    stream: Stream
    packs: list[Opened]
    damaged: list[int]
    cargo: Cargo | None

    @property
    def seqs(self) -> Ranges:
        """What is done with when this is."""
        return unite([], [(seq, seq) for seq in [*(opened.seq for opened in self.packs), *self.damaged]])


def doubtful(db: sqlite3.Connection, stream: Stream) -> Ranges:
    """Seqs whose packs are here and not known to be accepted as ours."""
    unproven = gaps(unite(stream.trusted, [*stream.declared, *stream.carried]), 1, stream.last_seq)
    names = held_names(db, stream, unproven, INT64_MAX)
    return unite([], [(seq, seq) for _, seq in names if seq not in stream.shelved])


def corrections(db: sqlite3.Connection, streams: Sequence[Stream], seqs: Ranges) -> list[Correction]:
    """What the packs of these seqs of the first stream correct, and all that was corrected after the first of them.

    streams: those that follow it, too, oldest first. What is declared again outranks all of these streams, so whatever
    is newer, trusted or not, is declared again behind it, in order, if it is still here.
    """
    found: list[Correction] = []
    for stream in streams:
        rows = db.execute(
            "SELECT id, seq FROM pack WHERE stream_id = ? AND pressure = 'stay' ORDER BY seq", (stream.id,)
        ).fetchall()
        for id_, seq in rows:
            wanted = bool(found) or (stream is streams[0] and contains(seqs, seq))
            if wanted and seq not in stream.shelved:
                opened = open_pack(db, id_, stream, seq)
                found += [] if opened is None else opened.pack.corrections
    return found


def next_carriage(db: sqlite3.Connection, streams: Sequence[Stream], *, packs: int = PACKS_PER_STEP) -> Carriage | None:
    """The oldest packs that wait to be carried over, up to `packs` of them; None when none wait."""
    for stream in streams:
        if stream.to_carry:
            return _carriage(db, stream, packs)
    return None


def with_losses(carriage: Carriage, seqs: Ranges, reason: str) -> Cargo | None:
    """The cargo of a step, declaring that these seqs live on in it alone."""
    moved = [opened for opened in carriage.packs if contains(seqs, opened.seq)]
    losses = [Loss(carriage.stream.name, each.seq, each.seq, each.hash, "thinned", reason) for each in moved]
    cargo = carriage.cargo
    return None if cargo is None else msgspec.structs.replace(cargo, losses=merge_losses([*cargo.losses, *losses]))


def _carriage(db: sqlite3.Connection, stream: Stream, most: int) -> Carriage:
    batch: list[Opened] = []
    damaged: list[int] = []
    readings = blocks = entries = envelopes = scan_bytes = 0
    for seq in numbers(stream.to_carry):
        if len(batch) + len(damaged) >= most:
            break
        opened = open_pack(db, 0, stream, seq)
        if opened is None:
            damaged.append(seq)
            continue
        readings += opened.pack.count
        blocks += len(opened.pack.blocks)
        entries += max(len(opened.pack.losses), len(opened.pack.carried_from)) + 2
        envelopes += opened.size_bytes
        scan_bytes += sum(weight(scan) for scan in opened.pack.scans)
        too_many = readings > READINGS_PER_STEP or blocks > SERIES_MAX or entries > ENTRIES_MAX
        if batch and (too_many or envelopes > BYTES_PER_STEP or scan_bytes > PACK_MAX_BYTES):
            break
        batch.append(opened)
    return Carriage(stream, batch, damaged, _cargo(batch))


def _cargo(batch: Sequence[Opened]) -> Cargo | None:
    carrier, losses = Carrier(), []
    for opened in batch:
        carrier.add_rows(opened.hash, opened.pack)
    for opened in batch:
        carrier.add_scans(opened.hash, opened.pack)
        losses += opened.pack.losses
    return carrier.cargo(merge_losses(losses)) if carrier.count or losses else None
