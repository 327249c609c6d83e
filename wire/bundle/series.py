"""The readings of bound series, computed again from the packs of a bundle (docs/bundle.md §7).

Times are believed ones with the correction that counts (wire.md §4.3); copies of which the original is here count for
nothing (wire.md §4.5). A version of evidence was computed from what the ledger held below the version's own leaf: so is
it computed here, from packs below that leaf alone.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise, repeat

import msgspec

from standards.units import UnitError, convert
from wire.bundle.stream import StreamName, Streams
from wire.columns import Block
from wire.course import NOTHING, Course, TimeCorrection, Told, ranks
from wire.doubled import Ancestors, ancestors
from wire.observation import INT64_MAX, Quality
from wire.pack import CarriedFrom, Pack

_Identity = tuple[bytes, int, int, int | None, int, str, int]  # what tells one reading of a channel from another

CORRECTIONS_MAX = 8_192  # of one boot, docs/wire.md §4.3
NOW = INT64_MAX  # the leaf below which everything lies


class Wanted(msgspec.Struct, frozen=True):
    """Readings to count: of a channel, in [from_ms, until_ms), in a unit, from packs below a leaf.

    log_interval_ms: above 0 when silences are wanted, too.
    """

    gateway: str
    channel: str
    unit: str
    from_ms: int
    until_ms: int
    below_leaf: int = NOW
    log_interval_ms: int = 0


class Measured:
    """What the readings of a `Wanted` are, as they come in. spans: stream → the lowest and highest number with any."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.count = 0
        self.min: float | None = None
        self.max: float | None = None
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.spans: dict[StreamName, tuple[int, int]] = {}
        self._times = array("q")
        self._waiting: list[tuple[_Identity, bytes, int, float]] = []

    def add(self, at_ms: int, value: float) -> None:
        """Count one reading."""
        self.count += 1
        self.min = value if self.min is None or value < self.min else self.min
        self.max = value if self.max is None or value > self.max else self.max
        self.first_ms = at_ms if self.first_ms is None or at_ms < self.first_ms else self.first_ms
        self.last_ms = at_ms if self.last_ms is None or at_ms > self.last_ms else self.last_ms
        if self.wanted.log_interval_ms:
            self._times.append(at_ms)

    def wait(self, identity: _Identity, stream: bytes, at_ms: int, value: float) -> None:
        """Count a reading later, unless an older stream has it, too."""
        self._waiting.append((identity, stream, at_ms, value))

    def count_waiting(self, older: Ancestors) -> None:
        """Count those that wait, each once."""
        streams: dict[_Identity, set[bytes]] = {}
        for identity, stream, _, _ in self._waiting:
            streams.setdefault(identity, set()).add(stream)
        nothing: set[bytes] = set()
        for identity, stream, at_ms, value in self._waiting:
            if not streams[identity] & older.get(stream, nothing):
                self.add(at_ms, value)
        self._waiting.clear()

    def seen(self, name: StreamName, seq: int) -> None:
        """A pack of this number has readings of it that were sealed there first."""
        low, high = self.spans.get(name, (seq, seq))
        self.spans[name] = (min(low, seq), max(high, seq))

    def silences(self) -> list[tuple[int, int]]:
        """The times without a reading that are longer than two log intervals, the edges of the window included."""
        limit_ms = 2 * self.wanted.log_interval_ms
        if not limit_ms:
            return []
        marks = [self.wanted.from_ms, *sorted(self._times), self.wanted.until_ms]
        return [(before, after) for before, after in pairwise(marks) if after - before > limit_ms]


class Corrections:
    """The clock corrections that packs of a bundle tell, resolved for what lay below a leaf."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._told: defaultdict[tuple[str, bytes], list[tuple[int, bytes, int, int, Told]]] = defaultdict(list)
        self._resolved: dict[tuple[int, str, bytes], Course] = {}
        self._ranks: dict[tuple[int, str], dict[bytes, int]] = {}

    def add(self, pack: Pack, leaf: int) -> None:
        """Take in what a pack tells."""
        for position, one in enumerate(pack.corrections):
            holds = TimeCorrection(one.offset_ms, one.uncertainty_ms, one.source)
            told = Told((0, pack.stream, pack.seq, position), one.from_monotonic_ms, one.to_monotonic_ms, holds)
            self._told[pack.gateway, one.boot_id].append((pack.seq, pack.stream, position, leaf, told))

    def course(self, gateway: str, boot_id: bytes, below_leaf: int) -> Course:
        """What holds in a boot by the packs below a leaf."""
        all_told = self._told.get((gateway, boot_id))
        if all_told is None:
            return NOTHING
        if all(leaf < below_leaf for _, _, _, leaf, _ in all_told):
            below_leaf = self._shared(gateway, below_leaf)
        key = (below_leaf, gateway, boot_id)
        if key not in self._resolved:
            known = [one for one in all_told if one[3] < below_leaf]
            newest = sorted(known, key=lambda one: one[:3], reverse=True)[:CORRECTIONS_MAX]
            ranked = self._rank(gateway, below_leaf)
            self._resolved[key] = Course([_ranked(told, ranked) for _, _, _, _, told in newest])
        return self._resolved[key]

    def _shared(self, gateway: str, below_leaf: int) -> int:
        """NOW, when nothing that orders this gateway's streams came later either."""
        heads = (one.leaf for (name, _), one in self._streams.heads.items() if name == gateway)
        return NOW if all(leaf < below_leaf for leaf in heads) else below_leaf

    def _rank(self, gateway: str, below_leaf: int) -> dict[bytes, int]:
        if (below_leaf, gateway) not in self._ranks:
            links = {
                stream: one.head.stream
                for (name, stream), one in self._streams.heads.items()
                if name == gateway and one.leaf < below_leaf
            }
            streams = {stream for name, stream in self._streams.by_name if name == gateway}
            self._ranks[below_leaf, gateway] = ranks(streams, links)
        return self._ranks[below_leaf, gateway]


class Meter:
    """Counts the readings of packs into everything that is wanted."""

    def __init__(self, wanted: Iterable[Wanted], streams: Streams, corrections: Corrections) -> None:
        self.measured = [Measured(one) for one in wanted]
        self._streams, self._corrections = streams, corrections
        self._by_channel: defaultdict[tuple[str, str], list[Measured]] = defaultdict(list)
        for one in self.measured:
            self._by_channel[one.wanted.gateway, one.wanted.channel].append(one)

    def add(self, pack: Pack, leaf: int) -> None:
        """Count what a pack holds; it must have been taken into the streams and corrections before."""
        first = 0
        for block in pack.blocks:
            rows = len(block.values)
            concerned = [
                one for one in self._by_channel.get((pack.gateway, block.channel), ()) if leaf < one.wanted.below_leaf
            ]
            if concerned:
                self._count(pack, block, first, concerned)
            first += rows

    def close(self) -> None:
        """Count what waited for the packs behind: all packs were added."""
        known: dict[tuple[str, int], Ancestors] = {}
        for one in self.measured:
            gateway, below_leaf = one.wanted.gateway, one.wanted.below_leaf
            damages = self._streams.damages.get(gateway)
            if not damages:
                continue
            if (gateway, below_leaf) not in known:
                pairs = ((each.younger, each.older) for each in damages if each.leaf < below_leaf)
                known[gateway, below_leaf] = ancestors(pairs)
            one.count_waiting(known[gateway, below_leaf])

    def _count(self, pack: Pack, block: Block, first: int, concerned: list[Measured]) -> None:
        name = (pack.gateway, pack.stream)
        values = _values(block)
        carried = _carried(pack, first, len(values))
        moved = _marked(carried, first, len(values))
        waits = any(pack.stream in (one.younger, one.older) for one in self._streams.damages.get(pack.gateway, ()))
        identities = _identities(block) if waits else []
        times: dict[int, list[int]] = {}  # by the course that holds, of which most have one only
        for one in concerned:
            wanted = one.wanted
            course = self._corrections.course(pack.gateway, block.boot_id, wanted.below_leaf)
            if id(course) not in times:
                times[id(course)] = list(corrected(block, course))
            left_out = self._copies(pack, carried, first, len(values), wanted.below_leaf)
            original = False
            for at, (at_ms, value) in enumerate(zip(times[id(course)], values, strict=True)):
                if not wanted.from_ms <= at_ms < wanted.until_ms or left_out[at]:
                    continue
                original = original or not moved[at]
                number = None if value is None else _in_unit(value, block.unit, wanted.unit)
                if number is not None and waits:
                    one.wait(identities[at], pack.stream, at_ms, number)
                elif number is not None:
                    one.add(at_ms, number)
            if original:
                one.seen(name, pack.seq)

    def _copies(self, pack: Pack, carried: list[CarriedFrom], first: int, rows: int, below_leaf: int) -> bytearray:
        """The rows of which the original is here."""
        found = []
        for one in carried:
            leaf = self._streams.leaf_of(pack.gateway, one.stream, one.seq, one.hash)
            if leaf is not None and leaf < below_leaf:
                found.append(one)
        return _marked(found, first, rows)


def corrected(block: Block, course: Course) -> Iterator[int]:
    """The corrected times of a block's rows."""
    walls = accumulate(block.wall_dt_ms or block.dt_ms, initial=block.base_wall_ms)
    next(walls)
    if not course.stretches:
        yield from walls
        return
    monotonics = accumulate(block.dt_ms, initial=block.base_monotonic_ms)
    next(monotonics)
    for wall_ms, monotonic_ms in zip(walls, monotonics, strict=True):
        holds = course.at(monotonic_ms)
        yield wall_ms if holds is None else wall_ms + holds.offset_ms


def _ranked(told: Told, ranked: dict[bytes, int]) -> Told:
    _, stream, seq, position = told.precedence
    return msgspec.structs.replace(told, precedence=(ranked.get(stream, 0), stream, seq, position))


def _identities(block: Block) -> list[_Identity]:
    monotonics = list(accumulate(block.dt_ms, initial=block.base_monotonic_ms))[1:]
    walls = list(corrected(block, NOTHING))
    rows = zip(monotonics, walls, block.values, _qualities(block), strict=False)
    return [
        (block.boot_id, monotonic_ms, wall_ms, mantissa, block.exponent, block.unit, quality)
        for monotonic_ms, wall_ms, mantissa, quality in rows
    ]


def _qualities(block: Block) -> Iterable[int]:
    return (code for length, code in block.quality for _ in range(length)) if block.quality else repeat(0)


def _values(block: Block) -> list[float | None]:
    """The numbers of quality OK, each as the float nearest to it."""
    scale: int = 10 ** abs(block.exponent)
    return [
        None
        if mantissa is None or quality != Quality.OK
        else (mantissa / scale if block.exponent < 0 else float(mantissa * scale))
        for mantissa, quality in zip(block.values, _qualities(block), strict=False)
    ]


def _in_unit(value: float, unit: str, wanted: str) -> float | None:
    """A number in another unit, None where there is no way there."""
    if unit == wanted:
        return value
    try:
        return convert(value, unit, wanted)
    except UnitError:
        return None


def _carried(pack: Pack, first: int, rows: int) -> list[CarriedFrom]:
    """The ranges that touch these ordinals."""
    end = first + rows
    return [one for one in pack.carried_from if one.first_ordinal < end and first < one.first_ordinal + one.count]


def _marked(ranges: list[CarriedFrom], first: int, rows: int) -> bytearray:
    """A 1 for every row of a block that lies in one of the ranges."""
    marks = bytearray(rows)
    for one in ranges:
        begin, end = max(0, one.first_ordinal - first), min(rows, one.first_ordinal + one.count - first)
        marks[begin:end] = b"\x01" * (end - begin)
    return marks
