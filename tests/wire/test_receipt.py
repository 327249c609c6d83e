"""The receipt: only well-formed ones are written or read, and it says what it settles."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from standards import cose
from wire import command, receipt
from wire.envelope import WireError
from wire.observation import INT64_MAX, MAX_TIME_MS
from wire.receipt import Checkpoint, Receipt

STREAM, HASH = b"s" * 16, b"h" * 32
RECEIPT = Receipt("gw-1", STREAM, 5, [(7, 9), (12, 12)], [(4, HASH, "conflict")], 1_000, Checkpoint(3, HASH))

BROKEN: dict[str, dict[str, Any]] = {
    "gateway": {"gateway": "GW"},
    "stream": {"stream": b""},
    "through": {"through": -1},
    "through beyond 63 bits": {"through": INT64_MAX + 1},
    "too many ranges": {"ranges": [(7 + 2 * at, 7 + 2 * at) for at in range(257)]},
    "range touches through": {"ranges": [(6, 7)]},
    "range inside through": {"ranges": [(1, 2)]},
    "ranges touch": {"ranges": [(7, 8), (9, 9)]},
    "ranges descend": {"ranges": [(12, 12), (7, 9)]},
    "range reversed": {"ranges": [(9, 7)]},
    "range beyond 63 bits": {"ranges": [(7, INT64_MAX + 1)]},
    "too many refused": {"refused": [(4, HASH, "x")] * 257},
    "refused seq": {"refused": [(0, HASH, "x")]},
    "refused hash": {"refused": [(1, b"", "x")]},
    "refused reason": {"refused": [(1, HASH, "x" * 201)]},
    "issued": {"issued_at_ms": MAX_TIME_MS + 1},
    "checkpoint size": {"checkpoint": Checkpoint(-1, HASH)},
    "checkpoint root": {"checkpoint": Checkpoint(1, b"")},
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_refused_by_sender_and_receiver(name: str, key: Ed25519PrivateKey, kid: bytes) -> None:
    broken = msgspec.structs.replace(RECEIPT, **BROKEN[name])
    with pytest.raises(WireError) as refused:
        receipt.seal(broken, key=key, kid=kid)
    assert refused.value.reason == "invalid"
    sealed = cose.sign1(msgspec.msgpack.encode(broken), content_type=receipt.CONTENT_TYPE, key=key, kid=kid)
    with pytest.raises(WireError) as received:
        receipt.unseal(sealed)
    assert received.value.reason == "invalid"


def test_receipt_comes_back_and_its_signature_names_the_key(key: Ed25519PrivateKey, kid: bytes) -> None:
    message, opened = receipt.unseal(receipt.seal(RECEIPT, key=key, kid=kid))
    assert opened == RECEIPT
    assert message.is_signed_by(key.public_key())
    assert not message.is_signed_by(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sets(st.integers(1, 40)))
def test_settles_exactly_what_was_settled(settled: set[int]) -> None:
    through = next(seq for seq in range(41) if seq + 1 not in settled)
    ranges: list[tuple[int, int]] = []
    for seq in sorted(seq for seq in settled if seq > through):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    written = Receipt("gw-1", STREAM, through, ranges, [], 0)
    receipt.check(written)
    assert {seq for seq in range(-2, 60) if written.settles(seq)} == settled


def test_receipt_is_no_command_and_a_command_no_receipt(key: Ed25519PrivateKey, kid: bytes) -> None:
    with pytest.raises(WireError) as refused:
        command.unseal(receipt.seal(RECEIPT, key=key, kid=kid))
    assert refused.value.reason == "unknown_type"
    order = command.Command(bytes(16), "gw-1", 1, 0, 1, command.TestAlarm("x"))
    with pytest.raises(WireError) as refused:
        receipt.unseal(command.seal(order, key=key, kid=kid))
    assert refused.value.reason == "unknown_type"


def test_receipt_of_a_newer_cloud_is_understood(key: Ed25519PrivateKey, kid: bytes) -> None:
    fields = [*msgspec.msgpack.decode(msgspec.msgpack.encode(RECEIPT)), "newer"]
    fields[6] = [*fields[6], "origin"]
    sealed = cose.sign1(msgspec.msgpack.encode(fields), content_type=receipt.CONTENT_TYPE, key=key, kid=kid)
    assert receipt.unseal(sealed)[1] == RECEIPT


def test_receipt_cut_at_any_byte_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    sealed = receipt.seal(RECEIPT, key=key, kid=kid)
    for at in range(len(sealed)):
        with pytest.raises(WireError):
            receipt.unseal(sealed[:at])
