"""Signed letters: every pack, receipt and command is one COSE_Sign1 message within these limits.

The bytes sent are the bytes signed, stored, hashed and later proven.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TypeVar

import msgspec

from standards import cose

ENVELOPE_MAX_BYTES = 256 * 1024  # one MQTT message a phone link can carry in a few seconds
INFLATED_MAX_BYTES = 4 * 1024 * 1024  # what a bomb may cost before it is refused
HASH_BYTES = 32
_STEP_BYTES = 256 * 1024  # of what comes out; a pack of 10,000 readings is smaller, so only giants are counted first

T = TypeVar("T")


class WireError(ValueError):
    """A letter cannot be accepted. `reason` is one word for machines, `str()` says what, where and why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def envelope_hash(envelope: bytes) -> bytes:
    """SHA-256 over the envelope exactly as it was sent."""
    return hashlib.sha256(envelope).digest()


def open_envelope(envelope: bytes) -> cose.Sign1:
    """Check the size and take the envelope apart; the caller finds the key and checks the signature.

    Raises WireError `too_large` or `malformed`.
    """
    if len(envelope) > ENVELOPE_MAX_BYTES:
        raise WireError("too_large", f"envelope of {len(envelope)} bytes, the limit is {ENVELOPE_MAX_BYTES}")
    try:
        return cose.parse_sign1(envelope)
    except cose.CoseError as error:
        raise WireError("malformed", str(error)) from error


def require_type(message: cose.Sign1, content_type: str) -> None:
    """Refuse a letter of another kind. Raises WireError `unknown_type`."""
    if message.content_type != content_type:
        raise WireError("unknown_type", f"content type {message.content_type!r}, expected {content_type!r}")


def inflate(data: bytes) -> bytes:
    """Undo zlib (RFC 1950) within the limit. Raises WireError `too_large` or `malformed`."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, _STEP_BYTES)
        exceeds = len(plain) == _STEP_BYTES and _exceeds_limit(data)
        if len(plain) == _STEP_BYTES and not exceeds:
            plain += stream.decompress(stream.unconsumed_tail, INFLATED_MAX_BYTES - len(plain) + 1)
    except zlib.error as error:
        raise WireError("malformed", f"payload: not zlib ({error})") from error
    if exceeds or len(plain) > INFLATED_MAX_BYTES:
        raise WireError("too_large", f"payload inflates to more than {INFLATED_MAX_BYTES} bytes")
    if not stream.eof or stream.unused_data:
        raise WireError("malformed", "payload: zlib stream is truncated or has bytes behind its end")
    return plain


def _exceeds_limit(data: bytes) -> bool:
    """Whether more than the limit comes out, if that can be told without keeping it; False leaves it to the reader.

    A bomb then costs a tenth: no memory is filled, and no checksum computed, which takes longer than inflating zeros.
    The two bytes left out are the header of RFC 1950 §2.2; what stands behind it is RFC 1951.
    """
    stream, left, size_bytes = zlib.decompressobj(-zlib.MAX_WBITS), data[2:], 0
    try:
        while left and not stream.eof and size_bytes <= INFLATED_MAX_BYTES:
            size_bytes += len(stream.decompress(left, _STEP_BYTES))
            left = stream.unconsumed_tail
    except zlib.error:
        return False
    return size_bytes > INFLATED_MAX_BYTES


def decode(payload: bytes, kind: type[T], what: str) -> T:
    """Decode MessagePack into the typed letter. Raises WireError `malformed` with the path to the field."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("malformed", f"{what}: {error}") from error
