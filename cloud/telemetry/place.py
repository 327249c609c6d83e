"""Where a scan stands in the order of a stream, whatever pack it came in. Pure: the pack alone says it.

A scan stands where it was sealed. One that was carried stands where it was sealed first, in a stream whose numbers its
pack declares lost or thinned: there nobody can have passed that number before this pack came. Not so where the pack
declares only some of the numbers of that stream the scan was in, or none: then it is no replacement but a second try
of what another copy of the buffer may have pushed out (wire.md §4.5), and its order is that of the stream it came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from wire.pack import CarriedFrom, Loss, Pack


class Place(msgspec.Struct, frozen=True, order=True):
    """position: from 0, among the scans of one pack that stand at this number."""

    stream: bytes
    seq: int
    position: int


def places(pack: Pack) -> list[Place]:
    """The place of each scan of a pack, in the order of its scans."""
    first = pack.count - len(pack.scans)
    taken: Counter[tuple[bytes, int]] = Counter()
    found = []
    for ordinal in range(first, pack.count):
        stream, seq = _number(pack, ordinal)
        found.append(Place(stream, seq, taken[stream, seq]))
        taken[stream, seq] += 1
    return found


def _number(pack: Pack, ordinal: int) -> tuple[bytes, int]:
    origins = [one for one in pack.carried_from if one.first_ordinal <= ordinal < one.first_ordinal + one.count]
    replaced = [
        (stream == pack.stream, stream, min(seqs))  # carried twice: another stream is the older one
        for stream in {one.stream for one in origins}
        if _are_gone(stream, seqs := _seqs(origins, stream), pack.losses)
    ]
    return min(replaced)[1:] if replaced else (pack.stream, pack.seq)


def _seqs(origins: Iterable[CarriedFrom], stream: bytes) -> list[int]:
    return [one.seq for one in origins if one.stream == stream]


def _are_gone(stream: bytes, seqs: Iterable[int], losses: Iterable[Loss]) -> bool:
    declared = [(one.first_seq, one.last_seq) for one in losses if one.stream == stream]
    return all(any(first <= seq and (last is None or seq <= last) for first, last in declared) for seq in seqs)
