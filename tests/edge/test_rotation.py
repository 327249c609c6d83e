"""A change of key goes through whatever happens on the way; a link certificate is renewed in time."""

from __future__ import annotations

import asyncio
import datetime
import sqlite3
import time
from pathlib import Path

import pytest

from edge import clock as edge_clock
from edge import rotation
from edge.buffer.base import BufferFull, ReceiptBeyondHead
from edge.buffer.file import CorruptFile
from edge.buffer.sqlite import SqliteBuffer
from edge.buffer.store import Store
from edge.clock import SystemClock
from edge.enrol import LINK, PLACE
from edge.keys import NEXT_NAME, PRIVATE_NAME, Identity, load_next, load_or_make, make_next, promote_next
from edge.letterbox import CloudUnreachable, post
from edge.rotation import follow, renew_if_due
from tests.edge.buffer.material import everything, make, reading, receipt, seal_and_send, stamp
from wire.envelope import open_envelope
from wire.pack import KeyChange, unseal
from wire.receipt import CONFLICT

CLOCK = SystemClock()


def _who(folder: Path) -> Identity:
    return load_or_make(folder, "gw-1")


def _buffer(folder: Path) -> SqliteBuffer:
    """As the agent opens it."""
    identity = _who(folder)
    return make(folder, identity=identity, successor=load_next(folder, identity))


async def _signers(buffer: SqliteBuffer) -> list[bytes]:
    return [open_envelope(pack.envelope).kid for pack in await everything(buffer)]


async def test_nothing_happens_without_a_next_key(tmp_path: Path) -> None:
    async with _buffer(tmp_path) as buffer:
        assert not await follow(tmp_path, _who(tmp_path), buffer, CLOCK)
        assert await everything(buffer) == []


@pytest.mark.parametrize("restarts", [False, True])
async def test_key_changes_in_the_stream_and_is_promoted_on_receipt_only(tmp_path: Path, restarts: bool) -> None:
    old = _who(tmp_path)
    buffer = _buffer(tmp_path)
    await buffer.__aenter__()
    await buffer.append([reading(1)])
    await buffer.seal(stamp(1))
    new = make_next(tmp_path, old)
    assert make_next(tmp_path, old).kid == new.kid

    async def again() -> None:
        nonlocal buffer
        if restarts:
            await buffer.__aexit__(None, None, None)
            buffer = _buffer(tmp_path)
            await buffer.__aenter__()

    assert await follow(tmp_path, old, buffer, CLOCK)
    await again()
    await buffer.append([reading(2)])
    (*_, head) = await seal_and_send(buffer, stamp(3))
    assert await _signers(buffer) == [old.kid, old.kid, new.kid]
    _, change = unseal((await everything(buffer))[1].envelope)
    assert change.key_change is not None
    assert change.key_change.public_key == new.key.public_key().public_bytes_raw()

    await buffer.settle(receipt(head.stream, 1, (3, 3)))  # all but the change itself
    await again()
    assert not await follow(tmp_path, old, buffer, CLOCK)
    assert _who(tmp_path).kid == old.kid
    assert await _signers(buffer) == [old.kid]
    await buffer.settle(receipt(head.stream, 3))
    await again()
    await follow(tmp_path, old, buffer, CLOCK)
    assert _who(tmp_path).kid == new.kid
    assert not (tmp_path / NEXT_NAME).exists()
    await again()
    assert buffer.kid == new.kid
    await buffer.append([reading(4)])
    await buffer.seal(stamp(5))
    assert await _signers(buffer) == [new.kid]
    await buffer.__aexit__(None, None, None)


async def test_change_made_and_program_killed_before_it_was_known(tmp_path: Path) -> None:
    old = _who(tmp_path)
    new = make_next(tmp_path, old)
    async with _buffer(tmp_path) as buffer:
        await follow(tmp_path, old, buffer, CLOCK)
    async with _buffer(tmp_path) as buffer:  # nothing but the files tells
        assert buffer.kid == new.kid
        assert not await follow(tmp_path, old, buffer, CLOCK)
        assert await _signers(buffer) == [old.kid]
    assert (tmp_path / PRIVATE_NAME).exists()
    assert (tmp_path / NEXT_NAME).exists()


async def test_change_that_a_full_disk_undid_is_proven_by_no_other_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    old = _who(tmp_path)
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await seal_and_send(buffer, stamp(1))
        make_next(tmp_path, old)
        with monkeypatch.context() as patched:
            patched.setattr("edge.buffer.succession.write_text", full)
            with pytest.raises(BufferFull):
                await follow(tmp_path, old, buffer, CLOCK)
        await buffer.append([reading(2)])
        (head,) = await seal_and_send(buffer, stamp(3))  # takes the seq that the change would have had
        assert await _signers(buffer) == [old.kid, old.kid]
        await buffer.settle(receipt(head.stream, 2))
        assert not await buffer.change_arrived()
        await follow(tmp_path, old, buffer, CLOCK)
        await follow(tmp_path, old, buffer, CLOCK)
        assert _who(tmp_path).kid == old.kid
        await everything(buffer)
        await buffer.settle(receipt(head.stream, 3))
        await follow(tmp_path, old, buffer, CLOCK)
        assert _who(tmp_path).kid != old.kid


async def test_lost_buffer_begins_again_with_the_change_and_the_old_key_signs_nothing_else(tmp_path: Path) -> None:
    old = _who(tmp_path)
    new = make_next(tmp_path, old)
    async with _buffer(tmp_path) as buffer:
        await follow(tmp_path, old, buffer, CLOCK)
        await everything(buffer)
    for file in tmp_path.glob("buffer.db*"):
        file.unlink()
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        (first, second) = await seal_and_send(buffer, stamp(2))
        packs = await everything(buffer)
        assert await _signers(buffer) == [old.kid, new.kid]
        _, change = unseal(packs[0].envelope)
        assert (change.key_change, change.count, change.losses) == (
            KeyChange(new.key.public_key().public_bytes_raw(), 2),
            0,
            [],
        )
        _, rest = unseal(packs[1].envelope)
        assert rest.losses
        assert not await follow(tmp_path, old, buffer, CLOCK)
        assert _who(tmp_path).kid == old.kid

        # The cloud had the change of the lost stream: of this one it takes all but the change.
        await buffer.settle(receipt(first.stream, 0, (2, 2)))
        assert not await follow(tmp_path, old, buffer, CLOCK)
        assert _who(tmp_path).kid == new.kid
        assert buffer.state().unsent_packs == 0
        (declaring,) = await buffer.seal(stamp(3))
        _, last = unseal((await everything(buffer))[-1].envelope)
        (loss,) = last.losses
        assert (loss.stream, loss.first_seq, loss.last_seq) == (first.stream, 1, 1)
        assert second.stream == declaring.stream
    async with _buffer(tmp_path) as buffer:
        assert (buffer.kid, buffer.state().stream) == (new.kid, first.stream)


async def test_change_made_twice_is_over_although_the_program_ended_right_after_the_promotion(tmp_path: Path) -> None:
    old = _who(tmp_path)
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(1))
        new = make_next(tmp_path, old)
        await follow(tmp_path, old, buffer, CLOCK)
        first = buffer.state().stream
        change = (await everything(buffer))[1]
        await buffer.settle(receipt(first, 0, refused=[(2, change.hash, CONFLICT)]))
        await buffer.append([reading(2)])
        await seal_and_send(buffer, stamp(3))
        second = buffer.state().stream
        assert second != first
        await everything(buffer)
        await buffer.settle(receipt(second, 0, (2, 2)))
        assert await buffer.change_arrived()
        promote_next(tmp_path, new)
    async with _buffer(tmp_path) as buffer:
        assert (buffer.kid, buffer.state().stream) == (new.kid, second)
        await buffer.append([reading(4)])
        await buffer.seal(stamp(5))
        newest = max(pack.seq for pack in await everything(buffer) if pack.stream == second)
        await buffer.settle(receipt(second, 0, (2, newest)))
        async with asyncio.timeout(5):
            await buffer.ripe()
        await buffer.seal(stamp(6))
        (last,) = await buffer.unsent(newest_first=True, limit=1)
        assert [(loss.stream, loss.first_seq, loss.last_seq) for loss in unseal(last.envelope)[1].losses] == [
            (second, 1, 1)
        ]
        assert (second, 1) not in {pack.name for pack in await everything(buffer)}
        lost = buffer.state().lost_packs
        await buffer.settle(receipt(second, last.seq))
        assert buffer.state().lost_packs == lost == 1

        third = make_next(tmp_path, new)  # and the next change is a change of its own
        await follow(tmp_path, new, buffer, CLOCK)
        assert buffer.kid == third.kid
        await follow(tmp_path, new, buffer, CLOCK)
        assert _who(tmp_path).kid == new.kid
        await everything(buffer)
        await buffer.settle(receipt(second, buffer.state().head_seq))
        await follow(tmp_path, new, buffer, CLOCK)
        assert _who(tmp_path).kid == third.kid


async def test_promotion_waits_for_no_pack_but_the_change(tmp_path: Path) -> None:
    old = _who(tmp_path)
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(1))
        new = make_next(tmp_path, old)
        await follow(tmp_path, old, buffer, CLOCK)
        stream = buffer.state().stream
        assert len(await everything(buffer)) == 2
        await buffer.settle(receipt(stream, 0, (2, 2)))
        await follow(tmp_path, old, buffer, CLOCK)
        assert _who(tmp_path).kid == new.kid
        assert await _signers(buffer) == [old.kid]  # it still leaves, signed as it was
        assert buffer.state().lost_packs == 0

        # From here on nothing is signed by the old key, after a file that broke as well.
        await _break(buffer)
        await buffer.append([reading(2)])
        await buffer.seal(stamp(9))
        assert buffer.state().stream != stream
        assert await _signers(buffer) == [new.kid]


@pytest.mark.parametrize("settled", [False, True])
async def test_file_that_breaks_while_the_keys_change_leaves_the_old_key_one_empty_pack(
    tmp_path: Path, settled: bool
) -> None:
    old = _who(tmp_path)
    new = make_next(tmp_path, old)
    async with _buffer(tmp_path) as buffer:
        await follow(tmp_path, old, buffer, CLOCK)
        packs = await everything(buffer)
        if settled:
            await buffer.settle(receipt(packs[0].stream, 1))
            await follow(tmp_path, old, buffer, CLOCK)
        await _break(buffer)
        await buffer.append([reading(1)])
        await buffer.seal(stamp(2))
        assert await _signers(buffer) == ([] if settled else [old.kid]) + [new.kid]


async def _break(buffer: SqliteBuffer) -> None:
    """Let the next step find the file corrupt."""
    sound = [False]

    def step(_store: Store) -> None:
        if not sound[0]:
            sound[0] = True
            raise CorruptFile("a test broke it")

    await buffer._run(step)
    assert buffer.state().set_aside


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("what", ["conflict", "beyond", "damaged", "refused"])
async def test_change_that_did_not_arrive_is_made_again(tmp_path: Path, what: str, restarts: bool) -> None:
    old = _who(tmp_path)
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(1))
        new = make_next(tmp_path, old)
        await follow(tmp_path, old, buffer, CLOCK)
        stream = buffer.state().stream
        packs = await everything(buffer)
        if what == "damaged":
            await buffer._run(lambda store: store._db.execute("UPDATE pack SET envelope = x'00' WHERE seq = 2"))
            assert len(await everything(buffer)) == 1
        elif what == "beyond":
            with pytest.raises(ReceiptBeyondHead):
                await buffer.settle(receipt(stream, 9))
        else:
            reason = CONFLICT if what == "conflict" else "malformed"
            await buffer.settle(receipt(stream, 2, refused=[(2, packs[1].hash, reason)]))
        await follow(tmp_path, old, buffer, CLOCK)
        assert _who(tmp_path).kid == old.kid
        if not restarts:
            await _is_made_again(tmp_path, old, new, buffer, stream)
    if restarts:
        async with _buffer(tmp_path) as buffer:
            await _is_made_again(tmp_path, old, new, buffer, stream)


async def _is_made_again(folder: Path, old: Identity, new: Identity, buffer: SqliteBuffer, before: bytes) -> None:
    await buffer.append([reading(3)])
    await seal_and_send(buffer, stamp(4))
    await follow(folder, old, buffer, CLOCK)
    assert _who(folder).kid == old.kid
    stream = buffer.state().stream
    assert stream != before
    opened = [unseal(pack.envelope) for pack in await everything(buffer) if pack.stream == stream]
    assert opened[0][0].kid == old.kid
    assert opened[0][1].key_change is not None
    assert opened[0][1].predecessor is not None
    assert len(opened) > 1
    assert {message.kid for message, _ in opened[1:]} == {new.kid}
    await buffer.settle(receipt(stream, 1))
    await follow(folder, old, buffer, CLOCK)
    assert _who(folder).kid == new.kid


async def test_change_refused_where_the_stream_began_is_not_made_for_ever(tmp_path: Path) -> None:
    old = _who(tmp_path)
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(1))
        make_next(tmp_path, old)
        await follow(tmp_path, old, buffer, CLOCK)
        for _ in range(3):
            for pack in await everything(buffer):
                if unseal(pack.envelope)[1].key_change is not None:
                    await buffer.settle(receipt(pack.stream, 0, refused=[(pack.seq, pack.hash, "malformed")]))
            await follow(tmp_path, old, buffer, CLOCK)
        streams = {pack.stream for pack in await everything(buffer)} | {buffer.state().stream}
        assert len(streams) == 2
        assert _who(tmp_path).kid == old.kid


# --- renewal ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "asked"), [(400, False), (31, False), (29, True), (-5, True)])
async def test_certificate_is_renewed_from_thirty_days_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, asked: bool
) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, minutes=1)
    calls: list[Path] = []
    (tmp_path / PLACE).write_text('{"cloud_url": "http://c", "broker_host": "b", "broker_port": 1, "known_s": 1}')
    monkeypatch.setattr(rotation, "expires_at", lambda _folder: until)
    monkeypatch.setattr(rotation, "renew", lambda folder, _identity: calls.append(folder) or until)
    monkeypatch.setattr(rotation, "_now_ms", lambda _identity, _clock: time.time_ns() // 1_000_000)
    assert await renew_if_due(tmp_path, _who(tmp_path), CLOCK) == ""
    assert calls == ([tmp_path] if asked else [])


@pytest.mark.parametrize(("days", "asked"), [(40, False), (20, True), (-5, True)])
async def test_clock_that_is_never_set_renews_by_what_the_cloud_says_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, asked: bool
) -> None:
    monkeypatch.setattr(edge_clock, "_kernel", lambda: (False, 0))
    clock = SystemClock(tmp_path / "clock.json")
    passed = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=600)
    until = passed + datetime.timedelta(days=days)
    calls: list[Path] = []
    (tmp_path / PLACE).write_text('{"cloud_url": "http://c", "broker_host": "b", "broker_port": 1, "known_s": 1}')
    monkeypatch.setattr(rotation, "expires_at", lambda _folder: until)
    monkeypatch.setattr(rotation, "renew", lambda folder, _identity: calls.append(folder) or until)
    await renew_if_due(tmp_path, _who(tmp_path), clock)
    assert calls == []
    clock.has_passed(int(passed.timestamp() * 1000))
    await renew_if_due(tmp_path, _who(tmp_path), SystemClock(tmp_path / "clock.json"))
    assert calls == ([tmp_path] if asked else [])


async def test_renewal_that_fails_says_why_and_when_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
    place = '{"cloud_url": "http://127.0.0.1:1", "broker_host": "b", "broker_port": 1, "known_s": 1}'
    (tmp_path / PLACE).write_text(place)
    (tmp_path / "cloud-public.json").write_text('{"cloud_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}')
    monkeypatch.setattr(rotation, "expires_at", lambda _folder: until)
    monkeypatch.setattr(rotation, "_now_ms", lambda _identity, _clock: time.time_ns() // 1_000_000)
    said = await renew_if_due(tmp_path, _who(tmp_path), CLOCK)
    assert "http://127.0.0.1:1: no answer" in said
    assert f"{until:%Y-%m-%d}" in said


@pytest.mark.parametrize("url", ["ftp://c", "c", "http://[", "http://c:99999", "http://c d", "file:///etc/passwd"])
async def test_place_that_is_no_cloud_is_told_and_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    (tmp_path / PLACE).write_text(f'{{"cloud_url": "{url}", "broker_host": "b", "broker_port": 1, "known_s": 1}}')
    monkeypatch.setattr(rotation, "expires_at", lambda _folder: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    assert "enrol the gateway again" in await renew_if_due(tmp_path, _who(tmp_path), CLOCK)
    with pytest.raises(CloudUnreachable):
        post(url, b"", not_before_s=0)


async def test_gateway_with_certificates_from_elsewhere_is_left_alone(tmp_path: Path) -> None:
    assert await renew_if_due(tmp_path, _who(tmp_path), CLOCK) == ""
    (tmp_path / LINK).write_text("damaged")
    assert "enrol the gateway again" in await renew_if_due(tmp_path, _who(tmp_path), CLOCK)
