"""What a chunk holds: the blocks of many packs as columns over all their rows, from which each reading comes back.

Blocks stand in the order of their monotonic begin, pack and ordinal, so that the same blocks always make the same
bytes, whatever order they were folded in. Layout of version 1: the byte 1, then one zlib stream of two varints (blocks,
rows) and the columns below, each as column.py codes it; believed times as what they are ahead of monotonic ones. A
mantissa that is missing repeats the one before, and is told by its own column.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cloud.errors import Retryable
from cloud.telemetry import column
from cloud.telemetry.column import ColumnError, Ints
from cloud.telemetry.wall import wall_times
from wire.pack import Block, Run

_VERSION = b"\x01"
_LEVEL = 4  # higher ones take five times as long for columns like these, and save nothing
#: Rows of a chunk at most; more than a reading every 100 ms in a day. It bounds the memory that folding takes.
ROWS_MAX = 1_000_000
INFLATED_MAX_BYTES = 16 + (ROWS_MAX * 11 * 9)  # eleven columns, nine bytes a value at the very most


class BodyDamaged(Retryable):
    """The bytes of a chunk are not what was written: nobody is told half of it. Rebuilding makes it anew."""


@dataclass(frozen=True, slots=True)
class Body:
    """Blocks and their rows as columns. count: rows of each block; missing: 1 where there was no number."""

    pack_id: Ints
    first_ordinal: Ints
    count: Ints
    exponent: Ints
    thinned: Ints
    monotonic_ms: Ints
    believed_ms: Ints
    mantissa: Ints
    missing: Ints
    quality: Ints
    clock: Ints

    @property
    def block_of_row(self) -> Ints:
        """Which block each row is of."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @property
    def ordinal(self) -> Ints:
        """The ordinal of each row in its pack."""
        begins = np.cumsum(self.count) - self.count
        return np.arange(len(self.monotonic_ms)) - np.repeat(begins - self.first_ordinal, self.count)


_FIELDS = fields(Body)
_OF_BLOCKS = ("pack_id", "first_ordinal", "count", "exponent", "thinned")
_OF_ROWS = ("monotonic_ms", "believed_ms", "mantissa", "missing", "quality", "clock")


def gather(blocks: Iterable[tuple[int, int, Block]]) -> Body:
    """The body of blocks, each with the id of its pack and its first ordinal; in any order, one at least."""
    ordered = sorted(blocks, key=lambda one: (one[2].base_monotonic_ms, one[0], one[1]))
    bodies = [block for _, _, block in ordered]
    values = list(chain.from_iterable(block.values for block in bodies))
    missing = np.zeros(len(values), np.int64)
    if None in values:
        missing = _ints([value is None for value in values])
        values = [0 if value is None else value for value in values]
    counts = _ints([len(block.values) for block in bodies])
    monotonic = _monotonic(bodies, counts)
    return Body(
        pack_id=_ints([pack_id for pack_id, _, _ in ordered]),
        first_ordinal=_ints([first for _, first, _ in ordered]),
        count=counts,
        exponent=_ints([block.exponent for block in bodies]),
        thinned=_ints([block.thinned for block in bodies]),
        monotonic_ms=monotonic,
        believed_ms=_believed(bodies, counts, monotonic),
        mantissa=_filled(_ints(values), missing),
        missing=missing,
        quality=_codes([block.quality for block in bodies], counts),
        clock=_codes([block.clock for block in bodies], counts),
    )


def join(one: Body, other: Body) -> Body:
    """Both in one, in the order that `gather` gives them."""
    columns = {field.name: np.concatenate([getattr(one, field.name), getattr(other, field.name)]) for field in _FIELDS}
    begins = np.cumsum(columns["count"]) - columns["count"]
    order = np.lexsort((columns["first_ordinal"], columns["pack_id"], columns["monotonic_ms"][begins]))
    return _taken(columns, order)


def select_blocks(whole: Body, kept: NDArray[np.bool_]) -> Body | None:
    """Only these blocks of a body; None where none is left."""
    if not kept.any():
        return None
    return _taken({field.name: getattr(whole, field.name) for field in _FIELDS}, np.flatnonzero(kept))


def _taken(columns: Mapping[str, Ints], order: NDArray[np.int64]) -> Body:
    """These blocks in this order, with their rows."""
    begins = np.cumsum(columns["count"]) - columns["count"]
    counts = columns["count"][order]
    ends = np.cumsum(counts)
    picked = np.arange(int(ends[-1])) + np.repeat(begins[order] - (ends - counts), counts)
    taken = {name: values[order if name in _OF_BLOCKS else picked] for name, values in columns.items()}
    taken["mantissa"] = _filled(taken["mantissa"], taken["missing"])
    return Body(**taken)


def encode(body: Body) -> bytes:
    """The bytes of a chunk."""
    parts = [column.varint(len(body.count)), column.varint(len(body.monotonic_ms))]
    parts += [column.encode(getattr(body, name)) for name in _OF_BLOCKS]
    parts.append(column.encode(body.monotonic_ms))
    parts.append(column.encode(body.believed_ms - body.monotonic_ms))
    parts += [column.encode(getattr(body, name)) for name in _OF_ROWS[2:]]
    return _VERSION + zlib.compress(b"".join(parts), _LEVEL)


def decode(data: bytes) -> Body:
    """What `encode` was given. Raises BodyDamaged."""
    try:
        plain = _inflate(data)
        blocks, at = column.read_varint(plain, 0)
        rows, at = column.read_varint(plain, at)
        if not 1 <= blocks <= rows <= ROWS_MAX:
            raise ColumnError(f"{blocks} blocks of {rows} rows")
        found: dict[str, Ints] = {}
        for field in _FIELDS:
            found[field.name], at = column.decode(plain, at, blocks if field.name in _OF_BLOCKS else rows)
        if at != len(plain) or found["count"].min() < 1 or int(found["count"].sum()) != rows:
            raise ColumnError(f"{len(plain) - at} bytes too many, or rows that no block has")
    except (ColumnError, zlib.error) as error:
        raise BodyDamaged(f"chunk of {len(data)} bytes: {error}; `coldproof cloud rebuild` makes it anew") from error
    found["believed_ms"] = found["believed_ms"] + found["monotonic_ms"]
    return Body(**found)


def _inflate(data: bytes) -> bytes:
    if data[:1] != _VERSION:
        raise ColumnError(f"version {data[:1].hex() or 'missing'}, this program knows 01")
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data[1:], INFLATED_MAX_BYTES)
    if not inflater.eof or inflater.unused_data:
        raise ColumnError("its stream has no end, or goes on behind it")
    return plain


def _ints(values: Sequence[int | None]) -> Ints:
    return np.array(values, np.int64)


def _monotonic(blocks: list[Block], counts: Ints) -> Ints:
    steps = _ints(list(chain.from_iterable(block.dt_ms for block in blocks)))
    passed = np.cumsum(steps)
    begins = np.cumsum(counts) - counts
    bases = _ints([block.base_monotonic_ms for block in blocks])
    monotonic: Ints = passed + np.repeat(bases - passed[begins], counts)  # the first step of a block is 0
    return monotonic


def _believed(blocks: list[Block], counts: Ints, monotonic: Ints) -> Ints:
    """As wall.py has it; all blocks at once whose wall clock advanced as the monotonic one."""
    ahead = _ints([block.base_wall_ms - block.base_monotonic_ms for block in blocks])
    believed: Ints = monotonic + np.repeat(ahead, counts)
    begins = np.cumsum(counts) - counts
    for at in (at for at, block in enumerate(blocks) if block.wall_dt_ms):
        believed[begins[at] : begins[at] + counts[at]] = wall_times(blocks[at])
    return believed


def _filled(mantissa: Ints, missing: NDArray[np.int64]) -> Ints:
    """Each missing one as the one before it, so that steps stay small; 0 before the first."""
    if not missing.any():
        return mantissa
    last = np.maximum.accumulate(np.where(missing == 0, np.arange(len(mantissa)), -1))
    filled: Ints = np.where(last >= 0, mantissa[np.maximum(last, 0)], 0)
    return filled


def _codes(runs: list[list[Run]], counts: Ints) -> Ints:
    """A column of runs; rows behind the last run of their block have code 0."""
    codes = np.zeros(int(counts.sum()), np.int64)
    begins = np.cumsum(counts) - counts
    for at in (at for at, of_block in enumerate(runs) if of_block):
        where = int(begins[at])
        for length, code in runs[at]:
            codes[where : where + length] = code
            where += length
    return codes
