"""Signatures are judged as OpenSSL judges them, but for keys that anybody could sign with."""

from __future__ import annotations

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloud.ingest.signature import public_key

ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group, RFC 8032 §5.1


def test_a_signature_holds_and_no_changed_one_does() -> None:
    rng = random.Random(7)
    for size in (0, 1, 31, 800, 70_000):
        key, data = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32)), rng.randbytes(size)
        ours, theirs = public_key(key.public_key().public_bytes_raw()), key.public_key()
        signature = key.sign(data)
        ours.verify(signature, data)
        for bit in rng.sample(range(512), 40):
            changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
            for one in (ours, theirs):
                with pytest.raises(InvalidSignature):
                    one.verify(changed, data)
        with pytest.raises(InvalidSignature):
            ours.verify(signature, data + b"\0")


def test_a_signature_has_one_form() -> None:
    """The scalar of a signature must be below the order of the group (RFC 8032 §5.1.7), else there are two of each."""
    key, data = Ed25519PrivateKey.from_private_bytes(bytes(range(32))), b"pack"
    signature = key.sign(data)
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(InvalidSignature):
        public_key(key.public_key().public_bytes_raw()).verify(signature[:32] + scalar.to_bytes(32, "little"), data)


@pytest.mark.parametrize("raw", [bytes([1, *bytes(31)]), bytes(32)])
def test_nobody_signs_with_a_key_of_small_order(raw: bytes) -> None:
    """Under the neutral element R = S·B holds for any data: OpenSSL takes it, whoever wrote it."""
    forged = bytes([1, *bytes(31)]) + bytes(32)
    if raw[0] == 1:
        Ed25519PublicKey.from_public_bytes(raw).verify(forged, b"anything")
    with pytest.raises(InvalidSignature):
        public_key(raw).verify(forged, b"anything")
