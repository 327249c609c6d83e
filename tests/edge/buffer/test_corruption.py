"""A damaged, replaced or older file: set aside loudly, never deleted, and no seq is ever signed twice."""

from __future__ import annotations

import itertools
import logging
import random
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.buffer import file as buffer_file
from edge.buffer.base import BufferUnusable, ReceiptBeyondHead, SealOptions
from edge.buffer.head import HeadFile
from edge.buffer.packs import insert_packs
from edge.buffer.seal import pack_group
from edge.buffer.store import HEAD_NAME
from tests.edge.buffer.material import contents, everything, make, open_pack, reading, receipt, seal_and_send, stamp
from wire.observation import INT64_MAX
from wire.pack import Loss, StreamHead

ONE_EACH = SealOptions(max_readings=1)


async def fill(folder: Path, first: int, last: int, *, settle: int = 0) -> StreamHead:
    """Seal one pack per reading n in first–last; the head."""
    async with make(folder, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(n) for n in range(first, last + 1)])
        heads = await seal_and_send(buffer, stamp(last))
        if settle:
            await buffer.settle(receipt(heads[-1].stream, settle))
        return heads[-1]


async def first_pack_of_a_new_stream(folder: Path) -> tuple[StreamHead | None, list[Loss]]:
    """What the first pack after trouble says about the stream before."""
    async with make(folder, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(77)])
        await buffer.seal(stamp(99))
        (newest,) = await buffer.unsent(newest_first=True, limit=1)
        pack = open_pack(newest)
        assert pack.seq == 1
        return pack.predecessor, pack.losses


@pytest.mark.parametrize("damage", ["truncated to half", "zeroed in the middle", "no database", "empty"])
async def test_corrupt_file_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    head = await fill(tmp_path, 1, 40)
    path = tmp_path / "buffer.db"
    data = path.read_bytes()
    half = len(data) // 2 // 4096 * 4096
    broken = {
        "truncated to half": data[:half],
        "zeroed in the middle": data[:4096] + bytes(half) + data[4096 + half :],
        "no database": b"this is no database" * 400,
        "empty": b"",
    }[damage]
    path.write_bytes(broken)
    with caplog.at_level(logging.ERROR):
        predecessor, losses = await first_pack_of_a_new_stream(tmp_path)
    assert predecessor == head
    reason = "buffer file was lost or set aside"
    at_ms = stamp(99).observed_at_ms
    assert losses == [
        Loss(head.stream, 1, 40, head.hash, "lost", reason, to_ms=at_ms),
        Loss(head.stream, 41, None, None, "lost", f"{reason}, with readings not yet sealed", to_ms=at_ms),
    ]
    assert "new stream" in caplog.text
    if damage != "empty":  # an empty file holds nothing to set aside
        assert "set aside" in caplog.text
        assert (tmp_path / "buffer.db.corrupt-1").read_bytes() == broken
        async with make(tmp_path) as buffer:
            assert buffer.state().set_aside == ("buffer.db.corrupt-1",)


async def test_when_all_was_released_the_loss_names_an_unknown_rest(tmp_path: Path) -> None:
    head = await fill(tmp_path, 1, 3)
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await everything(buffer)
        await buffer.settle(receipt(head.stream, 3))
        await buffer.append([reading(4)])
        (head,) = await seal_and_send(buffer, stamp(5))
    (tmp_path / "head.json").write_text(
        (tmp_path / "head.json").read_text().replace('"released_through":3', '"released_through":4')
    )
    (tmp_path / "buffer.db").unlink()
    predecessor, (loss,) = await first_pack_of_a_new_stream(tmp_path)
    assert predecessor == head
    assert (loss.first_seq, loss.last_seq, loss.last_hash) == (5, None, None)


async def test_corruption_while_running_is_survived(tmp_path: Path) -> None:
    head = await fill(tmp_path, 1, 100)
    path = tmp_path / "buffer.db"
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        buffer._store._db.execute("PRAGMA shrink_memory")
        for n in range(100):
            await buffer.append([reading(n)])
            await buffer.seal(stamp(n))
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)
        assert buffer.state().stream != head.stream
        (first,) = await buffer.fetch([(buffer.state().stream, 1)])
        assert open_pack(first).predecessor is not None
        assert open_pack(first).losses


async def test_a_seq_is_signed_once_although_an_older_file_came_back(tmp_path: Path) -> None:
    await fill(tmp_path, 1, 5)
    shutil.copy(tmp_path / "buffer.db", tmp_path / "backup.db")
    head = await fill(tmp_path, 6, 9)
    shutil.copy(tmp_path / "backup.db", tmp_path / "buffer.db")
    predecessor, losses = await first_pack_of_a_new_stream(tmp_path)
    assert predecessor == head
    assert [(loss.first_seq, loss.last_seq, loss.last_hash) for loss in losses] == [
        (6, 9, head.hash),
        (10, None, None),  # sealed or open in the newer file, and named by no head
    ]
    async with make(tmp_path) as buffer:
        assert [pack.seq for pack in await everything(buffer)] == [1, 2, 3, 4, 5, 1]


async def test_a_start_between_turn_and_first_seal_declares_once(tmp_path: Path) -> None:
    head = await fill(tmp_path, 1, 2)
    (tmp_path / "buffer.db").unlink()
    for _ in range(3):
        async with make(tmp_path) as buffer:
            stream = buffer.state().stream
    predecessor, losses = await first_pack_of_a_new_stream(tmp_path)
    assert (predecessor, len(losses)) == (head, 2)
    async with make(tmp_path) as buffer:
        assert buffer.state().stream == stream


async def test_a_pack_is_not_handed_out_before_its_head_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])

        def fail(*_: object, **__: object) -> None:
            raise OSError("disk says no")

        with monkeypatch.context() as patched:
            patched.setattr("edge.buffer.head.replace_file", fail)
            for attempt in (buffer.seal(stamp(2)), buffer.unsent(newest_first=True, limit=1)):
                with pytest.raises(Exception, match="disk says no"):
                    await attempt
        (pack,) = await buffer.unsent(newest_first=True, limit=1)
    assert pack.hash.hex() in (tmp_path / "head.json").read_text()


@pytest.mark.parametrize("text", ["", "{", '{"stream": 5}', "\x00" * 90_000, '{"stream":"zz","last_seq":1}'])
async def test_an_unreadable_head_file_does_not_stop_the_buffer(tmp_path: Path, text: str) -> None:
    head = await fill(tmp_path, 1, 2)
    (tmp_path / "head.json").write_text(text)
    async with make(tmp_path) as buffer:
        assert buffer.state().stream == head.stream
    assert head.hash.hex() in (tmp_path / "head.json").read_text()


@pytest.mark.parametrize("field", ['"last_seq":', '"released_through":'])
@pytest.mark.parametrize("value", ["-1", "9223372036854775808"])
async def test_a_head_that_makes_no_sense_does_not_block_sealing(tmp_path: Path, field: str, value: str) -> None:
    await fill(tmp_path, 1, 2)
    (tmp_path / "buffer.db").unlink()
    path = tmp_path / "head.json"
    path.write_text(re.sub(f"{field}[0-9]+", field + value, path.read_text()))
    assert await first_pack_of_a_new_stream(tmp_path) == (None, [])


async def test_newer_schema_refuses_to_start(tmp_path: Path) -> None:
    await fill(tmp_path, 1, 2)
    path = tmp_path / "buffer.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.execute("UPDATE meta SET value = x'3939' WHERE key = 'schema'")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(BufferUnusable, match="schema 99 is newer"):
        async with make(tmp_path):
            pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1, 2**30 + 2])
async def test_a_header_that_contradicts_the_file_about_its_schema_is_no_newer_schema(
    tmp_path: Path, version: int
) -> None:
    head = await fill(tmp_path, 1, 2)
    db = sqlite3.connect(tmp_path / "buffer.db")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    predecessor, _ = await first_pack_of_a_new_stream(tmp_path)
    assert predecessor == head
    assert (tmp_path / "buffer.db.corrupt-1").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sqlite_schema SET sql = replace(sql, 'CREATE', CAST(x'4352d4415445' AS TEXT)) WHERE name = 'settled'",
        "UPDATE sqlite_schema SET sql = replace(sql, 'first', 'fisst') WHERE name = 'settled'",
        "UPDATE sqlite_schema SET sql = replace(sql, 'length', 'lengph') WHERE name = 'stream'",
        "UPDATE stream SET last_seq = 1",
        "UPDATE settled SET last = 4000",
        "UPDATE settled SET stream_id = 9",
        "UPDATE meta SET value = CAST('gw-3' AS BLOB) WHERE key = 'gateway'",
    ],
)
async def test_a_file_that_contradicts_itself_is_set_aside_and_not_retried_for_ever(
    tmp_path: Path, damage: str
) -> None:
    await fill(tmp_path, 1, 5, settle=2)
    (tmp_path / "head.json").unlink()
    db = sqlite3.connect(tmp_path / "buffer.db")
    db.execute("PRAGMA writable_schema = ON")
    assert db.execute(damage).rowcount == 1
    db.commit()
    db.close()
    for n in (8, 9):
        async with make(tmp_path, seal_options=ONE_EACH) as buffer:
            await buffer.append([reading(n)])
            await buffer.seal(stamp(n))
    async with make(tmp_path) as buffer:
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)


async def test_a_pack_of_a_stream_that_was_left_leaves_only_when_the_head_names_it(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        await buffer.append([reading(1)])
        await seal_and_send(buffer, stamp(1))
        await buffer.append([reading(2)])
        (head,) = await buffer.seal(stamp(2))  # packs flow: the head is written when this one leaves
        with pytest.raises(ReceiptBeyondHead):
            await buffer.settle(receipt(head.stream, 9))
        assert head.last_seq in {pack.seq for pack in await buffer.unsent(newest_first=False, limit=10)}
        named = HeadFile(tmp_path / HEAD_NAME).read()
        assert named is not None
        assert (named.chain.stream, named.last_seq) == (head.stream, head.last_seq)


async def test_packs_of_an_earlier_stream_are_declared_when_the_file_is_lost(tmp_path: Path) -> None:
    first = await fill(tmp_path, 1, 4, settle=2)
    shutil.copy(tmp_path / "buffer.db", tmp_path / "older.db")
    await fill(tmp_path, 5, 5)
    shutil.copy(tmp_path / "older.db", tmp_path / "buffer.db")
    second = await fill(tmp_path, 6, 7)
    assert second.stream != first.stream
    (tmp_path / "buffer.db").unlink()
    predecessor, losses = await first_pack_of_a_new_stream(tmp_path)
    assert predecessor == second
    assert [(loss.stream, loss.first_seq, loss.last_seq, loss.last_hash) for loss in losses] == [
        (second.stream, 1, 2, second.hash),
        (second.stream, 3, None, None),
        (first.stream, 3, 4, first.hash),
    ]


async def test_a_head_that_names_a_stream_that_was_left_names_those_before_it_too(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=ONE_EACH) as buffer:
        heads: list[StreamHead] = []
        for n in (1, 2, 3):  # streams; the packs of the first two wait
            await buffer.append([reading(n)])
            heads += await seal_and_send(buffer, stamp(n))
            await buffer.append([reading(10 + n)])
            heads += await buffer.seal(stamp(n))  # packs flow: this one is not in the head file yet
            if n < 3:
                with pytest.raises(ReceiptBeyondHead):
                    await buffer.settle(receipt(heads[-1].stream, 99))
        named = HeadFile(tmp_path / HEAD_NAME).read()
        assert named is not None
        waiting = {each.chain.stream for each in (named, *named.earlier)}
        assert {head.stream for head in heads} == waiting


async def test_a_header_that_forbids_writing_is_a_damage_and_no_failed_disk(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])  # stays open: sealing it is the first write of the next start
        shutil.copytree(tmp_path, tmp_path / "killed")
    path = tmp_path / "killed" / "buffer.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray(path.read_bytes())
    data[18] ^= 0x80  # the version of the format that a writer must know
    path.write_bytes(data)
    async with make(tmp_path / "killed") as buffer:
        await buffer.append([reading(2)])
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)


async def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(BufferUnusable, match="another program"):
        async with make(tmp_path):
            pass
    assert not list(tmp_path.glob("*.corrupt*"))


async def test_a_failed_migration_leaves_the_file_at_its_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = await fill(tmp_path, 1, 2)
    steps = [*buffer_file.migrations(), (99, "CREATE TABLE more (x) STRICT;\nINSERT INTO nothing VALUES (1);")]
    with monkeypatch.context() as patched:
        patched.setattr(buffer_file, "migrations", lambda: steps)
        with pytest.raises(BufferUnusable):
            async with make(tmp_path):
                pass
    fixed = [*buffer_file.migrations(), (99, "CREATE TABLE more (x INTEGER) STRICT;\n")]
    with monkeypatch.context() as patched:
        patched.setattr(buffer_file, "migrations", lambda: fixed)
        async with make(tmp_path) as buffer:
            assert buffer.state().head_hash == head.hash
    with pytest.raises(BufferUnusable, match="schema 99 is newer"):
        async with make(tmp_path):
            pass


async def test_a_damaged_pack_is_declared_lost_and_the_rest_goes_on(tmp_path: Path) -> None:
    head = await fill(tmp_path, 1, 3)
    db = sqlite3.connect(tmp_path / "buffer.db")
    db.execute("UPDATE pack SET envelope = zeroblob(length(envelope)) WHERE seq = 2")
    db.commit()
    db.close()
    async with make(tmp_path) as buffer:
        assert [pack.seq for pack in await everything(buffer)] == [1, 3]
        await buffer.ripe()
        await buffer.seal(stamp(9))
        (newest,) = await buffer.unsent(newest_first=True, limit=1)
        (loss,) = open_pack(newest).losses
        assert (loss.stream, loss.first_seq, loss.last_seq, loss.kind) == (head.stream, 2, 2, "lost")
        assert await buffer.settle(receipt(head.stream, 4)) == 3
        assert buffer.state().unsent_observations == 0


async def test_what_a_damaged_pack_declared_is_declared_again(tmp_path: Path) -> None:
    older = await fill(tmp_path, 1, 3)
    shutil.copy(tmp_path / "buffer.db", tmp_path / "older.db")
    left = await fill(tmp_path, 4, 5)
    shutil.copy(tmp_path / "older.db", tmp_path / "buffer.db")
    for n in (6, 7):
        newer = await fill(tmp_path, n, n)  # the first of these declares 4 and 5, and all that may follow
    assert left.stream == older.stream != newer.stream
    db = sqlite3.connect(tmp_path / "buffer.db")
    db.execute("UPDATE pack SET envelope = zeroblob(length(envelope)) WHERE readings = 1 AND seq = 1 AND stream_id = 2")
    db.commit()
    db.close()
    async with make(tmp_path) as buffer:
        await everything(buffer)
        await buffer.seal(stamp(9))
        losses = [loss for pack in await everything(buffer) for loss in open_pack(pack).losses]
        assert [(loss.stream, loss.first_seq, loss.last_seq) for loss in losses] == [
            (newer.stream, 1, 1),
            (left.stream, 4, 5),
            (left.stream, 6, None),
        ]


@pytest.mark.parametrize("cause", ["flipped", "admitted by an older program"])
async def test_a_group_that_cannot_be_sealed_is_kept_aside_and_blocks_nothing(
    tmp_path: Path, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make(tmp_path) as buffer:
        for n in range(3):
            await buffer.append([reading(n)])
    db = sqlite3.connect(tmp_path / "buffer.db")
    bad = b"\x00garbage" if cause == "flipped" else pack_group([reading(1, channel="Old Name")])
    db.execute("UPDATE open_group SET observations = ? WHERE id = 2", (bad,))
    db.commit()
    db.close()
    async with make(tmp_path) as buffer:
        await buffer.seal(stamp(9))
        first, declaring = packs = await everything(buffer)
        assert contents(packs) == Counter([reading(0), reading(2)])
        assert open_pack(declaring).predecessor == StreamHead(*first.name, first.hash)
        (loss,) = open_pack(declaring).losses
        assert (loss.stream, loss.first_seq, loss.last_seq, loss.kind) == (first.stream, 2, None, "lost")
        assert loss.reason == "accepted readings were damaged on the gateway's disk before they were sealed"
        await buffer.settle(receipt(first.stream, INT64_MAX))
        assert buffer.state().disputed_streams == 0
        assert buffer.state().lost_packs == 1
        assert buffer.state().open_observations == 0
        assert buffer.state().damaged_observations == 1
        assert buffer._store._db.execute("SELECT count, observations FROM damaged_group").fetchall() == [(1, bad)]
    assert "cannot be sealed" in caplog.text


async def test_damaged_groups_and_nothing_else_are_declared_lost(tmp_path: Path) -> None:
    """The newest among them: its clocks are unknown, so that it is sealed with what comes next, or with nothing."""
    async with make(tmp_path) as buffer:
        stream = buffer.state().stream
        await buffer.append([reading(1)])
    db = sqlite3.connect(tmp_path / "buffer.db")
    db.execute("UPDATE open_group SET observations = x'00'")
    db.commit()
    db.close()
    async with make(tmp_path) as buffer:
        await buffer.seal(stamp(9))
        (pack,) = [open_pack(each) for each in await everything(buffer)]
        assert [(loss.stream, loss.first_seq, loss.last_seq) for loss in pack.losses] == [(stream, 1, None)]
        assert (pack.predecessor, pack.stream == stream) == (None, False)
    async with make(tmp_path) as buffer:
        assert buffer.state().stream == pack.stream
        assert await buffer.seal(stamp(10)) == []


def misplace_the_first_group(path: Path) -> None:
    """Give it the highest row id where it lies: a scan still finds it, a look-up among the others does not."""
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'open_group'").fetchone()
    db.close()
    data = bytearray(path.read_bytes())
    page = (root - 1) * 4096
    assert data[page] == 0x0D, "the leaf page of a table (SQLite file format, §1.6)"
    cell = page + int.from_bytes(data[page + 8 : page + 10], "big")
    row_id = cell + (2 if data[cell] & 0x80 else 1)  # behind the payload's length, a varint
    assert data[row_id] == 1
    data[row_id] = 99
    path.write_bytes(data)


def nail_down_the_groups(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TRIGGER nail BEFORE DELETE ON open_group BEGIN SELECT RAISE(IGNORE); END")
    db.close()


@pytest.mark.parametrize("damage", [misplace_the_first_group, nail_down_the_groups])
async def test_a_group_that_cannot_be_deleted_is_not_sealed_again_and_again(
    tmp_path: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make(tmp_path) as buffer:
        for n in range(4):
            await buffer.append([reading(n)])
    damage(tmp_path / "buffer.db")
    monkeypatch.setattr(buffer_file, "CHECK_MAX_BYTES", 0)  # as if it were too large to be checked at every start
    turns = itertools.count()

    def insert(*rows: Any, **named: Any) -> None:
        assert next(turns) < 5, "sealing never ends"
        insert_packs(*rows, **named)

    monkeypatch.setattr("edge.buffer.sealing.insert_packs", insert)
    async with make(tmp_path) as buffer:
        await buffer.seal(stamp(9))
        await buffer.append([reading(10)])
        await buffer.seal(stamp(11))
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)
        assert contents(await everything(buffer)) == Counter([reading(10)])


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entry SET body = x'00'",
        "UPDATE entry SET body = x'98c40000c0c0a0a090c0c0'",  # decodes, and can never be signed
        "UPDATE stream SET predecessor = x'00'",
    ],
)
async def test_damaged_rows_do_not_stop_sealing_for_ever(tmp_path: Path, damage: str) -> None:
    await fill(tmp_path, 1, 2)
    (tmp_path / "buffer.db").unlink()
    async with make(tmp_path) as buffer:
        await buffer.append([reading(3)])
    db = sqlite3.connect(tmp_path / "buffer.db")
    assert db.execute(damage).rowcount > 0
    db.commit()
    db.close()
    async with make(tmp_path) as buffer:
        await buffer.seal(stamp(8))
        await buffer.append([reading(9)])
        await buffer.seal(stamp(10))
        assert buffer.state().set_aside == ("buffer.db.corrupt-1",)
        assert contents(await everything(buffer)) == Counter([reading(9)])


async def test_flipped_bits_never_yield_a_changed_pack_or_a_doubled_seq(tmp_path: Path) -> None:
    seed = 20260107
    rng = random.Random(seed)
    source = tmp_path / "source"
    source.mkdir()
    head = await fill(source, 1, 20)
    async with make(source) as buffer:
        sealed = {pack.name: pack.envelope for pack in await everything(buffer)}
    outcomes = {"whole": 0, "set aside": 0, "refused": 0}
    for at in range(40):
        folder = tmp_path / f"flip-{at}"
        shutil.copytree(source, folder)
        path = folder / "buffer.db"
        data = bytearray(path.read_bytes())
        spot = rng.randrange(100) if at % 4 == 0 else rng.randrange(len(data))
        data[spot] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            async with make(folder, seal_options=ONE_EACH) as buffer:
                await buffer.append([reading(50)])
                await buffer.seal(stamp(51))
                packs = await everything(buffer)
                outcomes["set aside" if buffer.state().set_aside else "whole"] += 1
        except BufferUnusable:
            outcomes["refused"] += 1
            continue
        for pack in packs:
            content = open_pack(pack)  # also verifies the signature
            assert (content.stream, content.seq) == pack.name, f"seed {seed}, byte {spot}"
            assert sealed.get(pack.name, pack.envelope) == pack.envelope, f"seed {seed}, byte {spot}"
            assert pack.stream != head.stream or pack.seq <= 20 or content.prev == head.hash, f"seed {seed}"
    print(f"seed {seed}: {outcomes}")
    assert outcomes["whole"] > 0
    assert outcomes["refused"] <= 4
