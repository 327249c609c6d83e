"""The one-time code, and the letters exchanged for it."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from standards import cose
from wire import enrolment as wire
from wire.enrolment import CodeError, Enrolment, Link, Renewal
from wire.envelope import WireError

CLOUD = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
GATEWAY = Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32)
NOW_S = 1_800_000_000
CODE = wire.new_code(cloud_key=CLOUD.public_key(), gateway="gw-1", url="https://cloud.example.vn/", issued_s=NOW_S)
TEXT = wire.write_code(CODE)
REQUEST = wire.seal_enrolment(CODE, key=GATEWAY, simulated=False, csr=b"csr", nonce=bytes(16))


def _link(**changes: object) -> Link:
    raw = CLOUD.public_key().public_bytes_raw()
    link = Link("gw-1", wire.letter_hash(REQUEST), b"c", b"a", "broker.example.vn", 8883, raw, NOW_S * 1000)
    return msgspec.structs.replace(link, **changes)


def _open(letter: bytes) -> Link:
    return wire.open_link(letter, request=REQUEST, gateway="gw-1", pinned=CODE.fingerprint)


def test_code_survives_being_copied():
    assert wire.read_code(TEXT) == CODE
    assert CODE.url == "https://cloud.example.vn"
    assert TEXT.isalnum()
    wrapped = "  " + "-\n ".join(TEXT.upper()[at : at + 20] for at in range(0, len(TEXT), 20)) + "\n"
    assert wire.read_code(wrapped) == CODE


@given(st.data())
def test_a_mistake_in_a_code_is_told(data: st.DataObject):
    at = data.draw(st.integers(0, len(TEXT) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
    for wrong in (TEXT[:at] + letter + TEXT[at + 1 :], TEXT[:at], TEXT[:at] + TEXT[at + 1 :]):
        if wrong != TEXT:
            with pytest.raises(CodeError, match=r"copy (it again|all of)"):
                wire.read_code(wrong)


@pytest.mark.parametrize("text", ["", "cp", "-", "hello", "cp" + "a" * 5000, "cp0189", "cpé"])
def test_what_is_no_code_is_refused(text: str):
    with pytest.raises(CodeError):
        wire.read_code(text)


@pytest.mark.parametrize(
    "url", ["ftp://cloud", "file:///etc/passwd", "cloud", "http://[", "http://c:99999", "http://c d"]
)
def test_code_that_leads_elsewhere_is_refused(url: str):
    with pytest.raises(CodeError, match="ask for another"):
        wire.read_code(wire.write_code(msgspec.structs.replace(CODE, url=url)))


def test_codes_hold_enough_chance_to_be_unguessable():
    other = wire.new_code(cloud_key=CLOUD.public_key(), gateway="gw-1", url="http://c", issued_s=NOW_S)
    assert other.secret != CODE.secret
    assert len(CODE.secret) * 8 >= 128


@pytest.mark.parametrize("url", ["", "cloud", "ftp://cloud", "http://", "http://c?x=1", "http://c#f"])
def test_url_no_gateway_could_use_is_refused(url: str):
    with pytest.raises(ValueError, match="expected http"):
        wire.new_code(cloud_key=CLOUD.public_key(), gateway="gw-1", url=url, issued_s=NOW_S)


def test_secret_of_the_code_does_not_travel():
    assert CODE.secret not in REQUEST
    assert CODE.key.private_bytes_raw() not in REQUEST


def test_request_shows_knowledge_of_the_code_and_of_the_signing_key():
    _, request = wire.open_request(REQUEST)
    assert isinstance(request, Enrolment)
    assert wire.is_proven(request, CODE.key.public_key())
    assert not wire.is_proven(request, OTHER.public_key())
    changed = msgspec.structs.replace(request, gateway="gw-2")
    assert not wire.is_proven(changed, CODE.key.public_key())


def test_request_signed_by_another_key_is_refused():
    _, request = wire.open_request(REQUEST)
    kid = cose.key_id(OTHER.public_key())
    forged = cose.sign1(msgspec.msgpack.encode(request), content_type=wire.ENROLMENT_TYPE, key=OTHER, kid=kid)
    with pytest.raises(WireError, match="not signed by the key it brings"):
        wire.open_request(forged)


@pytest.mark.parametrize("letter", [b"", b"x" * 100, REQUEST[:-1], REQUEST + b"x", bytes(wire.REQUEST_MAX_BYTES + 1)])
def test_what_is_no_request_is_refused(letter: bytes):
    with pytest.raises(WireError):
        wire.open_request(letter)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc0", msgspec.msgpack.encode([]), msgspec.msgpack.encode([1, 2, 3]), b"\x91" * 5000]
    + [msgspec.msgpack.encode(Renewal(name, b"", nonce)) for name, nonce in (("GW", bytes(16)), ("gw", b""))]
    + [msgspec.msgpack.encode(Renewal("gw", bytes(5000), bytes(16)))],
)
def test_wrong_types_are_refused(payload: bytes):
    kid = cose.key_id(GATEWAY.public_key())
    for kind in (wire.RENEWAL_TYPE, wire.ENROLMENT_TYPE, "text/plain"):
        with pytest.raises(WireError):
            wire.open_request(cose.sign1(payload, content_type=kind, key=GATEWAY, kid=kid))


def test_answer_of_the_pinned_cloud_is_believed():
    assert _open(wire.seal_link(_link(), key=CLOUD)) == _link()


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({}, OTHER, "bad_signature"),
        ({"cloud_key": OTHER.public_key().public_bytes_raw()}, OTHER, "foreign_cloud"),
        ({"request": hashlib.sha256(b"another").digest()}, CLOUD, "foreign_answer"),
        ({"gateway": "gw-2"}, CLOUD, "foreign_answer"),
        ({"broker_host": 'x"\nname = "y'}, CLOUD, "invalid"),
        ({"broker_port": 0}, CLOUD, "invalid"),
        ({"certificate": bytes(5000)}, CLOUD, "invalid"),
        ({"cloud_key": b""}, CLOUD, "invalid"),
    ],
)
def test_answer_of_anybody_else_is_not_believed(changes: dict[str, object], key: Ed25519PrivateKey, reason: str):
    with pytest.raises(WireError) as caught:
        _open(wire.seal_link(_link(**changes), key=key))
    assert caught.value.reason == reason


@given(st.data())
def test_answer_changed_on_its_way_is_not_believed(data: st.DataObject):
    letter = wire.seal_link(_link(), key=CLOUD)
    at, bit = data.draw(st.integers(0, len(letter) - 1)), data.draw(st.integers(0, 7))
    changed = letter[:at] + bytes([letter[at] ^ 1 << bit]) + letter[at + 1 :]
    with pytest.raises(WireError):
        _open(changed)


def test_a_receipt_is_no_answer():
    kid = cose.key_id(CLOUD.public_key())
    other = cose.sign1(msgspec.msgpack.encode(_link()), content_type="x/receipt", key=CLOUD, kid=kid)
    with pytest.raises(WireError, match="content type"):
        _open(other)
