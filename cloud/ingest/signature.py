"""Ed25519 by libsodium, which checks a signature in half the time OpenSSL takes: the dearest step of every pack.

Both refuse what RFC 8032 §5.1.7 refuses. libsodium refuses keys and signatures of small order besides, so nothing is
accepted here that an auditor's OpenSSL would not accept.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

KEYS_KEPT = 10_000  # of 32 bytes and a small object each


class PublicKey:
    """A public key that checks signatures like that of `cryptography`."""

    def __init__(self, raw: bytes) -> None:
        self._key = VerifyKey(raw)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises InvalidSignature."""
        try:
            self._key.verify(data, signature)
        except BadSignatureError as error:
            raise InvalidSignature from error


@lru_cache(maxsize=KEYS_KEPT)
def public_key(raw: bytes) -> PublicKey:
    """The same for the same bytes, whoever's key that is and whether it counts: so nothing here can be out of date."""
    return PublicKey(raw)
