"""The command: only well-formed ones are written or read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire import command
from wire.command import ApplyConfiguration, Command, SendAgain, SignOff, TestAlarm
from wire.envelope import WireError
from wire.observation import INT64_MAX, MAX_TIME_MS

STREAM, HASH = b"s" * 16, b"h" * 32
COMMAND = Command(bytes(16), "gw-1", 1, 1_000, 2_000, SendAgain(STREAM, [(1, 1), (4, 9)]))

BROKEN: dict[str, dict[str, Any]] = {
    "id": {"id": b""},
    "gateway": {"gateway": "gw/1"},
    "counter": {"counter": 0},
    "counter beyond 63 bits": {"counter": INT64_MAX + 1},
    "issued": {"issued_at_ms": -1},
    "expires": {"expires_at_ms": MAX_TIME_MS + 1},
    "expires when issued": {"expires_at_ms": 1_000},
    "stream": {"order": SendAgain(b"", [])},
    "too many ranges": {"order": SendAgain(STREAM, [(1, 1)] * 257)},
    "range from 0": {"order": SendAgain(STREAM, [(0, 1)])},
    "range reversed": {"order": SendAgain(STREAM, [(2, 1)])},
    "range beyond 63 bits": {"order": SendAgain(STREAM, [(1, INT64_MAX + 1)])},
    "version": {"order": ApplyConfiguration(0, HASH)},
    "configuration hash": {"order": ApplyConfiguration(1, b"")},
    "alarm text": {"order": TestAlarm("x" * 201)},
    "person": {"order": SignOff("x" * 201)},
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_refused_by_sender_and_receiver(name: str, key: Ed25519PrivateKey, kid: bytes) -> None:
    broken = msgspec.structs.replace(COMMAND, **BROKEN[name])
    with pytest.raises(WireError) as refused:
        command.seal(broken, key=key, kid=kid)
    assert refused.value.reason == "invalid"
    sealed = cose.sign1(msgspec.msgpack.encode(broken), content_type=command.CONTENT_TYPE, key=key, kid=kid)
    with pytest.raises(WireError) as received:
        command.unseal(sealed)
    assert received.value.reason == "invalid"


@pytest.mark.parametrize(
    "order", [SendAgain(STREAM, [(3, 3)]), ApplyConfiguration(2, HASH), TestAlarm("thử"), SignOff("installer-3")]
)
def test_every_order_comes_back(order: command.Order, key: Ed25519PrivateKey, kid: bytes) -> None:
    sent = msgspec.structs.replace(COMMAND, order=order)
    message, opened = command.unseal(command.seal(sent, key=key, kid=kid))
    assert opened == sent
    assert message.is_signed_by(key.public_key())


def test_unknown_order_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(COMMAND))
    fields[5] = ["open_the_door", 1]
    sealed = cose.sign1(msgspec.msgpack.encode(fields), content_type=command.CONTENT_TYPE, key=key, kid=kid)
    with pytest.raises(WireError) as refused:
        command.unseal(sealed)
    assert refused.value.reason == "malformed"
