"""Where a scan stands in the order of a stream, whatever pack it came in. Pure: the pack alone says it.

A scan stands where it was sealed. One that was carried stands where it was sealed first, in a stream whose numbers its
pack declares lost or thinned: there nobody can have passed that number before this pack came. Not so where the pack
declares only some of the numbers of that stream the scan was in, or none: then it is no replacement but a second try
of what another copy of the buffer may have pushed out (wire.md §4.5), and its order is that of the stream it came in.

A pack within the limits may hold 1,000 carried ranges over 10,000 scans: work grows with their sum, not their product,
since ingest does it while nobody else can write.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

import msgspec

from wire.observation import INT64_MAX
from wire.pack import CarriedFrom, Loss, Pack

_Number = tuple[bytes, int]  # stream, seq


class Place(msgspec.Struct, frozen=True, order=True):
    """position: from 0, among the scans of one pack that stand at this number."""

    stream: bytes
    seq: int
    position: int


def places(pack: Pack) -> list[Place]:
    """The place of each scan of a pack, in the order of its scans."""
    if not pack.scans:
        return []
    taken: Counter[_Number] = Counter()
    found = []
    for number in _numbers(pack):
        found.append(Place(*number, taken[number]))
        taken[number] += 1
    return found


def _numbers(pack: Pack) -> Iterator[_Number]:
    """The number at which each scan stands; decided anew only where a carried range begins or ends."""
    first, end = pack.count - len(pack.scans), pack.count
    origins = [one for one in pack.carried_from if one.first_ordinal + one.count > first]
    declared = _Declared(pack.losses)
    streams = {one.stream: _Open() for one in origins}
    edges = sorted(
        [(max(one.first_ordinal, first), True, one) for one in origins]
        + [(min(one.first_ordinal + one.count, end), False, one) for one in origins],
        key=lambda edge: edge[0],
    )
    replaced: list[tuple[bool, bytes]] = []  # heap of streams; those that no longer qualify go when they come up
    at, edge = first, 0
    while at < end:
        changed = set()
        while edge < len(edges) and edges[edge][0] == at:
            _, begins, one = edges[edge]
            streams[one.stream].turn(one, begins=begins, is_gone=declared.covers(one.stream, one.seq))
            changed.add(one.stream)
            edge += 1
        for stream in changed:
            if streams[stream].lowest(at) is not None:
                heappush(replaced, (stream == pack.stream, stream))  # carried twice: another stream is the older one
        while replaced and streams[replaced[0][1]].lowest(at) is None:
            heappop(replaced)
        seq = streams[replaced[0][1]].lowest(at) if replaced else None
        number = (pack.stream, pack.seq) if seq is None else (replaced[0][1], seq)
        following = edges[edge][0] if edge < len(edges) else end
        for _ in range(at, following):
            yield number
        at = following


class _Open:
    """The carried ranges of one stream that an ordinal lies in."""

    def __init__(self) -> None:
        self._seqs: list[tuple[int, int]] = []  # heap of (seq, where its range ends)
        self._kept = 0  # ranges whose seq is not declared

    def turn(self, one: CarriedFrom, *, begins: bool, is_gone: bool) -> None:
        """A range begins or ends."""
        if begins:
            heappush(self._seqs, (one.seq, one.first_ordinal + one.count))
        if not is_gone:
            self._kept += 1 if begins else -1

    def lowest(self, ordinal: int) -> int | None:
        """The lowest seq here; None where there is none, or the pack does not declare each of them."""
        while self._seqs and self._seqs[0][1] <= ordinal:
            heappop(self._seqs)
        return self._seqs[0][0] if self._seqs and not self._kept else None


class _Declared:
    """Which numbers the losses of a pack cover."""

    def __init__(self, losses: Sequence[Loss]) -> None:
        self._ranges: dict[bytes, list[tuple[int, int]]] = {}
        for one in sorted(losses, key=lambda one: one.first_seq):
            last = INT64_MAX if one.last_seq is None else one.last_seq
            ranges = self._ranges.setdefault(one.stream, [])
            if ranges and one.first_seq <= ranges[-1][1]:
                ranges[-1] = ranges[-1][0], max(ranges[-1][1], last)
            else:
                ranges.append((one.first_seq, last))

    def covers(self, stream: bytes, seq: int) -> bool:
        ranges = self._ranges.get(stream, [])
        at = bisect_right(ranges, (seq, INT64_MAX)) - 1
        return at >= 0 and seq <= ranges[at][1]
