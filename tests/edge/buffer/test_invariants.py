"""One test per invariant of edge/buffer/base.py, by its name; kills, corruption and space have files of their own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.buffer.base import (
    BufferOptions,
    BufferUnusable,
    ObservationRefused,
    SealOptions,
    StreamUnknown,
)
from edge.keys import Identity
from tests.edge.buffer.material import (
    check_chain,
    contents,
    everything,
    identity,
    make,
    open_pack,
    reading,
    receipt,
    scan,
    seal_and_send,
    stamp,
)
from wire.pack import StreamHead

ONE_EACH = SealOptions(max_readings=1)


async def test_accepted_survives_the_end_of_the_program(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1), scan(2)])
        await buffer.seal(stamp(3))
        await buffer.append([reading(4)])
    async with make(tmp_path) as buffer:
        assert buffer.state().unsent_observations == 3  # what was left open is sealed at once
        packs = await everything(buffer)
    check_chain(packs)
    assert contents(packs) == Counter([reading(1), scan(2), reading(4)])


async def test_readings_that_arrive_together_share_one_commit(tmp_path: Path) -> None:
    async with make(tmp_path, options=BufferOptions(commit_window_ms=150)) as buffer:
        began = time.monotonic()
        await asyncio.gather(*(buffer.append([reading(n)]) for n in range(100)))
        took_s = time.monotonic() - began
        (groups,) = buffer._store._db.execute("SELECT count(*) FROM open_group").fetchone()
    assert groups == 1
    assert 0.14 < took_s < 2


async def test_scan_commits_at_once(tmp_path: Path) -> None:
    async with make(tmp_path, options=BufferOptions(commit_window_ms=30_000)) as buffer:
        waiting = asyncio.create_task(buffer.append([reading(1)]))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await buffer.append([scan(2)])
            await waiting
        assert buffer.state().open_observations == 2


async def test_sealed_exactly_once_while_appending_and_sealing_at_once(tmp_path: Path) -> None:
    async with make(tmp_path, options=BufferOptions(commit_window_ms=1)) as buffer:

        async def feed(first: int) -> None:
            for n in range(first, first + 20):
                await buffer.append([reading(n, channel=f"dev-{first}/air")])

        async def seal() -> None:
            for n in range(30):
                await buffer.seal(stamp(n))

        await asyncio.gather(*(feed(1000 * i) for i in range(10)), seal())
        await buffer.seal(stamp(99))
        packs = await everything(buffer)
    check_chain(packs)
    assert contents(packs) == Counter(
        reading(n, channel=f"dev-{1000 * i}/air") for i in range(10) for n in range(1000 * i, 1000 * i + 20)
    )


async def test_sealed_packs_never_change(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(2))
        before = await everything(buffer)
    async with make(tmp_path) as buffer:
        await buffer.append([reading(3)])
        await buffer.seal(stamp(4))
        assert (await everything(buffer))[:1] == before
        assert await buffer.fetch([before[0].name, (bytes(16), 1)]) == before


async def test_seqs_are_contiguous_and_chained(tmp_path: Path) -> None:
    for run in range(3):
        async with make(tmp_path, seal_options=ONE_EACH) as buffer:
            await buffer.append([reading(3 * run + n) for n in range(3)])
            heads = await buffer.seal(stamp(run))
            packs = await everything(buffer)
    assert [pack.seq for pack in packs] == list(range(1, 10))
    assert heads == [StreamHead(pack.stream, pack.seq, pack.hash) for pack in packs[-3:]]
    assert open_pack(packs[0]).prev is None
    check_chain(packs)


async def test_a_pack_leaves_only_on_a_receipt(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(n) for n in range(5)])
        await seal_and_send(buffer, stamp(9))
        stream = buffer.state().stream
        assert await buffer.settle(receipt(stream, 1, (4, 4))) == 2
        assert await buffer.settle(receipt(stream, 1, (4, 4))) == 0
        assert [pack.seq for pack in await everything(buffer)] == [2, 3, 5]
        assert [pack.seq for pack in await buffer.unsent(newest_first=True, limit=2)] == [5, 3]
        assert (buffer.state().released_through, buffer.state().unsent_packs) == (1, 3)
    async with make(tmp_path) as buffer:
        assert [pack.seq for pack in await everything(buffer)] == [2, 3, 5]
        assert buffer.state().unsent_observations == 3
        assert buffer.state().oldest_unsent_ms == reading(1).stamp.observed_at_ms
        assert await buffer.settle(receipt(stream, 5)) == 3
        assert buffer.state().oldest_unsent_ms is None
        assert await buffer.held(stream, [(2, 9)], limit=3) == [(stream, seq) for seq in (2, 3, 4)]


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_receipts_are_united_in_any_order(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    cut = st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True).map(sorted)
    letters = data.draw(st.lists(st.tuples(st.integers(0, 5), cut), max_size=6))

    async def run() -> None:
        async with make(tmp_path_factory.mktemp("united"), seal_options=ONE_EACH) as buffer:
            await buffer.append([reading(n) for n in range(12)])
            await seal_and_send(buffer, stamp(99))
            settled: set[int] = set()
            released = 0
            for through, seqs in letters:
                ranges = [(seq, seq) for seq in seqs if seq > through + 1]
                ranges = [each for at, each in enumerate(ranges) if at == 0 or each[0] > ranges[at - 1][0] + 1]
                released += await buffer.settle(receipt(buffer.state().stream, through, *ranges))
                settled |= set(range(1, through + 1)) | {first for first, _ in ranges}
            assert released == len(settled)
            assert {pack.seq for pack in await everything(buffer)} == set(range(1, 13)) - settled
            assert buffer.state().unsent_observations == 12 - len(settled)

    asyncio.run(run())


async def test_a_receipt_for_a_foreign_stream_is_refused(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        with pytest.raises(StreamUnknown):
            await buffer.settle(receipt(bytes(16), 1))
        with pytest.raises(StreamUnknown):
            await buffer.held(bytes(16), [(1, 2)], limit=1)


async def test_a_refused_pack_is_shelved_only_by_its_own_hash(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(1), reading(2)])
        one, two = await buffer.seal(stamp(3))
        wrong = receipt(one.stream, 0, refused=[(1, bytes(32), "conflict")])
        right = receipt(one.stream, 0, refused=[(2, two.hash, "from the future")])
        assert await buffer.settle(wrong) == 0
        assert await buffer.settle(right) == 0
        assert await buffer.settle(right) == 0
        assert [pack.seq for pack in await everything(buffer)] == [1]
    async with make(tmp_path) as buffer:
        state = buffer.state()
        assert (state.refused_packs, state.unsent_packs, state.unsent_observations) == (1, 1, 1)
        assert len(await buffer.fetch([(two.stream, 2)])) == 1


async def test_a_command_counter_is_good_for_one_use(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        assert [await buffer.use_command(n) for n in (3, 3, 2, 4)] == [True, False, False, True]
    async with make(tmp_path) as buffer:
        assert [await buffer.use_command(n) for n in (4, 5)] == [False, True]


async def test_nothing_of_a_refused_call_is_accepted(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        with pytest.raises(ObservationRefused):
            await buffer.append([reading(1), reading(2, channel="bad")])
        await buffer.append([])
        assert buffer.state().open_observations == 0


async def test_ripe_by_age_of_the_oldest(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=SealOptions(after_s=0.3)) as buffer:
        with pytest.raises(TimeoutError):  # nothing is open, however long it waits
            await asyncio.wait_for(buffer.ripe(), 0.4)
        began = time.monotonic()
        await buffer.append([reading(1)])
        await asyncio.wait_for(buffer.ripe(), 10)
        assert time.monotonic() - began >= 0.3


async def test_ripe_at_once_by_number_and_by_scan(tmp_path: Path) -> None:
    never_by_age = SealOptions(after_s=3600, max_readings=3)
    async with make(tmp_path, seal_options=never_by_age) as buffer:
        waiting = asyncio.create_task(buffer.ripe())
        await buffer.append([reading(n) for n in range(3)])
        await asyncio.wait_for(waiting, 10)
        await buffer.seal(stamp(9))
        await buffer.append([scan(1)])
        await asyncio.wait_for(buffer.ripe(), 10)
        await buffer.seal(stamp(10))
        await buffer.append([reading(11)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(buffer.ripe(), 0.1)
    async with make(tmp_path, seal_options=never_by_age) as buffer:
        assert buffer.state().open_observations == 0  # left over from before: sealed at the start


async def test_a_buffer_belongs_to_one_program_and_one_gateway(tmp_path: Path) -> None:
    async with make(tmp_path):
        with pytest.raises(BufferUnusable, match="another program"):
            async with make(tmp_path):
                pass
    with pytest.raises(BufferUnusable, match="data_dir of its own"):
        async with make(tmp_path, identity=identity("gw-2")):
            pass


async def test_another_key_begins_another_stream(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        (head,) = await buffer.seal(stamp(2))
    other: Identity = identity(key=Ed25519PrivateKey.generate())
    async with make(tmp_path, identity=other) as buffer:
        assert buffer.state().stream != head.stream
        assert buffer.state().unsent_packs == 1


async def test_a_closed_buffer_accepts_nothing(tmp_path: Path) -> None:
    buffer = make(tmp_path)
    async with buffer:
        waiting = asyncio.create_task(buffer.append([reading(1)]))
        await asyncio.sleep(0)
    await waiting  # it was under way: the buffer drained before it closed
    with pytest.raises(BufferUnusable, match="closed"):
        await buffer.append([reading(2)])


async def test_nobody_waits_for_ever_who_came_while_a_commit_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def fail(*_: object, **__: object) -> None:
        under_way.set()
        go_on.wait(5)
        raise RuntimeError("a defect")

    monkeypatch.setattr("edge.buffer.store.Store.append", fail)
    buffer = await make(tmp_path).__aenter__()
    first = asyncio.create_task(buffer.append([reading(1)]))
    await asyncio.to_thread(under_way.wait, 5)
    second = asyncio.create_task(buffer.append([reading(2)]))
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(5):
        for each in (first, second):
            with pytest.raises(BufferUnusable, match="interrupted"):
                await each
    with pytest.raises(RuntimeError, match="a defect"):
        await buffer.__aexit__(None, None, None)


async def test_a_seq_beyond_the_head_is_neither_here_nor_lost(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        (head,) = await buffer.seal(stamp(2))
        assert await buffer.fetch([(head.stream, 0), (head.stream, 2), (head.stream, 2**62)]) == []
        await buffer.append([reading(3)])
        await buffer.seal(stamp(4))
        assert [open_pack(pack).losses for pack in await everything(buffer)] == [[], []]


async def test_nobody_waits_for_ever_when_a_commit_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    async def live() -> None:
        async with make(tmp_path) as buffer:
            with monkeypatch.context() as patched:
                patched.setattr("edge.buffer.store.Store.append", fail)
                with pytest.raises(BufferUnusable, match="interrupted"):
                    await buffer.append([reading(1)])
            await asyncio.sleep(0)
            with pytest.raises(BufferUnusable, match="closed"):
                await buffer.append([reading(2)])

    with pytest.raises(RuntimeError, match="a defect"):
        await live()
