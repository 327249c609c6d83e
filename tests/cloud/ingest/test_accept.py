"""The verdict on bytes from outside: every way to be refused has its reason, and nothing ever raises."""

from __future__ import annotations

import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ingest.accept import Accepted, Candidate, Conflict, Duplicate, Quarantined, examine, judge
from cloud.registry.keys import GatewayKey
from standards import cose
from tests.cloud.field import START_MS, Gateway
from wire import receipt
from wire.envelope import ENVELOPE_MAX_BYTES, INFLATED_MAX_BYTES
from wire.pack import CONTENT_TYPE

OURS = Gateway("gw-kho-01")
OTHER = Gateway("gw-xe-01")
KEYS = [GatewayKey(OURS.kid, OURS.key.public_key().public_bytes_raw())]
GOOD = OURS.envelope(1)


def _signed(payload: bytes, content_type: str = CONTENT_TYPE) -> bytes:
    return cose.sign1(payload, content_type=content_type, key=OURS.key, kid=OURS.kid)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BOMB = _signed(zlib.compress(bytes(INFLATED_MAX_BYTES + 1)))
REFUSALS = {
    "nothing": (OURS.topic, b"", "malformed"),
    "noise": (OURS.topic, b"\xff" * 500, "malformed"),
    "truncated": (OURS.topic, GOOD[:-1], "malformed"),
    "bytes behind the end": (OURS.topic, GOOD + b"\x00", "malformed"),
    "too large": (OURS.topic, b"\x00" * (ENVELOPE_MAX_BYTES + 1), "too_large"),
    "flipped bit in the payload": (OURS.topic, _flipped(GOOD, len(GOOD) // 2), "bad_signature"),
    "flipped bit in the signature": (OURS.topic, _flipped(GOOD, len(GOOD) - 1), "bad_signature"),
    "other gateway's key": (OURS.topic, OTHER.seal(OURS.pack(1)), "unknown_key"),
    "other gateway's name, our key": (OURS.topic, OURS.seal(OTHER.pack(1)), "foreign_gateway"),
    "a bomb": (OURS.topic, BOMB, "too_large"),
    "a bomb that nobody signed": (OURS.topic, _flipped(BOMB, len(BOMB) - 1), "bad_signature"),
    "signed, but not zlib": (OURS.topic, _signed(b"plain"), "malformed"),
    "signed, but another letter": (OURS.topic, _signed(b"", receipt.CONTENT_TYPE), "unknown_type"),
    "someone else's topic": ("other/v1/gw-kho-01/up/pack", GOOD, "foreign_topic"),
    "our topic for something else": ("coldproof/v1/gw-kho-01/up/packs", GOOD, "foreign_topic"),
    "topic of a name we never give": ("coldproof/v1/GW KHO/up/pack", GOOD, "foreign_topic"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_has_its_reason(case: str):
    topic, envelope, reason = REFUSALS[case]
    verdict = examine(topic, envelope, keys=KEYS, received_ms=START_MS)
    assert isinstance(verdict, Quarantined)
    assert verdict.reason == reason
    assert verdict.detail


def test_gateway_without_keys_is_unknown():
    verdict = examine(OURS.topic, GOOD, keys=[], received_ms=START_MS)
    assert verdict == Quarantined("unknown_gateway", "gateway gw-kho-01 is not in the registry")


@pytest.mark.parametrize(("revoked_ms", "refused"), [(START_MS, True), (START_MS - 1, True), (START_MS + 1, False)])
def test_revoked_key_counts_by_time_of_receipt(revoked_ms: int, *, refused: bool):
    keys = [msgspec.structs.replace(KEYS[0], revoked_ms=revoked_ms)]
    verdict = examine(OURS.topic, GOOD, keys=keys, received_ms=START_MS)
    assert (isinstance(verdict, Quarantined) and verdict.reason == "revoked_key") is refused


def test_second_key_of_a_gateway_may_sign():
    keys = [GatewayKey(OTHER.kid, OTHER.key.public_key().public_bytes_raw()), *KEYS]
    assert isinstance(examine(OURS.topic, GOOD, keys=keys, received_ms=START_MS), Candidate)


def test_same_key_id_with_another_key_does_not_hold():
    keys = [GatewayKey(OURS.kid, OTHER.key.public_key().public_bytes_raw())]
    verdict = examine(OURS.topic, GOOD, keys=keys, received_ms=START_MS)
    assert isinstance(verdict, Quarantined)
    assert verdict.reason == "bad_signature"


def test_stored_hash_decides_between_new_duplicate_and_conflict():
    candidate = examine(OURS.topic, GOOD, keys=KEYS, received_ms=START_MS)
    assert isinstance(candidate, Candidate)
    assert candidate.identity == (OURS.name, OURS.stream, 1)
    assert judge(candidate, None) == Accepted(candidate)
    assert judge(candidate, candidate.hash) == Duplicate(candidate)
    assert judge(candidate, b"\x00" * 32) == Conflict(candidate)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60), st.binary(max_size=600))
def test_noise_never_raises(topic: str, envelope: bytes):
    assert isinstance(examine(topic, envelope, keys=KEYS, received_ms=START_MS), Quarantined)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_changed_byte_is_refused(at: int, byte: int):
    changed = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    verdict = examine(OURS.topic, changed, keys=KEYS, received_ms=START_MS)
    assert isinstance(verdict, Candidate if changed == GOOD else Quarantined)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_signed_nonsense_never_raises(payload: bytes):
    for envelope in (_signed(payload), _signed(zlib.compress(payload))):
        assert isinstance(examine(OURS.topic, envelope, keys=KEYS, received_ms=START_MS), Quarantined)
