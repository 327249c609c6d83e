"""What the packs of a bundle say of each stream: what is there, what is missing, how it hangs together.

Memory is bounded by columns: of a pack stays its number, its leaf, its key and its hash.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

import msgspec

from wire.bundle.finding import FINDINGS_MAX, Finding, pack_name
from wire.envelope import HASH_BYTES
from wire.observation import INT64_MAX
from wire.pack import Loss, Pack, StreamHead

StreamName = tuple[str, bytes]  # gateway, stream


class Head(msgspec.Struct, frozen=True):
    """The stream that a first pack says it goes on from. leaf: of that pack."""

    head: StreamHead
    leaf: int


class Damage(msgspec.Struct, frozen=True):
    """A stream began after a damage, and may have sealed readings of an older one again. leaf: of its first pack."""

    younger: bytes
    older: bytes
    leaf: int


class Stream:
    """The packs of one stream, ascending by number."""

    def __init__(self) -> None:
        self.seqs = array("q")
        self.leaves = array("q")
        self.signers = array("l")  # places in the list of keys
        self._hashes = bytearray()
        self._least = array("q")  # of the last one, of the last two …

    def add(self, seq: int, leaf: int, signer: int, digest: bytes) -> None:
        """Take in the next pack; its number must be above the last one's."""
        self.seqs.append(seq)
        self.leaves.append(leaf)
        self.signers.append(signer)
        self._hashes += digest

    def hash_at(self, at: int) -> bytes:
        """The hash of the pack at this place."""
        return bytes(self._hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES])

    def least_leaf_from(self, at: int) -> int:
        """The least leaf of the pack at this place and those of higher numbers."""
        if len(self._least) != len(self.leaves):
            self._least = array("q", accumulate(reversed(self.leaves), min))
        return self._least[len(self.leaves) - 1 - at]

    def place(self, seq: int) -> int | None:
        """Where the pack with this number stands, None when it is not here."""
        at = bisect_left(self.seqs, seq)
        return at if at < len(self.seqs) and self.seqs[at] == seq else None


class Streams:
    """All streams of a bundle; `findings` says what does not fit."""

    def __init__(self) -> None:
        self.by_name: dict[StreamName, Stream] = {}
        self.losses: defaultdict[StreamName, list[Loss]] = defaultdict(list)
        self.heads: dict[StreamName, Head] = {}
        self.damages: defaultdict[str, list[Damage]] = defaultdict(list)  # by gateway
        self.wrong: list[Finding] = []
        self._after_hole: dict[tuple[str, bytes, int], bytes] = {}  # pack whose neighbour is not here → its prev
        self._last: tuple[str, bytes, int] | None = None

    def add(self, pack: Pack, leaf: int, signer: int, digest: bytes) -> bool:
        """Take in the next pack; False when it stands behind one that it must stand before, or is that one again."""
        identity = (pack.gateway, pack.stream, pack.seq)
        if self._last is not None and identity <= self._last:
            return False
        self._last = identity
        stream = self.by_name.setdefault((pack.gateway, pack.stream), Stream())
        if pack.prev is not None:
            if not stream.seqs or stream.seqs[-1] != pack.seq - 1:
                self._after_hole[identity] = pack.prev
            elif stream.hash_at(len(stream.seqs) - 1) != pack.prev:
                self._note(Finding("chain", pack_name(*identity), {"before": pack.seq - 1}))
        stream.add(pack.seq, leaf, signer, digest)
        for loss in pack.losses:
            self.losses[pack.gateway, loss.stream].append(loss)
            if pack.seq == 1 and loss.last_seq is None and loss.stream != pack.stream:
                self.damages[pack.gateway].append(Damage(pack.stream, loss.stream, leaf))
        if pack.predecessor is not None:
            self.heads[pack.gateway, pack.stream] = Head(pack.predecessor, leaf)
        return True

    def leaf_of(self, gateway: str, stream: bytes, seq: int, digest: bytes) -> int | None:
        """The leaf of the pack with this name and hash, None when it is not here."""
        found = self.by_name.get((gateway, stream))
        at = None if found is None else found.place(seq)
        if found is None or at is None or found.hash_at(at) != digest:
            return None
        return found.leaves[at]

    def close(self) -> None:
        """Check what names packs by their hash: losses, and streams that go on from others."""
        for (gateway, stream), losses in self.losses.items():
            for loss in losses:
                if loss.last_seq is not None and loss.last_hash is not None:
                    self._check_hash(gateway, stream, loss.last_seq, loss.last_hash)
        for (gateway, _), one in self.heads.items():
            self._check_hash(gateway, one.head.stream, one.head.last_seq, one.head.hash)

    def _check_hash(self, gateway: str, name: bytes, seq: int, digest: bytes) -> None:
        stream = self.by_name.get((gateway, name))
        at = None if stream is None else stream.place(seq)
        if stream is not None and at is not None and stream.hash_at(at) != digest:
            self._note(Finding("other_hash", pack_name(gateway, name, seq)))
        after = self._after_hole.get((gateway, name, seq + 1))
        if after is not None and after != digest:
            self._note(Finding("chain", pack_name(gateway, name, seq + 1), {"before": seq}))

    def _note(self, finding: Finding) -> None:
        if len(self.wrong) < FINDINGS_MAX:
            self.wrong.append(finding)

    def holes(self, name: StreamName, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The runs of numbers in [first, last] that are not here."""
        stream = self.by_name[name]
        expected = first
        for at in range(bisect_left(stream.seqs, first), len(stream.seqs)):
            seq = stream.seqs[at]
            if seq > last:
                break
            if seq > expected:
                yield expected, seq - 1
            expected = seq + 1
        if expected <= last:
            yield expected, last

    def missing(self, name: StreamName, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The runs of numbers in [first, last] that are neither here nor declared lost or thinned."""
        told = [(one.first_seq, INT64_MAX if one.last_seq is None else one.last_seq) for one in self.losses[name]]
        yield from _without(self.holes(name, first, last), sorted(told))


def _without(holes: Iterable[tuple[int, int]], ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of ascending runs that no range covers; both are gone through once."""
    following, covered = 0, 0  # covered: every number up to this one, as far as it matters to the runs to come
    for first, last in holes:
        at = first
        while at <= last:
            while following < len(ranges) and ranges[following][0] <= at:
                covered = max(covered, ranges[following][1])
                following += 1
            if covered >= at:
                at = covered + 1
                continue
            end = last if following == len(ranges) else min(last, ranges[following][0] - 1)
            yield at, end
            at = end + 1
