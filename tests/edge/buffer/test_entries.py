"""What rides in packs beside observations: losses and corrections declared, a change of key; the pace of sealing."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.buffer.base import DeclarationRefused, SealOptions
from tests.edge.buffer.material import (
    BOOT,
    START_MS,
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
from wire.pack import Correction, KeyChange, Loss, unseal

NEXT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x02")
CORRECTION = Correction(BOOT, 0, 500_000, 86_400_000, 20, "ntp")
ELSEWHERE = Loss(bytes(15) + b"\x01", 4, 9, bytes(32), "lost", "was receipted and has left the archive", to_ms=START_MS)


async def test_a_declared_entry_is_ripe_at_once_and_rides_in_the_next_pack_whatever_was_killed(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.declare(CORRECTION)
        await buffer.declare(ELSEWHERE)
        assert buffer.state().pending_declarations == 2
    async with make(tmp_path) as buffer:
        async with asyncio.timeout(5):
            await buffer.ripe()
        await buffer.append([reading(1)])
        await buffer.seal(stamp(2))
        assert buffer.state().pending_declarations == 0
        (pack,) = [open_pack(each) for each in await everything(buffer)]
        assert (pack.corrections, pack.losses, pack.count) == ([CORRECTION], [ELSEWHERE], 1)
        assert await buffer.seal(stamp(3)) == []


async def test_an_entry_needs_no_observation_to_travel(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await buffer.declare(CORRECTION)
        await buffer.seal(stamp(1))
        (pack,) = [open_pack(each) for each in await everything(buffer)]
        assert (pack.corrections, pack.count) == ([CORRECTION], 0)


async def test_what_no_pack_could_carry_is_not_declared(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        own = buffer.state().stream
        for entry in (Correction(BOOT, 9, 1, 0, 0, "ntp"), Loss(b"short", 1, 2, None, "lost", "x")):
            with pytest.raises(DeclarationRefused, match="no pack could carry it"):
                await buffer.declare(entry)
        for last in (1, None):
            with pytest.raises(DeclarationRefused, match="only seqs to 0 are sealed"):
                await buffer.declare(Loss(own, 1, last, None, "lost", "x"))
        assert buffer.state().pending_declarations == 0


async def test_declared_lost_counts_only_what_the_cloud_never_receipted(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=SealOptions(max_readings=1)) as buffer:
        await buffer.append([reading(n) for n in range(5)])
        (*_, head) = await seal_and_send(buffer, stamp(9))
        await buffer.settle(receipt(head.stream, 3))
        await buffer.declare(Loss(head.stream, 2, 4, None, "lost", "x"))
        assert buffer.state().lost_packs == 1
    async with make(tmp_path) as buffer:
        assert buffer.state().lost_packs == 1


async def test_the_chain_goes_on_under_the_successors_key(tmp_path: Path) -> None:
    old, new = identity(), identity(key=NEXT_KEY)
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        heads = await buffer.change_key(new, stamp(2))
        assert [head.last_seq for head in heads] == [1, 2]
        assert buffer.kid == new.kid
        assert await buffer.change_key(new, stamp(2)) == []
        await buffer.append([reading(3)])
        await buffer.seal(stamp(4))
        packs = await everything(buffer)
    messages = [unseal(pack.envelope) for pack in packs]
    assert [message.kid for message, _ in messages] == [old.kid, old.kid, new.kid]
    assert messages[1][0].is_signed_by(old.key.public_key())
    assert messages[2][0].is_signed_by(NEXT_KEY.public_key())
    assert messages[1][1].key_change == KeyChange(NEXT_KEY.public_key().public_bytes_raw(), 3)
    assert messages[1][1].count == 0
    assert [pack.prev for _, pack in messages] == [None, packs[0].hash, packs[1].hash]


async def test_after_a_change_of_key_the_file_says_who_signs(tmp_path: Path) -> None:
    new = identity(key=NEXT_KEY)
    async with make(tmp_path) as buffer:
        await buffer.append([reading(1)])
        stream = (await buffer.change_key(new, stamp(2)))[-1].stream
    async with make(tmp_path, successor=new) as buffer:  # the program ended before the key file was swung
        assert (buffer.kid, buffer.state().stream) == (new.kid, stream)
    async with make(tmp_path, identity=new) as buffer:
        assert (buffer.kid, buffer.state().stream) == (new.kid, stream)


async def test_a_successor_nobody_named_signs_nothing(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        stream = buffer.state().stream
    async with make(tmp_path, successor=identity(key=NEXT_KEY)) as buffer:
        assert (buffer.kid, buffer.state().stream) == (identity().kid, stream)


async def test_pace_decides_when_open_observations_are_ripe(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=SealOptions(after_s=600)) as buffer:
        await buffer.append([reading(1)])
        ripe = asyncio.create_task(buffer.ripe())
        await asyncio.sleep(0.05)
        assert not ripe.done()
        buffer.set_pace(0.01)
        async with asyncio.timeout(5):
            await ripe


async def test_state_tells_what_waits_and_what_is_archive(tmp_path: Path) -> None:
    async with make(tmp_path, seal_options=SealOptions(max_readings=1)) as buffer:
        await buffer.append([reading(n) for n in range(3)])
        (*_, head) = await seal_and_send(buffer, stamp(9))
        await buffer.settle(receipt(head.stream, 1))
        sizes = [len(pack.envelope) for pack in await buffer.fetch([(head.stream, seq) for seq in (1, 2, 3)])]
        before = buffer.state()
        assert (before.unsent_bytes, before.archive_packs, before.archive_bytes) == (sum(sizes[1:]), 1, sizes[0])
        assert before.max_bytes == 1_000_000_000
    async with make(tmp_path) as buffer:
        after = buffer.state()
        assert (after.unsent_bytes, after.archive_packs, after.archive_bytes) == (sum(sizes[1:]), 1, sizes[0])


async def test_a_file_of_the_first_schema_is_brought_up_with_all_it_holds(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "buffer.db")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.executescript((Path(__file__).parent / "schema_0001.sql").read_text())
    db.close()
    async with make(tmp_path) as buffer:
        state = buffer.state()
        assert (state.head_seq, state.released_through) == (4, 1)  # what was open, and to be declared, is sealed
        assert (state.pending_declarations, state.archive_packs, state.unsent_packs) == (0, 1, 2)
        assert not await buffer.use_command(41)
        await buffer.seal(stamp(9))
        packs = await everything(buffer)
        assert [pack.seq for pack in packs] == [3, 4]
        check_chain(packs)
        assert [(loss.first_seq, loss.last_seq) for loss in open_pack(packs[1]).losses] == [(2, 2)]
        assert contents(packs).total() == 4
        assert contents(packs)[scan(7)] == 1
