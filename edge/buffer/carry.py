"""Carrying observations from packs into a newer one: rows and scans, with where each was before.

Used when thinning and when a stream turns out to have a copy. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from edge.buffer.keep import block_of, rows_of
from edge.buffer.seal import Cargo
from wire.columns import Block
from wire.observation import Scan
from wire.pack import CarriedFrom, Loss, Pack

Origin = tuple[bytes, int, bytes]  # stream, seq and hash of a pack


class Carrier:
    """Gathers what one new pack carries; ordinals are known when it is complete."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._scans: list[Scan] = []
        self._row_origins: list[list[Origin]] = []  # of each row, in the order of the blocks
        self._scan_origins: list[list[Origin]] = []
        self._walls: list[int] = []

    @property
    def count(self) -> int:
        """Observations so far."""
        return len(self._row_origins) + len(self._scan_origins)

    def add_rows(self, digest: bytes, pack: Pack, rows: Sequence[Sequence[int]] | None = None) -> None:
        """Carry these rows of each block of `pack`, marked thinned; without `rows` all of them, as they are."""
        origins = _origins(digest, pack)
        first = 0
        for at, block in enumerate(pack.blocks):
            every = rows_of(block)
            chosen: Sequence[int] = range(len(every)) if rows is None else rows[at]
            if chosen:
                self._blocks.append(block if rows is None else block_of(block, [every[i] for i in chosen]))
                self._row_origins += [origins[first + i] for i in chosen]
                self._walls += [every[i].wall_ms for i in chosen]
            first += len(every)

    def add_scans(self, digest: bytes, pack: Pack) -> None:
        """Carry all scans of `pack`."""
        self._scans += pack.scans
        self._scan_origins += _origins(digest, pack)[pack.count - len(pack.scans) :]
        self._walls += [scan.stamp.observed_at_ms for scan in pack.scans]

    def cargo(self, losses: Sequence[Loss] = ()) -> Cargo:
        """What was gathered, ready to be sealed."""
        return Cargo(
            blocks=self._blocks,
            scans=self._scans,
            losses=list(losses),
            carried_from=list(_spans([*self._row_origins, *self._scan_origins])),
            from_ms=min(self._walls, default=None),
            to_ms=max(self._walls, default=None),
        )


def merge_losses(losses: Iterable[Loss]) -> list[Loss]:
    """Adjacent spans of one stream, kind and reason as one, by stream and seq."""
    merged: list[Loss] = []
    for loss in sorted(losses, key=lambda each: (each.stream, each.first_seq)):
        before = merged[-1] if merged else None
        if before is not None and _touch(before, loss):
            merged[-1] = _join(before, loss)
        else:
            merged.append(loss)
    return merged


def _touch(before: Loss, after: Loss) -> bool:
    alike = (before.stream, before.kind, before.reason) == (after.stream, after.kind, after.reason)
    return alike and before.last_seq is not None and after.first_seq == before.last_seq + 1


def _join(before: Loss, after: Loss) -> Loss:
    counts = Counter(dict(before.counts))
    counts.update(dict(after.counts))
    return msgspec.structs.replace(
        before,
        last_seq=after.last_seq,
        last_hash=after.last_hash,
        counts=sorted(counts.items()),
        from_ms=min((ms for ms in (before.from_ms, after.from_ms) if ms is not None), default=None),
        to_ms=max((ms for ms in (before.to_ms, after.to_ms) if ms is not None), default=None),
    )


def _origins(digest: bytes, pack: Pack) -> list[list[Origin]]:
    """Where each ordinal of a pack was: in that pack, and in whatever that pack carried it from."""
    origins: list[list[Origin]] = [[(pack.stream, pack.seq, digest)] for _ in range(pack.count)]
    for each in pack.carried_from:
        for ordinal in range(each.first_ordinal, each.first_ordinal + each.count):
            origins[ordinal].append((each.stream, each.seq, each.hash))
    return origins


def _spans(origins: Sequence[list[Origin]]) -> Iterator[CarriedFrom]:
    """Runs of ordinals that share an origin."""
    running: dict[Origin, int] = {}  # origin → first ordinal of its run
    for ordinal, here in enumerate([*origins, []]):
        for origin in [each for each in running if each not in here]:
            first = running.pop(origin)
            yield CarriedFrom(*origin, first, ordinal - first)
        for origin in here:
            running.setdefault(origin, ordinal)
