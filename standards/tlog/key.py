"""Keys of signed notes: the Ed25519 keys of logs, and those of witnesses that cosign with a time.

A public key is written as a verifier key, `NAME+KEYID+base64(kind || public key)` (c2sp.org/signed-note). Kind 1 signs
the text (Ed25519, RFC 8032); kind 4 is cosignature/v1 (c2sp.org/tlog-cosignature): 8 bytes of POSIX time, then an
Ed25519 signature over `cosignature/v1`, the time and the checkpoint, so that it says when the witness saw it.
"""

from __future__ import annotations

import base64
import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standards.tlog import checkpoint
from standards.tlog.note import KEY_ID_BYTES, NoteError, Signature, decode_base64, is_name, require_text

ED25519, COSIGNATURE_V1 = 0x01, 0x04  # signature types of c2sp.org/signed-note
PUBLIC_BYTES = 32  # RFC 8032 §5.1.5
SIGNATURE_BYTES = 64  # RFC 8032 §5.1.6
TIME_BYTES = 8
TIME_MAX = 2**63 - 1  # c2sp.org/tlog-cosignature
VKEY_MAX_CHARACTERS = 1000  # a guard for error messages and memory; ours have about 100


class KeyTextError(ValueError):
    """A verifier key is malformed, of a kind that is not known, or contradicts its own key id; `str()` says why."""


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key with the name that stands in its signature lines; `str()` is the verifier key."""

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key beside its name."""
        return key_id(self.name, self.kind, self.public)

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is by this key over a note's text."""
        if self.kind == COSIGNATURE_V1:
            if len(signature) != TIME_BYTES + SIGNATURE_BYTES:
                return False
            at_s = int.from_bytes(signature[:TIME_BYTES], "big")
            if at_s > TIME_MAX:
                return False
            text, signature = cosigned(text, at_s=at_s), signature[TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key. Raises KeyTextError, also when its key id is not that of its name and key."""
    if len(text) > VKEY_MAX_CHARACTERS:
        raise KeyTextError(f"a verifier key of {len(text)} characters, at most {VKEY_MAX_CHARACTERS}")
    parts = text.split("+", 2)  # base64 may hold a plus sign, a name may not
    if len(parts) != 3:
        raise KeyTextError(f"{text[:80]!r} is not NAME+KEYID+KEY")
    name, stated, encoded = parts
    if not is_name(name):
        raise KeyTextError(f"{name[:80]!r} is no name of a key")
    try:
        data = decode_base64(encoded)
    except ValueError as error:
        raise KeyTextError(f"the key of {name}: {error}") from error
    kind, public = data[0] if data else 0, data[1:]
    if kind not in (ED25519, COSIGNATURE_V1):
        raise KeyTextError(f"the key of {name} is of kind {kind:#04x}; known are 0x01 (Ed25519), 0x04 (cosignature/v1)")
    if len(public) != PUBLIC_BYTES:
        raise KeyTextError(f"the key of {name} has {len(public)} bytes, Ed25519 has {PUBLIC_BYTES}")
    key = VerifierKey(name, public, kind)
    if stated != key.key_id.hex():
        raise KeyTextError(f"the key of {name} has the key id {key.key_id.hex()}, not {stated[:20]!r}")
    return key


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """SHA-256(name || newline || kind || public key), its first four bytes. c2sp.org/signed-note."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + bytes([kind]) + public).digest()[:KEY_ID_BYTES]


class LogSigner:
    """Signs notes with an Ed25519 key under a name: kind 1."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self.verifier = VerifierKey(_checked(name), key.public_key().public_bytes_raw(), ED25519)
        self._key = key

    def sign(self, text: str) -> Signature:
        """The signature over a note's text. Raises NoteError for what is no such text."""
        require_text(text)
        return Signature(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode("utf-8")))


class Cosigner:
    """Cosigns a checkpoint at one instant: kind 4. The caller has checked consistency with what it cosigned before."""

    def __init__(self, name: str, key: Ed25519PrivateKey, *, at_s: int) -> None:
        if not 0 <= at_s <= TIME_MAX:
            raise NoteError(f"{at_s} is no POSIX time a cosignature can state")
        self.verifier = VerifierKey(_checked(name), key.public_key().public_bytes_raw(), COSIGNATURE_V1)
        self._key, self._at_s = key, at_s

    def sign(self, text: str) -> Signature:
        """The cosignature over a checkpoint's text. Raises NoteError, CheckpointError for anything else."""
        require_text(text)
        checkpoint.parse(text)
        value = self._key.sign(cosigned(text.encode("utf-8"), at_s=self._at_s))
        return Signature(self.verifier.name, self.verifier.key_id, self._at_s.to_bytes(TIME_BYTES, "big") + value)


def cosigned(text: bytes, *, at_s: int) -> bytes:
    """What a cosignature of this POSIX time is over. c2sp.org/tlog-cosignature."""
    return b"cosignature/v1\ntime %d\n" % at_s + text


def cosigned_at_s(signature: Signature) -> int:
    """The POSIX time a verified cosignature states. Raises NoteError for another kind of signature."""
    if len(signature.value) != TIME_BYTES + SIGNATURE_BYTES:
        raise NoteError(f"the signature by {signature.name} is no cosignature/v1")
    return int.from_bytes(signature.value[:TIME_BYTES], "big")


def _checked(name: str) -> str:
    if not is_name(name):
        raise NoteError(f"{name[:80]!r} is no name of a key: it must have no space and no plus sign")
    return name
