"""The password of the local page: kept as scrypt (RFC 7914), set by `coldproof edge local-password`, no default."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import msgspec

from edge.durable import replace_file

NAME = "local-password.json"
MIN_CHARS, MAX_CHARS = 10, 200
N, R, P = 2**14, 8, 1  # 16 MB and about 50 ms on a Pi: OWASP's second choice of parameters for scrypt
MAX_MEMORY_BYTES = 64 * 1024 * 1024
SALT_BYTES, HASH_BYTES = 16, 32


class PasswordError(ValueError):
    """It cannot be a password, or none is kept; `str()` says why."""


class Kept(msgspec.Struct, frozen=True):
    """What is kept of a password."""

    salt: bytes
    hash: bytes
    n: int
    r: int
    p: int


def set_password(folder: Path, password: str) -> None:
    """Keep this one. Raises PasswordError or OSError."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise PasswordError(f"a password has {MIN_CHARS} to {MAX_CHARS} characters")
    salt = os.urandom(SALT_BYTES)
    kept = Kept(salt, _hash(password, salt, N, R, P), N, R, P)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / NAME, msgspec.json.encode(kept), mode=0o600)


def read(folder: Path) -> Kept:
    """What is kept. Raises PasswordError."""
    try:
        kept = msgspec.json.decode((folder / NAME).read_bytes(), type=Kept)
    except OSError as error:
        raise PasswordError("the local page has no password yet: coldproof edge local-password CONFIG") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PasswordError(f"{folder / NAME} is damaged: set the password again") from error
    if kept.n > N * 16 or kept.r > R * 4 or kept.p > P * 16:
        raise PasswordError(f"{folder / NAME} asks for more work than this machine does: set the password again")
    return kept


def fits(kept: Kept, password: str) -> bool:
    """Whether this is the password; takes its time on purpose."""
    return hmac.compare_digest(_hash(password[:MAX_CHARS], kept.salt, kept.n, kept.r, kept.p), kept.hash)


def suggestion() -> str:
    """A password nobody guesses, in letters that are read aloud without mistakes."""
    return "-".join("".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(4)) for _ in range(4))


def _hash(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=MAX_MEMORY_BYTES, dklen=HASH_BYTES)
