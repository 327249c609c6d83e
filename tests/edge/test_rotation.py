"""A change of key goes through whatever happens on the way; a link certificate is renewed in time."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from edge import rotation
from edge.buffer.sqlite import SqliteBuffer
from edge.clock import SystemClock
from edge.enrol import LINK, PLACE
from edge.keys import NEXT_NAME, PRIVATE_NAME, Identity, load_next, load_or_make, make_next
from edge.rotation import follow, renew_if_due
from tests.edge.buffer.material import everything, make, reading, receipt, seal_and_send, stamp
from wire.envelope import open_envelope
from wire.pack import unseal

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
    new = make_next(tmp_path, old)
    assert make_next(tmp_path, old).kid == new.kid
    buffer = _buffer(tmp_path)
    await buffer.__aenter__()

    async def again() -> None:
        nonlocal buffer
        if restarts:
            await buffer.__aexit__(None, None, None)
            buffer = _buffer(tmp_path)
            await buffer.__aenter__()

    await buffer.append([reading(1)])
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


async def test_lost_buffer_begins_again_with_the_key_the_cloud_knows(tmp_path: Path) -> None:
    old = _who(tmp_path)
    make_next(tmp_path, old)
    async with _buffer(tmp_path) as buffer:
        await follow(tmp_path, old, buffer, CLOCK)
    for file in tmp_path.glob("buffer.db*"):
        file.unlink()
    async with _buffer(tmp_path) as buffer:
        await buffer.append([reading(1)])
        await buffer.seal(stamp(2))
        assert await _signers(buffer) == [old.kid]
        assert await follow(tmp_path, old, buffer, CLOCK)


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
    monkeypatch.setattr(rotation, "_now", lambda _clock: datetime.datetime.now(datetime.UTC))
    assert await renew_if_due(tmp_path, _who(tmp_path), CLOCK) == ""
    assert calls == ([tmp_path] if asked else [])


async def test_renewal_that_fails_says_why_and_when_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3)
    place = '{"cloud_url": "http://127.0.0.1:1", "broker_host": "b", "broker_port": 1, "known_s": 1}'
    (tmp_path / PLACE).write_text(place)
    (tmp_path / "cloud-public.json").write_text('{"cloud_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}')
    monkeypatch.setattr(rotation, "expires_at", lambda _folder: until)
    monkeypatch.setattr(rotation, "_now", lambda _clock: datetime.datetime.now(datetime.UTC))
    said = await renew_if_due(tmp_path, _who(tmp_path), CLOCK)
    assert "http://127.0.0.1:1: no answer" in said
    assert f"{until:%Y-%m-%d}" in said


async def test_gateway_with_certificates_from_elsewhere_is_left_alone(tmp_path: Path) -> None:
    assert await renew_if_due(tmp_path, _who(tmp_path), CLOCK) == ""
    (tmp_path / LINK).write_text("damaged")
    assert "enrol the gateway again" in await renew_if_due(tmp_path, _who(tmp_path), CLOCK)
