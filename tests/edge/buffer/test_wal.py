"""A damaged write-ahead log: commits that were on the disk are not lost in silence."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from edge.buffer.wal import FRAME_HEADER_BYTES, HEADER_BYTES, LogClaim, lost_commits, read_log
from tests.edge.buffer.material import contents, everything, make, open_pack, reading, receipt, stamp
from wire.observation import INT64_MAX

FRAME_BYTES = FRAME_HEADER_BYTES + 4096
COMMITS = 6


async def killed(folder: Path) -> Path:
    """A folder as a kill leaves it: COMMITS groups accepted after a pack, all in the log."""
    running, left = folder / "running", folder / "left"
    running.mkdir()
    async with make(running) as buffer:
        await buffer.append([reading(0)])
        await buffer.seal(stamp(1))
    async with make(running) as buffer:
        for n in range(1, COMMITS + 1):
            await buffer.append([reading(n)])
        shutil.copytree(running, left)
    return left


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", ["header", "first frame", "middle"])
async def test_commits_behind_a_damage_in_the_log_are_declared_lost(tmp_path: Path, place: str) -> None:
    folder = await killed(tmp_path)
    log = folder / "buffer.db-wal"
    flip(log, {"header": 5, "first frame": HEADER_BYTES + 100, "middle": log.stat().st_size // 2}[place])
    async with make(folder) as buffer:
        await buffer.append([reading(50)])
        await buffer.seal(stamp(51))
        packs = await everything(buffer)
    for _ in range(2):  # in the next run, too, the cloud may settle all that was declared lost
        async with make(folder) as buffer:
            written = buffer.state().stream
            await buffer.settle(receipt(packs[0].stream, INT64_MAX))
            assert (buffer.state().disputed_streams, buffer.state().stream) == (0, written)
            assert packs[0].stream != written
    first = next(opened for opened in map(open_pack, packs) if opened.predecessor is not None)
    assert first.predecessor is not None
    (loss,) = first.losses
    assert (loss.stream, loss.first_seq, loss.last_seq) == (first.predecessor.stream, 2, None)
    assert "write-ahead log was damaged" in loss.reason
    assert set(contents(packs)) <= {reading(n) for n in (*range(COMMITS + 1), 50)}


@pytest.mark.parametrize("cut", ["nothing", "half of the last commit", "the last commit", "all"])
async def test_a_log_as_a_power_cut_leaves_it_declares_nothing(tmp_path: Path, cut: str) -> None:
    folder = await killed(tmp_path)
    log = folder / "buffer.db-wal"
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.truncate({"nothing": size, "half of the last commit": size - 1000, "the last commit": size - FRAME_BYTES,
                       "all": 0}[cut])  # fmt: skip
    async with make(folder) as buffer:
        await buffer.seal(stamp(51))
        assert not any(open_pack(pack).losses for pack in await everything(buffer))


async def test_the_last_commit_may_have_been_under_way(tmp_path: Path) -> None:
    folder = await killed(tmp_path)
    log = folder / "buffer.db-wal"
    flip(log, log.stat().st_size - 1)
    async with make(folder) as buffer:
        await buffer.seal(stamp(51))
        packs = await everything(buffer)
    assert not any(open_pack(pack).losses for pack in packs)
    assert set(contents(packs)) == {reading(n) for n in range(COMMITS)}


async def test_a_log_cut_off_before_the_last_head_was_written_is_declared(tmp_path: Path) -> None:
    running, left = tmp_path / "running", tmp_path / "left"
    running.mkdir()
    async with make(running) as buffer:
        await buffer.append([reading(1)])
        (head,) = await buffer.seal(stamp(1))
        log_bytes = (running / "buffer.db-wal").stat().st_size
        await buffer.append([reading(2)])
        await everything(buffer)  # they leave: the head is written, and knows how much was accepted
        await buffer.append([reading(3)])
        shutil.copytree(running, left)
    with (left / "buffer.db-wal").open("r+b") as file:
        file.truncate(log_bytes)
    for n in (4, 5):  # declared once
        async with make(left) as buffer:
            await buffer.append([reading(n)])
            await buffer.seal(stamp(n))
            packs = await everything(buffer)
    losses = [loss for pack in packs for loss in open_pack(pack).losses]
    assert [(loss.stream, loss.first_seq, loss.last_seq) for loss in losses] == [(head.stream, 2, None)]
    assert set(contents(packs)) == {reading(1), reading(4), reading(5)}


@pytest.mark.parametrize("content", [None, b"", b"\x00" * HEADER_BYTES, b"x" * 31])
def test_no_log_or_none_yet_claims_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.db-wal").write_bytes(content)
    assert read_log(tmp_path / "a.db") == LogClaim([])


def test_frames_of_an_older_round_of_the_log_claim_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (x)")
    for _ in range(5):
        db.execute("INSERT INTO t VALUES (1)")
    db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    db.execute("INSERT INTO t VALUES (2)")
    assert len(read_log(path).commits) == 1
    assert not lost_commits(db, read_log(path))
    db.close()
