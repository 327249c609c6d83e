"""COSE_Sign1: one encoding, nothing else opened, and a library's CBOR as the second opinion."""

from __future__ import annotations

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from standards import cose

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KID = cose.key_id(KEY.public_key())
TYPE = "application/test"
WHOLE = cose.sign1(b"payload", content_type=TYPE, key=KEY, kid=KID)
HEADER = {1: -8, 3: TYPE, 4: KID}


def _message(
    header: object = HEADER, *, unprotected: object = None, payload: object = b"payload", signature: object = bytes(64)
) -> bytes:
    protected = header if isinstance(header, bytes) else cbor2.dumps(header, canonical=True)
    parts = [protected, {} if unprotected is None else unprotected, payload, signature]
    encoded: bytes = cbor2.dumps(cbor2.CBORTag(18, parts), canonical=True)
    return encoded


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.text(max_size=80))
def test_what_was_signed_comes_back(payload: bytes, content_type: str) -> None:
    message = cose.parse_sign1(cose.sign1(payload, content_type=content_type, key=KEY, kid=KID))
    assert (message.payload, message.content_type, message.kid) == (payload, content_type, KID)
    assert message.is_signed_by(KEY.public_key())
    assert not message.is_signed_by(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_every_form_of_length_is_read(size: int) -> None:
    whole = cose.sign1(bytes(size), content_type=TYPE, key=KEY, kid=KID)
    assert cose.parse_sign1(whole).payload == bytes(size)
    tag = cbor2.loads(whole)
    assert tag.tag == 18
    assert list(tag.value)[2] == bytes(size)


def test_library_reads_the_same_parts() -> None:
    tag = cbor2.loads(WHOLE)
    protected, unprotected, payload, signature = tag.value
    message = cose.parse_sign1(WHOLE)
    assert (message.protected, message.payload, message.signature) == (protected, payload, signature)
    assert unprotected == {}
    assert cbor2.loads(protected) == HEADER


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "no tag": WHOLE[1:],
    "tag 17": b"\xd1" + WHOLE[1:],
    "array of 5": b"\xd2\x85" + WHOLE[2:] + b"\xf6",
    "array of 3": b"\xd2\x83" + WHOLE[2:],
    "bytes behind the end": WHOLE + b"\x00",
    "two messages": WHOLE + WHOLE,
    "unprotected header": _message(unprotected={4: KID}),
    "payload nil (detached)": _message(payload=None),
    "payload text": _message(payload="payload"),
    "signature of 63": _message(signature=bytes(63)),
    "signature of 65": _message(signature=bytes(65)),
    "signature text": _message(signature="x" * 64),
    "protected header empty": _message(b""),
    "protected header no map": _message(cbor2.dumps([1, 2])),
    "algorithm ES256": _message({**HEADER, 1: -7}),
    "algorithm as text": _message({**HEADER, 1: "EdDSA"}),
    "algorithm missing": _message({3: TYPE, 4: KID}),
    "content type missing": _message({1: -8, 4: KID}),
    "content type number": _message({**HEADER, 3: 0}),
    "content type not UTF-8": _message(cbor2.dumps(HEADER, canonical=True).replace(TYPE.encode(), b"\xff" * len(TYPE))),
    "key id of 7": _message({**HEADER, 4: KID[:7]}),
    "key id text": _message({**HEADER, 4: "12345678"}),
    "one more label": _message({**HEADER, 5: b"iv"}),
    "critical label": _message({**HEADER, 2: [1]}),
    "label true in place of 1": _message({True: -8, 3: TYPE, 4: KID}),
    "bytes behind the header": _message(cbor2.dumps(HEADER, canonical=True) + b"\x00"),
    "indefinite length": b"\xd2\x9f" + WHOLE[2:] + b"\xff",
    "long form of a length": WHOLE.replace(b"\x47payload", b"\x58\x07payload"),
    "length of reserved form": WHOLE.replace(b"\x47payload", b"\x5cpayload"),
    "chunked payload": WHOLE.replace(b"\x47payload", b"\x5f\x47payload\xff"),
    "announces 2^63 bytes": b"\xd2\x84\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "nested tags": b"\xd2" * 100_000 + WHOLE,
    "nested arrays": b"\x81" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_other_encoding_is_refused(name: str) -> None:
    with pytest.raises(cose.CoseError):
        cose.parse_sign1(HOSTILE[name])


def test_message_cut_at_any_byte_is_refused() -> None:
    for at in range(len(WHOLE)):
        with pytest.raises(cose.CoseError):
            cose.parse_sign1(WHOLE[:at])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=120))
def test_random_bytes_are_refused(data: bytes) -> None:
    for hostile in (data, WHOLE[:2] + data, WHOLE[: len(WHOLE) // 2] + data):
        if hostile != WHOLE:
            with pytest.raises(cose.CoseError):
                cose.parse_sign1(hostile)


def test_anything_accepted_is_in_deterministic_encoding() -> None:
    message = cose.parse_sign1(WHOLE)
    assert _message(message.protected, payload=message.payload, signature=message.signature) == WHOLE


def test_wrong_key_id_is_not_signed_over() -> None:
    with pytest.raises(cose.CoseError, match="8 bytes"):
        cose.sign1(b"", content_type=TYPE, key=KEY, kid=b"short")


def test_published_signature_verifies() -> None:
    """RFC 8032 §7.1, test 3: the key and signature of two bytes, through the same library calls."""
    seed = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert key.public_key().public_bytes_raw().hex() == (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    )
    assert key.sign(bytes.fromhex("af82")).hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
