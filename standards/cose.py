"""COSE_Sign1 with Ed25519 (RFC 9052 §4.2, RFC 9053 §2.2): sign bytes, and check them without re-encoding.

The envelope is the CBOR tag 18 around [protected, {}, payload, signature]. The algorithm, the key id and
the content type stand in the protected header, so that none of them can be exchanged under a signature.
"""

from __future__ import annotations

import hashlib
from io import BytesIO

import cbor2
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALG, CONTENT_TYPE, KID = 1, 3, 4  # header labels, RFC 9052 §3.1
EDDSA = -8  # RFC 9053 §2.2
SIGN1_TAG = 18  # RFC 9052 §2
KID_BYTES = 8  # the key id is a hint to find the key, never a proof of who signed
SIGNATURE_BYTES = 64  # RFC 8032 §5.1.6


class CoseError(ValueError):
    """The bytes are not a COSE_Sign1 message of the kind we accept; `str()` says where and why."""


class Sign1(msgspec.Struct, frozen=True):
    """A parsed, not yet verified, COSE_Sign1 message.

    `protected` is the protected header exactly as it was sent: the signature covers these bytes.
    """

    protected: bytes
    content_type: str
    kid: bytes
    payload: bytes
    signature: bytes

    def is_signed_by(self, public_key: Ed25519PublicKey) -> bool:
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
    """Return the encoded COSE_Sign1 envelope around `payload`."""
    protected: bytes = cbor2.dumps({ALG: EDDSA, CONTENT_TYPE: content_type, KID: kid}, canonical=True)
    signature = key.sign(_to_be_signed(protected, payload))
    envelope: bytes = cbor2.dumps(cbor2.CBORTag(SIGN1_TAG, [protected, {}, payload, signature]), canonical=True)
    return envelope


def parse_sign1(envelope: bytes) -> Sign1:
    """Take an envelope apart without judging its signature.

    Exactly one encoding is accepted (deterministic CBOR, RFC 8949 §4.2.1, nothing behind it), so that one
    message has one hash. Raises CoseError.
    """
    message = _load_cbor(envelope, "envelope")
    if not isinstance(message, cbor2.CBORTag) or message.tag != SIGN1_TAG:
        raise CoseError("envelope: not tagged as COSE_Sign1 (CBOR tag 18)")
    parts = message.value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise CoseError("envelope: COSE_Sign1 must be an array of 4")
    protected, unprotected, payload, signature = parts
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise CoseError("envelope: protected header, payload and signature must be byte strings")
    if unprotected != {}:
        raise CoseError("envelope: the unprotected header must be empty, nothing in it is signed")
    if len(signature) != SIGNATURE_BYTES:
        raise CoseError(f"envelope: the signature has {len(signature)} bytes, Ed25519 has {SIGNATURE_BYTES}")
    header = _load_cbor(protected, "protected header")
    if not isinstance(header, dict) or set(header) != {ALG, CONTENT_TYPE, KID}:
        raise CoseError("protected header: exactly algorithm (1), content type (3) and key id (4) are expected")
    if type(header[ALG]) is not int or header[ALG] != EDDSA:
        raise CoseError(f"protected header: algorithm {header[ALG]!r}, only EdDSA (-8) is accepted")
    if not isinstance(header[CONTENT_TYPE], str):
        raise CoseError("protected header: the content type must be text")
    if not isinstance(header[KID], bytes) or len(header[KID]) != KID_BYTES:
        raise CoseError(f"protected header: the key id must be {KID_BYTES} bytes")
    parsed = Sign1(protected, header[CONTENT_TYPE], header[KID], payload, signature)
    again = cbor2.dumps(cbor2.CBORTag(SIGN1_TAG, [protected, {}, payload, signature]), canonical=True)
    if again != envelope or cbor2.dumps(header, canonical=True) != protected:
        raise CoseError("envelope: not in deterministic encoding")
    return parsed


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure of RFC 9052 §4.4 without external data."""
    structure: bytes = cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)
    return structure


def _load_cbor(data: bytes, where: str) -> object:
    stream = BytesIO(data)
    try:
        value: object = cbor2.CBORDecoder(stream).decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise CoseError(f"{where}: not CBOR ({error})") from error
    if stream.read(1):
        raise CoseError(f"{where}: bytes behind the end")
    return value
