"""COSE_Sign1 with Ed25519 (RFC 9052 §4.2, RFC 9053 §2.2): sign bytes, and check them without re-encoding.

The envelope is the CBOR tag 18 around [protected, {}, payload, signature]. The algorithm, the key id and
the content type stand in the protected header, so that none of them can be exchanged under a signature.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import cbor2
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALG, CONTENT_TYPE, KID = 1, 3, 4  # header labels, RFC 9052 §3.1
EDDSA = -8  # RFC 9053 §2.2
SIGN1_TAG = 18  # RFC 9052 §2
KID_BYTES = 8  # the key id is a hint to find the key, never a proof of who signed
SIGNATURE_BYTES = 64  # RFC 8032 §5.1.6

# The layout of RFC 9052 §4.2 in deterministic CBOR: tag 18, array of 4; map of 3 with the labels 1, 3, 4 in order.
_SIGN1_HEAD = b"\xd2\x84"
_EMPTY_MAP = b"\xa0"
_ALG_EDDSA = b"\xa3\x01\x27"  # map of 3; 1: -8
_CONTENT_TYPE_LABEL, _KID_LABEL = b"\x03", b"\x04"
_BYTES, _TEXT = 2, 3  # major types, RFC 8949 §3.1


class CoseError(ValueError):
    """The bytes are not a COSE_Sign1 message of the kind we accept; `str()` says where and why."""


class VerifyKey(Protocol):
    """An Ed25519 public key, as `cryptography` has it."""

    def verify(self, signature: bytes, data: bytes, /) -> None:
        """Raises InvalidSignature."""


class Sign1(msgspec.Struct, frozen=True):
    """A parsed, not yet verified, COSE_Sign1 message.

    `protected` is the protected header exactly as it was sent: the signature covers these bytes.
    """

    protected: bytes
    content_type: str
    kid: bytes
    payload: bytes
    signature: bytes

    def is_signed_by(self, public_key: VerifyKey) -> bool:
        """Whether the signature over the bytes as sent verifies under `public_key`."""
        try:
            public_key.verify(self.signature, _to_be_signed(self.protected, self.payload))
        except InvalidSignature:
            return False
        return True


def key_id(public_key: Ed25519PublicKey) -> bytes:
    """The first 8 bytes of SHA-256 over the raw 32-byte public key."""
    return hashlib.sha256(public_key.public_bytes_raw()).digest()[:KID_BYTES]


def sign1(payload: bytes, *, content_type: str, key: Ed25519PrivateKey, kid: bytes) -> bytes:
    """Return the encoded COSE_Sign1 envelope around `payload`. Raises CoseError for a kid of another length."""
    if len(kid) != KID_BYTES:
        raise CoseError(f"protected header: the key id must be {KID_BYTES} bytes")
    protected = _protected(content_type, kid)
    signature = key.sign(_to_be_signed(protected, payload))
    envelope: bytes = cbor2.dumps(cbor2.CBORTag(SIGN1_TAG, [protected, {}, payload, signature]), canonical=True)
    return envelope


def parse_sign1(envelope: bytes) -> Sign1:
    """Take an envelope apart without judging its signature.

    Exactly one encoding is accepted (deterministic CBOR, RFC 8949 §4.2.1, nothing behind it), so that one
    message has one hash. That leaves a fixed layout, which is read byte by byte: no general CBOR decoder,
    with its many types, ever sees a stranger's bytes. Raises CoseError.
    """
    at = _expect(envelope, 0, _SIGN1_HEAD, "not a COSE_Sign1 message (tag 18 around an array of 4)")
    protected, at = _string(envelope, at, _BYTES, "protected header")
    at = _expect(envelope, at, _EMPTY_MAP, "the unprotected header must be empty, nothing in it is signed")
    payload, at = _string(envelope, at, _BYTES, "payload")
    signature, at = _string(envelope, at, _BYTES, "signature")
    if at != len(envelope):
        raise CoseError("envelope: bytes behind the end")
    if len(signature) != SIGNATURE_BYTES:
        raise CoseError(f"envelope: the signature has {len(signature)} bytes, Ed25519 has {SIGNATURE_BYTES}")
    content_type, kid = _read_protected(protected)
    return Sign1(protected, content_type, kid, payload, signature)


def _protected(content_type: str, kid: bytes) -> bytes:
    header: bytes = cbor2.dumps({ALG: EDDSA, CONTENT_TYPE: content_type, KID: kid}, canonical=True)
    return header


def _read_protected(protected: bytes) -> tuple[str, bytes]:
    where = "protected header"
    at = _expect(protected, 0, _ALG_EDDSA, "expected a map of three: algorithm EdDSA, content type, key id", where)
    at = _expect(protected, at, _CONTENT_TYPE_LABEL, "the content type (3) is missing", where)
    text, at = _string(protected, at, _TEXT, f"{where}, content type")
    at = _expect(protected, at, _KID_LABEL, "the key id (4) is missing", where)
    kid, at = _string(protected, at, _BYTES, f"{where}, key id")
    if at != len(protected):
        raise CoseError(f"{where}: bytes behind the end")
    if len(kid) != KID_BYTES:
        raise CoseError(f"{where}: the key id has {len(kid)} bytes, {KID_BYTES} expected")
    try:
        return text.decode(), kid
    except UnicodeDecodeError as error:
        raise CoseError(f"{where}: the content type is not UTF-8") from error


def _expect(data: bytes, at: int, expected: bytes, why: str, where: str = "envelope") -> int:
    if not data.startswith(expected, at):
        raise CoseError(f"{where}: {why}, at byte {at}")
    return at + len(expected)


def _string(data: bytes, at: int, major: int, where: str) -> tuple[bytes, int]:
    """The byte or text string at `at` and the place behind it; its length in the shortest form only."""
    if at >= len(data) or data[at] >> 5 != major:
        raise CoseError(f"{where}: not a {'byte' if major == _BYTES else 'text'} string, at byte {at}")
    short = data[at] & 0x1F
    at += 1
    length = short
    if short >= 24:
        width = {24: 1, 25: 2, 26: 4, 27: 8}.get(short, 0)  # RFC 8949 §3; 31 would be of unknown length
        length = int.from_bytes(data[at : at + width], "big")
        smallest = 24 if width == 1 else 1 << (4 * width)
        if not width or len(data) < at + width or length < smallest:
            raise CoseError(f"{where}: its length is not in deterministic encoding")
        at += width
    if len(data) - at < length:
        raise CoseError(f"{where}: truncated, {length} bytes announced and {len(data) - at} left")
    return data[at : at + length], at + length


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure of RFC 9052 §4.4 without external data."""
    structure: bytes = cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)
    return structure
