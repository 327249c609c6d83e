"""Long histories in a buffer, and a cloud that counts: who accepts packs and what becomes of carried observations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edge.buffer.base import SealedPack
from edge.buffer.sqlite import SqliteBuffer
from edge.buffer.store import Store
from tests.edge.buffer.material import BOOT, START_MS, open_pack
from wire.observation import ClockState, Observation, Quality, Reading, Scan, Stamp
from wire.pack import Loss, observations

MINUTE_MS = 60_000


def at_minute(minute: float) -> Stamp:
    offset_ms = int(minute * MINUTE_MS)
    return Stamp(START_MS + offset_ms, offset_ms, BOOT, ClockState.SYNCED)


def minute_reading(
    minute: float, mantissa: int | None, channel: str = "room-1/air", quality: Quality = Quality.OK
) -> Reading:
    return Reading(channel, "CEL", mantissa, -1, at_minute(minute), quality)


def minute_scan(minute: float) -> Scan:
    return Scan("scanner-1/scan", f"code-{minute}", "C1", at_minute(minute))


async def relieve(buffer: SqliteBuffer, minute: float = 1e6) -> bool:
    """One step of what disk pressure does."""

    def step(store: Store) -> bool:
        try:
            return store._relief._relieve(at_minute(minute))
        finally:
            store._books.look()

    return await buffer._run(step)


async def pass_hours(buffer: SqliteBuffer, hours: int, channels: int = 3, *, scans: Iterable[int] = ()) -> None:
    """One reading a minute and channel, a pack every five minutes; a scan in these minutes."""
    scanned = set(scans)
    for first in range(0, hours * 60, 5):
        group: list[Observation] = []
        for minute in range(first, first + 5):
            group += [minute_reading(minute, 40 + (minute * 7) % 30, f"room-{c}/air") for c in range(channels)]
            group += [minute_scan(minute)] if minute in scanned else []
        await buffer.append(group)
        await buffer.seal(at_minute(first + 5))


class CountingCloud:
    """What a cloud has after these packs, whatever their order: docs/wire.md §4.5 on carried observations."""

    def __init__(self, packs: Iterable[SealedPack]) -> None:
        self.packs = {pack.name: (pack.hash, open_pack(pack)) for pack in packs}

    def has(self, stream: bytes, seq: int, digest: bytes) -> bool:
        found = self.packs.get((stream, seq))
        return found is not None and found[0] == digest

    def contents(self) -> Counter[Observation]:
        """Every observation that counts."""
        found: Counter[Observation] = Counter()
        for _, pack in self.packs.values():
            dropped = {
                ordinal
                for each in pack.carried_from
                if self.has(each.stream, each.seq, each.hash)
                for ordinal in range(each.first_ordinal, each.first_ordinal + each.count)
            }
            found.update(observation for ordinal, observation in observations(pack) if ordinal not in dropped)
        return found

    def losses(self) -> list[Loss]:
        return [loss for _, pack in self.packs.values() for loss in pack.losses]

    def seqs(self, stream: bytes) -> Counter[int]:
        """How often each seq is delivered or declared."""
        found: Counter[int] = Counter(seq for name, seq in self.packs if name == stream)
        for loss in self.losses():
            if loss.stream == stream and loss.last_seq is not None:
                found.update(range(loss.first_seq, loss.last_seq + 1))
        return found

    def chain_breaks(self, stream: bytes) -> list[int]:
        """Seqs whose `prev` contradicts the hash of the pack, or of the declared loss, before them."""
        hashes = self._hashes(stream)
        return [seq for seq, prev in self._links(stream) if hashes.get(seq - 1, prev) != prev]

    def unlinked(self, stream: bytes) -> list[int]:
        """Seqs before which nothing is known."""
        hashes = self._hashes(stream)
        return [seq for seq, _ in self._links(stream) if seq - 1 not in hashes]

    def _links(self, stream: bytes) -> list[tuple[int, bytes | None]]:
        return [(seq, pack.prev) for (name, seq), (_, pack) in self.packs.items() if name == stream and seq > 1]

    def _hashes(self, stream: bytes) -> dict[int, bytes]:
        hashes = {seq: digest for (name, seq), (digest, _) in self.packs.items() if name == stream}
        for loss in self.losses():
            if loss.stream == stream and loss.last_seq is not None and loss.last_hash is not None:
                hashes[loss.last_seq] = loss.last_hash
        return hashes
