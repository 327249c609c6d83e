"""Copies of a buffer, cloned or restored from an old image: nothing refused for good, nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.buffer.base import MIN_MAX_BYTES, BufferOptions, ReceiptBeyondHead, SealedPack, SealOptions
from edge.buffer.ranges import unite
from edge.buffer.sqlite import SqliteBuffer
from tests.edge.buffer.history import CountingCloud
from tests.edge.buffer.material import (
    BOOT,
    QUICK,
    contents,
    everything,
    make,
    open_pack,
    reading,
    receipt,
    scan,
    seal_and_send,
    stamp,
)
from wire.observation import Observation, Scan
from wire.pack import Correction
from wire.receipt import CONFLICT, Receipt

ONE_EACH = SealOptions(max_readings=1)


class Cloud(CountingCloud):
    """Keeps the first pack of each identity, refuses others, and writes cumulative receipts."""

    def __init__(self) -> None:
        super().__init__([])
        self.conflicts: dict[bytes, dict[int, bytes]] = {}

    def take(self, pack: SealedPack) -> None:
        known = self.packs.setdefault(pack.name, (pack.hash, open_pack(pack)))
        if known[0] != pack.hash:
            self.conflicts.setdefault(pack.stream, {})[pack.seq] = pack.hash

    def receipt(self, stream: bytes) -> Receipt:
        ranges = unite([], ((seq, seq) for seq in self.seqs(stream)))
        through = ranges.pop(0)[1] if ranges and ranges[0][0] == 1 else 0
        refused = [(seq, digest, CONFLICT) for seq, digest in sorted(self.conflicts.get(stream, {}).items())]
        return receipt(stream, through, *ranges, refused=refused)


async def exchange(
    buffer: SqliteBuffer, cloud: Cloud, *, limit: int = 50, newest_first: bool = False, answer: bool = True
) -> int:
    """Send some packs and take the receipts of their streams in; how many were sent."""
    packs = await buffer.unsent(newest_first=newest_first, limit=limit)
    for pack in packs:
        cloud.take(pack)
    for stream in {pack.stream for pack in packs} if answer else ():
        try:
            await buffer.settle(cloud.receipt(stream))
        except ReceiptBeyondHead:
            pass
    return len(packs)


async def drain(buffer: SqliteBuffer, cloud: Cloud, at: int) -> None:
    """Until nothing waits any more."""
    for _ in range(100):
        await buffer.seal(stamp(at))
        if not await exchange(buffer, cloud) and not buffer.state().pending_carriage:
            return
    raise AssertionError("never drained")


def clone(folder: Path, target: Path) -> None:
    """The card's image: everything in the data folder."""
    shutil.copytree(folder, target)


async def test_what_lies_beyond_our_head_settles_nothing_and_begins_a_new_stream(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        (head,) = await buffer.seal(stamp(2))
        with pytest.raises(ReceiptBeyondHead, match="copy"):
            await buffer.settle(receipt(head.stream, 7))
        assert buffer.state().unsent_packs == 1
        assert buffer.state().pending_carriage == 1
        async with asyncio.timeout(5):
            await buffer.ripe()
        await buffer.append([reading(3)])
        fresh = await buffer.seal(stamp(4))
        assert len(fresh) == 2
        old, carrying, new = await everything(buffer)
    assert old.stream == head.stream
    assert {carrying.stream, new.stream} == {fresh[0].stream} != {head.stream}
    assert open_pack(carrying).predecessor == head
    (origin,) = open_pack(carrying).carried_from
    assert (origin.stream, origin.seq, origin.hash) == (head.stream, 1, head.hash)
    assert contents([new]) == Counter([reading(3)])


async def test_a_conflict_begins_a_new_stream_and_carries_what_was_refused(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(1), scan(2)])
        one, two = await seal_and_send(buffer, stamp(3))
        letter = receipt(one.stream, 2, refused=[(1, one.hash, CONFLICT)])
        assert await buffer.settle(letter) == 2
        fresh = buffer.state().stream
        assert fresh != one.stream
        await buffer.seal(stamp(4))
        assert await buffer.settle(letter) == 0
        (pack,) = await everything(buffer)
        assert (pack.stream, open_pack(pack).predecessor) == (fresh, two)
        assert contents([pack]) == Counter([reading(1), scan(2)])
        assert [(each.seq, each.hash) for each in open_pack(pack).carried_from] == [(1, one.hash), (2, two.hash)]
        assert buffer.state().refused_packs == 0
        assert buffer.state().disputed_streams == 1


async def test_what_never_left_here_is_not_settled_by_the_receipt_of_a_copy(tmp_path: Path) -> None:
    """Neither in the run that sealed it, nor in a later one: the file knows how far packs have left."""
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(1), reading(2)])
        await seal_and_send(buffer, stamp(2))
        stream = buffer.state().stream
        await buffer.append([reading(n) for n in range(13, 18)])
        await buffer.seal(stamp(20))
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(stream, 6))
        assert buffer.state().unsent_packs == 7


async def test_a_receipt_settles_only_what_was_handed_out_in_this_run(tmp_path: Path) -> None:
    """Newest first, then a restart: of the older ones nobody knows whether they left, so a copy's may be meant."""
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(n) for n in range(3)])
        (*_, head) = await buffer.seal(stamp(9))
        assert len(await buffer.unsent(newest_first=True, limit=1)) == 1
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        assert await buffer.settle(receipt(head.stream, 3)) == 0
        assert len(await everything(buffer)) == 3
        assert await buffer.settle(receipt(head.stream, 3)) == 3


async def test_settled_before_this_run_is_trusted_and_not_carried_again(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(n) for n in range(5)])
        (*_, head) = await seal_and_send(buffer, stamp(9))
        await buffer.settle(receipt(head.stream, 3))
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.settle(receipt(head.stream, 4))  # in the run that then finds the copy: perhaps the copy's
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(head.stream, 9))
        await buffer.seal(stamp(10))
        carried = [each.seq for pack in await everything(buffer) for each in open_pack(pack).carried_from]
        assert carried == [4, 5]


async def test_corrections_are_carried_over_before_newer_ones(tmp_path: Path) -> None:
    old, new = (Correction(BOOT, 0, 9, offset, 1, "ntp") for offset in (1, 2))
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.declare(old)
        (head,) = await seal_and_send(buffer, stamp(2))
        await buffer.declare(new)
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(head.stream, 9))
        await buffer.seal(stamp(3))
        packs = [open_pack(pack) for pack in await everything(buffer)]
    assert [pack.corrections for pack in packs if pack.stream != head.stream and pack.corrections] == [[old, new]]


async def test_a_trusted_correction_is_not_outranked_by_an_older_one_that_is_carried_over(tmp_path: Path) -> None:
    oldest, doubted, trusted, open_ = (Correction(BOOT, 0, 9, offset, 1, "ntp") for offset in (1, 2, 3, 4))
    async with make(tmp_path) as buffer:
        for n, entry in enumerate((oldest, doubted, trusted), start=1):
            await buffer.declare(entry)
            (head,) = await seal_and_send(buffer, stamp(n))
        await buffer.settle(receipt(head.stream, 1, (3, 3)))
    async with make(tmp_path) as buffer:
        await buffer.declare(open_)
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(head.stream, 9))
        await buffer.seal(stamp(5))
        packs = [open_pack(pack) for pack in await everything(buffer) if pack.stream != head.stream]
    assert [pack.corrections for pack in packs if pack.corrections] == [[doubted, trusted, open_]]


async def test_a_correction_carried_over_late_does_not_outrank_those_of_the_streams_between(tmp_path: Path) -> None:
    old, new = (Correction(BOOT, 0, 9, offset, 1, "ntp") for offset in (1, 2))
    async with make(tmp_path) as buffer:
        await buffer.declare(old)
        (first,) = await seal_and_send(buffer, stamp(1))
        await buffer.settle(receipt(first.stream, 1))
    async with make(tmp_path) as buffer:
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(first.stream, 9))
        await buffer.declare(new)
        (second,) = await seal_and_send(buffer, stamp(2))
        await buffer.settle(receipt(first.stream, 1, refused=[(1, first.hash, CONFLICT)]))
        await buffer.seal(stamp(3))
        packs = [open_pack(pack) for pack in await everything(buffer) if pack.stream != first.stream]
    assert [pack.corrections for pack in packs if pack.seq > second.last_seq] == [[old, new]]


async def test_two_copies_of_one_file_seal_the_same_pack_of_what_was_left_open(tmp_path: Path) -> None:
    async with make(tmp_path / "one") as buffer:
        await buffer.append([reading(1), scan(2)])
        await buffer.append([reading(3)])
    clone(tmp_path / "one", tmp_path / "two")
    packs = []
    for at, name in enumerate(("one", "two")):
        async with make(tmp_path / name) as buffer:
            await buffer.append([reading(100 + at)])
            await buffer.seal(stamp(200 + at))
            packs.append(await everything(buffer))
    assert packs[0][0] == packs[1][0]
    assert contents(packs[0][:1]) == Counter([reading(1), scan(2), reading(3)])
    assert packs[0][1] != packs[1][1]


@pytest.mark.parametrize("offline_runs", [0, 1, 2])
async def test_a_card_restored_from_last_week_loses_and_doubles_nothing(tmp_path: Path, offline_runs: int) -> None:
    cloud = Cloud()
    accepted: Counter[Observation] = Counter()

    async def live(folder: Path, first: int, count: int, *, online: bool) -> None:
        async with make(folder, options=QUICK, seal_options=SealOptions(max_readings=4)) as buffer:
            for n in range(first, first + count):
                group: list[Observation] = [reading(n), reading(n, "room-2/air")]
                await buffer.append(group)
                accepted.update(group)
                await buffer.seal(stamp(n))
                if online:
                    await exchange(buffer, cloud, limit=2)
            if online:
                await drain(buffer, cloud, first + count)

    await live(tmp_path / "card", 0, 10, online=True)
    clone(tmp_path / "card", tmp_path / "image")
    await live(tmp_path / "card", 100, 30, online=True)
    for run in range(offline_runs):
        await live(tmp_path / "image", 200 + 20 * run, 12, online=False)
    await live(tmp_path / "image", 300, 10, online=True)
    assert cloud.contents() == accepted


@settings(max_examples=60, deadline=None)
@given(st.data())
async def test_clones_in_parallel_lose_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever of packs and receipts gets lost, whoever is on line when, and however often they are started again."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    base = tmp_path_factory.mktemp("clones")
    cloud = Cloud()
    accepted: Counter[Observation] = Counter()
    n = 0

    async def live(folder: Path, steps: int, *, to_the_end: bool = False) -> None:
        nonlocal n
        online = to_the_end or rng.random() < 0.7
        async with make(folder, options=QUICK, seal_options=SealOptions(max_readings=3)) as buffer:
            for _ in range(steps):
                n += 1
                group: list[Observation] = [reading(n, f"{folder.name}/air")]
                group += [scan(n)] if rng.random() < 0.2 else []
                await buffer.append(group)
                accepted.update(group)
                if rng.random() < 0.8:
                    await buffer.seal(stamp(n))
                if online:
                    await exchange(
                        buffer,
                        cloud,
                        limit=rng.randrange(4),
                        newest_first=rng.random() < 0.5,
                        answer=rng.random() < 0.7,
                    )
            if to_the_end:
                await drain(buffer, cloud, n)

    await live(base / "one", rng.randrange(8))
    clone(base / "one", base / "two")
    for _ in range(rng.randrange(1, 5)):
        await live(base / rng.choice(["one", "two"]), rng.randrange(1, 8))
    for name in ("one", "two", "one"):
        await live(base / name, 1, to_the_end=True)
    assert cloud.contents() == accepted


async def test_a_full_buffer_carries_over_by_moving(tmp_path: Path) -> None:
    rng = random.Random(2)
    options = BufferOptions(commit_window_ms=1, max_bytes=MIN_MAX_BYTES, min_free_bytes=0)
    cloud = Cloud()
    accepted: Counter[Observation] = Counter()
    async with make(tmp_path, options=options, seal_options=SealOptions(max_bytes=192 * 1024)) as buffer:
        while buffer.state().unsent_bytes < 6_500_000:
            n = len(accepted)
            group: list[Observation] = [
                Scan("s/scan", f"{at}/" + rng.randbytes(1990).hex(), "Q3", stamp(at)) for at in range(n, n + 150)
            ]
            accepted.update(group)
            await buffer.append(group)
            await buffer.seal(stamp(n))
        head = buffer.state()
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(head.stream, head.head_seq + 5))
        while buffer.state().pending_carriage:
            await buffer.seal(stamp(len(accepted)))
        while await exchange(buffer, cloud, limit=200):
            pass
    assert cloud.contents() == accepted
    assert set(cloud.seqs(head.stream)) >= set(range(1, head.head_seq + 1)), "each is delivered or declared"
    moved = [loss for _, pack in cloud.packs.values() for loss in pack.losses]
    assert {(loss.kind, tuple(loss.counts)) for loss in moved} == {("thinned", ())}, "nothing is left out of them"
    assert (tmp_path / "buffer.db").stat().st_size <= options.max_bytes
