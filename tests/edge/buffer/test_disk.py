"""A disk that fails, is read-only or full: recording resumes by itself, and nothing accepted is lost."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.buffer import keeper as buffer_keeper
from edge.buffer.base import BufferFull, BufferOptions, BufferUnusable, SealOptions
from edge.buffer.file import CHECK_MAX_BYTES, translate
from tests.edge.buffer.material import contents, everything, make, reading, stamp
from wire.observation import Reading

DISK_BYTES = 6 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system of its own can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_turns_read_only_is_waited_for(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(1))
        buffer._store._db.execute("PRAGMA query_only = ON")  # answers as a read-only file does
        with pytest.raises(BufferFull, match="takes no writes"):
            await buffer.append([reading(2)])
        await buffer.append([reading(3)])  # it is back: the file was opened again
        await buffer.seal(stamp(4))
        assert contents(await everything(buffer)) == Counter([reading(1), reading(3)])


@pytest.mark.parametrize("code", [sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_FSYNC])
def test_what_a_disk_may_answer_is_worth_another_try(code: int) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert isinstance(translate(error, Path("x")), BufferFull)


async def test_a_start_waits_for_a_disk_and_gives_up_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_keeper, "OPEN_TRIES_S", (0.01, 0.01))
    (tmp_path / "gone").write_text("a file where the folder should be")
    with pytest.raises(BufferUnusable, match="without a disk"):
        async with make(tmp_path / "gone"):
            pass
    opened = buffer_keeper.open_file
    tries = iter([sqlite3.OperationalError("unable to open database file"), None])

    def late(path: Path) -> sqlite3.Connection:
        error = next(tries)
        if error is not None:
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise translate(error, path)
        return opened(path)

    monkeypatch.setattr(buffer_keeper, "open_file", late)
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN])
async def test_a_corrupt_file_on_a_disk_that_takes_no_fresh_one_is_set_aside_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(path: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError("the disk fails, too")
        error.sqlite_errorcode = code
        raise translate(error, path)

    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        before = buffer.state().stream
        await buffer._run(lambda store: store._db.execute("DROP TABLE open_group"))
        with monkeypatch.context() as patched:
            patched.setattr(buffer_keeper, "open_file", fails)
            for n in range(2, 6):
                with pytest.raises(BufferFull):
                    await buffer.append([reading(n)])
        await buffer.append([reading(6)])
        await buffer.seal(stamp(7))
        state = buffer.state()
        assert (state.set_aside, state.stream == before) == (("buffer.db.corrupt-1",), False)
        assert contents(await everything(buffer)) == Counter([reading(6)])


async def test_a_corrupt_file_that_cannot_be_renamed_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> Path:
        raise OSError(errno.EROFS, "read-only file system", str(path))

    async with make(tmp_path) as buffer:
        await buffer._run(lambda store: store._db.execute("DROP TABLE open_group"))
        with monkeypatch.context() as patched:
            patched.setattr(buffer_keeper, "set_aside", fails)
            for n in range(3):
                with pytest.raises(BufferFull, match="cannot be renamed"):
                    await buffer.append([reading(n)])
        await buffer.append([reading(4)])
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)


async def test_an_error_on_a_connection_that_is_closed_sets_no_file_aside(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        buffer._store.abandon()
        with pytest.raises(BufferFull, match="opened again"):
            await buffer.append([reading(2)])
        await buffer.append([reading(3)])
        await buffer.seal(stamp(4))
        assert buffer.state().set_aside == ()
        assert contents(await everything(buffer)) == Counter([reading(1), reading(3)])


async def test_a_full_file_system_is_outlived(small_disk: Path) -> None:
    options = BufferOptions(commit_window_ms=1, min_free_bytes=0)
    folder = small_disk / "data"
    folder.mkdir()
    accepted: Counter[Reading] = Counter()
    refused: list[int] = []
    async with make(folder, options=options, seal_options=SealOptions(max_readings=500)) as buffer:
        for n in range(400):
            if n == 20:
                with (small_disk / "other").open("wb") as other:  # another program takes all the rest
                    try:
                        while other.write(bytes(65536)):
                            other.flush()
                    except OSError:
                        pass
            if n == 300:
                (small_disk / "other").unlink(missing_ok=True)
            group = [reading(n * 20 + i, f"room-{i}/air") for i in range(20)]
            try:
                await buffer.append(group)
                accepted.update(group)
            except BufferFull:
                refused.append(n)
            if n % 5 == 0:
                try:
                    await buffer.seal(stamp(n * 20))
                except BufferFull:
                    pass
        assert not refused or 40 < min(refused) <= max(refused) < 300  # the reserve lasts a while
        assert (folder / "buffer.db.reserve").exists()  # taken again
        await buffer.append([reading(99_999)])
        await buffer.seal(stamp(99_999))
        state = buffer.state()
        found = contents(await everything(buffer))
    accepted[reading(99_999)] += 1
    assert found - accepted == Counter()
    assert (accepted - found).total() == state.thinned_readings


async def test_recording_goes_on_within_two_seconds_of_a_corrupt_file(tmp_path: Path) -> None:
    """However large the file: one of the size that is checked at every start."""
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(1))
    path = tmp_path / "buffer.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE ballast (x BLOB)")
    rows = (CHECK_MAX_BYTES - path.stat().st_size) // 1_050_000
    db.executemany("INSERT INTO ballast VALUES (?)", [(os.urandom(1_000_000),) for _ in range(rows)])
    db.commit()
    db.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(300_000))
    assert 50_000_000 < path.stat().st_size <= CHECK_MAX_BYTES
    began_s = time.monotonic()
    async with make(tmp_path) as buffer:
        await buffer.append([reading(2)])
        took_s = time.monotonic() - began_s
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)
    assert took_s < 2
