"""What gives way when unsent data reach the bound: plans of one step each. relief.py carries each out at once.

Two kinds of step, the second only when the first can't give more:

thin    The oldest whole packs become one: of their readings what edge/buffer/keep.py keeps, in blocks marked thinned,
        with the loss that declares the rest, and all of their scans.
lose    The oldest thinned packs are declared lost, readings and all; their losses and scans move into the new pack.

The scans travel in the very pack that declares their old numbers: a receiver that has passed such a number has had its
scans, and can take them in the order in which they were made.

Rows and scans that move say in `carried_from` what pack they were in: should the cloud have that very pack after all
(it was on its way, or its receipt was lost), it drops what was carried. A pack that names the stream before, a
key, or corrections never gives way: its place in the stream is its meaning. Scans never do.

A step is bounded in what it reads, so that an append that needs room waits for tenths of a second at most.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from edge.buffer.base import PACK_MAX_BYTES
from edge.buffer.carry import Carrier, merge_losses
from edge.buffer.keep import Row, kept, rows_of
from edge.buffer.packs import read_pack
from edge.buffer.ranges import contains, subtract
from edge.buffer.seal import SCAN_BYTES, Cargo, is_bound
from edge.buffer.stream import Stream
from edge.limits import Limits
from wire.envelope import WireError
from wire.observation import Scan
from wire.pack import ENTRIES_MAX, SERIES_MAX, Block, Loss, Pack, unseal

PACKS_PER_STEP = 32  # thinned in one step: hours of history, about a tenth of a second of work
READINGS_PER_STEP = 5_000  # unless the first pack alone has more
LOST_PER_STEP = 4  # thinned packs with readings declared lost in one step; each holds hours
SPAN_MS = 3_600_000  # what is thinned together spans an hour, while something else can give way
WORTH = 0.75  # a thinned pack that takes more of its originals' bytes gains too little to be worth the change

THINNED = "disk pressure on the gateway: extremes, excursions and edges of gaps are kept"
LOST = "disk pressure on the gateway: nothing older could give way"


class Opened(msgspec.Struct, frozen=True):
    """A pack that may give way, opened."""

    id: int
    stream: Stream
    seq: int
    hash: bytes
    size_bytes: int
    pack: Pack


class Step(msgspec.Struct, frozen=True):
    """One step as planned: these packs leave, this cargo is sealed in their place.

    marks: packs that stay as they are, by what may be done to them next. left_out: readings left out for good. lost:
    packs with readings or scans that were declared lost. damaged: packs found damaged on the way.
    """

    gone: list[Opened] = []
    cargo: Cargo | None = None
    marks: dict[int, str] = {}
    left_out: int = 0
    lost: int = 0
    damaged: list[tuple[Stream, int]] = []


def plan(db: sqlite3.Connection, streams: Sequence[Stream], limits: Limits) -> Step | None:
    """The next step; None when nothing is left that may give way."""
    batch, marks, damaged, ends = _whole_packs(db, streams)
    if damaged or (marks and not batch):
        return Step(marks=marks, damaged=damaged)
    if batch and (ends or _span_ms(batch) >= SPAN_MS):
        return _thin(batch, marks, limits)
    losing = _thinned_packs(db, streams)
    if losing:
        return _lose(losing, marks)
    return _thin(batch, marks, limits) if batch else None


def _whole_packs(
    db: sqlite3.Connection, streams: Sequence[Stream]
) -> tuple[list[Opened], dict[int, str], list[tuple[Stream, int]], bool]:
    """The oldest whole packs of one stream, those that turn out to be bound to their place, the damaged ones, and
    whether the batch ended because it is big enough."""
    batch: list[Opened] = []
    marks: dict[int, str] = {}
    damaged: list[tuple[Stream, int]] = []
    readings = blocks = entries = scan_bytes = 0
    for id_, stream, seq, count in _candidates(db, streams, "thin"):
        if max(len(batch), len(marks)) >= PACKS_PER_STEP or (batch and readings + count > READINGS_PER_STEP):
            return batch, marks, damaged, True
        opened = open_pack(db, id_, stream, seq)
        if opened is None:
            damaged.append((stream, seq))
            return batch, marks, damaged, False
        if is_bound(opened.pack):
            marks[id_] = "stay"
            continue
        blocks += len(opened.pack.blocks)
        entries += len(opened.pack.losses) + 2 * (len(opened.pack.carried_from) + 1)  # of rows, and of scans
        scan_bytes += sum(weight(scan) for scan in opened.pack.scans)
        if batch and (blocks > SERIES_MAX or entries > ENTRIES_MAX or scan_bytes > PACK_MAX_BYTES):
            return batch, marks, damaged, True
        batch.append(opened)
        readings += count
    return batch, marks, damaged, False


def _thinned_packs(db: sqlite3.Connection, streams: Sequence[Stream]) -> list[Opened]:
    """The oldest thinned packs, a few with readings; none when there are no readings to give."""
    batch: list[Opened] = []
    with_readings = entries = scan_bytes = 0
    for id_, stream, seq, count in _candidates(db, streams, "lose"):
        if with_readings >= LOST_PER_STEP or len(batch) >= 2 * PACKS_PER_STEP:
            break
        opened = open_pack(db, id_, stream, seq)
        if opened is None:
            continue  # whoever sends it finds it damaged, and declares it
        entries += max(len(opened.pack.losses), len(opened.pack.carried_from)) + 2
        scan_bytes += sum(weight(scan) for scan in opened.pack.scans)
        if batch and (entries > ENTRIES_MAX or scan_bytes > PACK_MAX_BYTES):
            if with_readings:
                break
            batch, entries, scan_bytes = [], 0, 0  # losses that fill a pack by themselves stay where they are
        batch.append(opened)
        with_readings += count > 0
    return batch if with_readings else []


def _candidates(
    db: sqlite3.Connection, streams: Sequence[Stream], pressure: str
) -> Iterator[tuple[int, Stream, int, int]]:
    """(row id, stream, seq, readings) of unsent packs that may give way so, oldest first."""
    by_id = {stream.id: stream for stream in streams}
    # What was carried over into a newer stream must not be carried once more under its old name: it would count twice.
    unsent = {stream.id: subtract(stream.unsent, stream.carried) for stream in streams}
    rows = db.execute("SELECT id, stream_id, seq, readings FROM pack WHERE pressure = ? ORDER BY id", (pressure,))
    for id_, stream_id, seq, readings in rows:
        if contains(unsent[stream_id], seq):
            yield id_, by_id[stream_id], seq, readings


def open_pack(db: sqlite3.Connection, id_: int, stream: Stream, seq: int) -> Opened | None:
    """A pack opened; None when it is not here, or damaged."""
    found = read_pack(db, stream, seq)
    if found is None:
        return None
    try:
        _, pack = unseal(found.envelope)
    except WireError:  # signed so by an older program; as good as damaged
        return None
    return Opened(id_, stream, seq, found.hash, len(found.envelope), pack)


def weight(scan: Scan) -> int:
    """Bytes of a scan before compression, about."""
    return SCAN_BYTES + len(scan.code.encode())


def _span_ms(batch: Sequence[Opened]) -> int:
    walls = [wall for opened in batch for block in opened.pack.blocks for wall in _walls(block)]
    return max(walls, default=0) - min(walls, default=0)


def _walls(block: Block) -> tuple[int, int]:
    return block.base_wall_ms, block.base_wall_ms + sum(block.wall_dt_ms or block.dt_ms)


# -- thin --


def _thin(batch: Sequence[Opened], marks: dict[int, str], limits: Limits) -> Step:
    chosen = _choose(batch, limits)
    carrier, losses = Carrier(), []
    left_out = 0
    for opened, selection in zip(batch, chosen, strict=True):
        carrier.add_rows(opened.hash, opened.pack, [rows for rows, _ in selection])
        out = [row for _, rest in selection for row in rest]
        left_out += len(out)
        counts = Counter({block.channel: 0 for block in opened.pack.blocks})
        for block, (_, rest) in zip(opened.pack.blocks, selection, strict=True):
            counts[block.channel] += len(rest)
        losses += [*opened.pack.losses, _loss(opened, "thinned", THINNED, counts, [row.wall_ms for row in out])]
    for opened in batch:
        carrier.add_scans(opened.hash, opened.pack)
    cargo = carrier.cargo(merge_losses(losses))
    if _bytes(cargo) > WORTH * sum(_bytes(_as_cargo(opened.pack)) for opened in batch):
        return Step(marks={**marks, **{opened.id: "lose" for opened in batch}})
    return Step(gone=list(batch), cargo=cargo, marks=marks, left_out=left_out)


Selection = list[tuple[list[int], list[Row]]]  # per block: indices of the rows kept, the rows left out


def _choose(batch: Sequence[Opened], limits: Limits) -> list[Selection]:
    """What of each pack is kept: series are judged across the packs of the batch."""
    series: dict[tuple[str, str, int, bytes], list[tuple[Row, int, int, int]]] = {}
    for at, opened in enumerate(batch):
        for number, block in enumerate(opened.pack.blocks):
            key = (block.channel, block.unit, block.exponent, block.boot_id)
            series.setdefault(key, []).extend((row, at, number, i) for i, row in enumerate(rows_of(block)))
    chosen: list[Selection] = [[([], []) for _ in opened.pack.blocks] for opened in batch]
    for (channel, _, exponent, _), rows in series.items():
        rows.sort(key=lambda each: each[0].monotonic_ms)
        keep = kept([row for row, *_ in rows], limits.bounds(channel, exponent))
        for index, (row, at, number, i) in enumerate(rows):
            stays, goes = chosen[at][number]
            if index in keep:
                stays.append(i)
            else:
                goes.append(row)
    return chosen


# -- lose --


def _lose(batch: Sequence[Opened], marks: dict[int, str]) -> Step:
    scans, losses = Carrier(), []
    left_out = lost = 0
    for opened in batch:
        scans.add_scans(opened.hash, opened.pack)
        counts: Counter[str] = Counter()
        for block in opened.pack.blocks:
            counts[block.channel] += len(block.values)
        left_out += counts.total()
        lost += bool(counts)
        walls = [wall for block in opened.pack.blocks for wall in _walls(block)]
        losses += [*(_hardened(loss) for loss in opened.pack.losses), _loss(opened, "lost", LOST, counts, walls)]
    cargo = scans.cargo(merge_losses(losses))
    return Step(gone=list(batch), cargo=cargo, marks=marks, left_out=left_out, lost=lost)


def _hardened(loss: Loss) -> Loss:
    """What was kept of a thinned span goes now, too."""
    return msgspec.structs.replace(loss, kind="lost", reason=LOST) if loss.kind == "thinned" else loss


def _loss(opened: Opened, kind: str, reason: str, counts: Counter[str], walls: Sequence[int]) -> Loss:
    told = [(channel, count) for channel, count in sorted(counts.items()) if count]
    ends = (min(walls), max(walls)) if walls else (None, None)
    return Loss(opened.stream.name, opened.seq, opened.seq, opened.hash, kind, reason, told, *ends)


def _as_cargo(pack: Pack) -> Cargo:
    return Cargo(blocks=pack.blocks, scans=pack.scans, losses=pack.losses, carried_from=pack.carried_from)


def _bytes(cargo: Cargo) -> int:
    return len(msgspec.msgpack.encode(cargo))
