"""The status: small JSON from a stranger."""

from __future__ import annotations

import msgspec
import pytest

from wire import status
from wire.envelope import WireError
from wire.status import STATUS_MAX_BYTES, Status


def test_status_comes_back() -> None:
    sent = Status("gw-1", online=True, head_seq=4, head_hash="ab" * 32, devices={"room-1": "up"})
    assert status.decode(status.encode(sent)) == sent


def test_unknown_fields_are_ignored() -> None:
    assert status.decode(b'{"gateway":"gw-1","online":false,"newer":[1]}') == Status("gw-1", online=False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "malformed"),
        (b"null", "malformed"),
        (b'{"gateway":"gw-1"}', "malformed"),
        (b'{"gateway":"gw-1","online":1}', "malformed"),
        (b'{"gateway":"gw-1","online":true,"version":"\xff"}', "malformed"),
        (b'{"gateway":"gw-1","online":true,"head_seq":1.5}', "malformed"),
        (b'{"gateway":"gw-1","online":true,"newer":' + b"[" * 5_000, "malformed"),
        (b'{"gateway":"../etc","online":true}', "invalid"),
        (b'{"gateway":"gw-1","online":true,"head_seq":99999999999999999999}', "invalid"),
        (b'{"gateway":"gw-1","online":true,"unsent_packs":-1}', "invalid"),
        (b'{"gateway":"gw-1","online":true,"at_ms":-1}', "invalid"),
        (b'{"gateway":"gw-1","online":true,"stream":"zz"}', "invalid"),
        (b'{"gateway":"gw-1","online":true,"head_hash":"AB"}', "invalid"),
        (b'{"gateway":"gw-1","online":true,"devices":{"' + b"x" * 201 + b'":"up"}}', "invalid"),
        (b'{"gateway":"gw-1","online":true}' + b" " * STATUS_MAX_BYTES, "too_large"),
    ],
)
def test_hostile_status_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as refused:
        status.decode(data)
    assert refused.value.reason == reason


def test_status_cut_at_any_byte_is_refused() -> None:
    whole = status.encode(Status("gw-1", online=True, devices={"room-1": "up"}))
    for at in range(len(whole)):
        with pytest.raises(WireError):
            status.decode(whole[:at])
    assert msgspec.json.decode(whole)["devices"] == {"room-1": "up"}
