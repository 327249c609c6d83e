"""The byte bound and the minimum free disk: released packs give way, unsent ones never, and refusal is loud."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest

from edge.buffer.base import MIN_MAX_BYTES, BufferFull, BufferOptions, SealOptions
from edge.buffer.sqlite import SqliteBuffer
from tests.edge.buffer.material import contents, everything, make, reading, receipt, seal_and_send, stamp
from wire.observation import Reading, Scan

SMALL = BufferOptions(commit_window_ms=1, max_bytes=MIN_MAX_BYTES, min_free_bytes=0)
BIG_PACKS = SealOptions(max_bytes=192 * 1024)
RNG = random.Random(7)
SCANS = 160  # in one append


def bulky(n: int) -> list[Scan]:
    """About 640 kB that compress to half."""
    return [Scan("s/scan", f"{n:05}/{at:02}" + RNG.randbytes(1990).hex(), "Q3", stamp(n)) for at in range(SCANS)]


async def fill(buffer: SqliteBuffer, first: int) -> int:
    """Append and seal until the buffer is full; how many times it accepted."""
    for n in range(first, first + 200):
        try:
            await buffer.append(bulky(n))
        except BufferFull:
            return n - first
        await buffer.seal(stamp(n))
    raise AssertionError("never full")


async def test_the_byte_bound_holds_and_unsent_packs_are_never_dropped(tmp_path: Path) -> None:
    async with make(tmp_path, options=SMALL, seal_options=BIG_PACKS) as buffer:
        accepted = await fill(buffer, 0)
        state = buffer.state()
        assert state.full
        assert state.unsent_observations == accepted * SCANS
        names = [(state.stream, seq) for seq in range(1, state.head_seq + 1)]
        assert len(contents(await buffer.fetch(names))) == accepted * SCANS
        with pytest.raises(BufferFull, match="until the cloud acknowledges"):
            await buffer.append(bulky(999))
        await buffer.settle(receipt(state.stream, state.head_seq // 2))
        again = await fill(buffer, 1000)
        assert again > accepted // 4
        assert buffer.state().head_seq > state.head_seq
        held = await buffer.held(state.stream, [(1, state.head_seq)], limit=1000)
        assert [seq for _, seq in held] == list(range(held[0][1], state.head_seq + 1))  # the oldest left first
        assert held[0][1] > 1
        assert state.head_seq // 2 < held[-1][1]
    assert (tmp_path / "buffer.db").stat().st_size <= SMALL.max_bytes


async def test_an_endless_run_with_receipts_stays_within_the_bound(tmp_path: Path) -> None:
    async with make(tmp_path, options=SMALL, seal_options=BIG_PACKS) as buffer:
        for n in range(33):  # about 11 MB, compressed, through 8 MB
            await buffer.append(bulky(n))
            heads = await seal_and_send(buffer, stamp(n))
            await buffer.settle(receipt(heads[-1].stream, heads[-1].last_seq))
            assert buffer.state().bytes < SMALL.max_bytes + 5_000_000  # the file and one write-ahead log
        assert not buffer.state().full


async def test_the_minimum_free_disk_holds_and_the_archive_gives_way_first(tmp_path: Path) -> None:
    free = [10**9]
    options = BufferOptions(commit_window_ms=1, min_free_bytes=10**6)
    async with make(tmp_path, options=options, seal_options=BIG_PACKS, free_bytes=lambda _: free[0]) as buffer:
        for n in range(10):
            await buffer.append(bulky(n))
            heads = await seal_and_send(buffer, stamp(n))
        state = buffer.state()
        await buffer.settle(receipt(state.stream, heads[-1].last_seq - 1))
        free[0] = 10
        with pytest.raises(BufferFull, match="min_free_bytes"):
            await buffer.append(bulky(11))
        assert buffer.state().full
        assert len(await buffer.held(state.stream, [(1, 99)], limit=99)) == 1
        assert (tmp_path / "buffer.db").stat().st_size < 600_000  # given back to the disk
        free[0] = 10**9
        await buffer.append(bulky(12))
        assert not buffer.state().full


def fill_the_disk(buffer: SqliteBuffer, *, full: bool = True) -> None:
    """As if the file system gave the file no page more."""
    pages = 1 if full else 2**30
    buffer._store._db.execute(f"PRAGMA max_page_count = {pages}")


async def test_what_a_full_disk_kept_from_being_sealed_is_due_at_once_when_there_is_room(tmp_path: Path) -> None:
    def many(first: int) -> list[Reading]:
        return [reading(n, channel=f"{RNG.randbytes(20).hex()}/air") for n in range(first, first + 200)]

    async with make(tmp_path, seal_options=SealOptions(after_s=0.05)) as buffer:
        await buffer.append(many(0))
        await buffer.append(many(200))
        fill_the_disk(buffer)
        with pytest.raises(BufferFull):
            await buffer.append(many(400))
        with pytest.raises(BufferFull):
            await buffer.seal(stamp(5))
        assert buffer.state().open_observations == 400
        fill_the_disk(buffer, full=False)
        async with asyncio.timeout(5):
            await buffer.ripe()
        await buffer.seal(stamp(6))
        assert len(contents(await everything(buffer))) == 400


async def test_a_full_disk_does_not_stop_the_buffer_from_closing(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append(bulky(1))
        buffer._store._db.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_PRAGMA else 0
        )
    async with make(tmp_path) as buffer:
        assert buffer.state().unsent_observations == SCANS


@pytest.mark.parametrize("named", [{"max_bytes": 5}, {"commit_window_ms": 0}, {"min_free_bytes": -1}])
def test_senseless_options_are_refused_by_name(named: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(named))):
        BufferOptions(**named)


@pytest.mark.parametrize("named", [{"after_s": 0}, {"max_readings": 0}, {"max_readings": 10_001}, {"max_bytes": 9}])
def test_senseless_seal_options_are_refused_by_name(named: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(named))):
        SealOptions(**named)
