"""Signed notes (c2sp.org/signed-note): a text, an empty line, and signature lines `— NAME base64(key id || signature)`.

A note says nothing until `verify` has found a signature by a key the caller trusts. Signatures by other keys are
ignored, which is what makes witnesses and the change of keys possible; a wrong signature by a trusted key refuses the
whole note. What a key is, and which kinds there are: `standards/tlog/key.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

NOTE_MAX_BYTES = 1_000_000  # as golang.org/x/mod/sumdb/note: far more than any checkpoint with witnesses
SIGNATURES_MAX = 100  # as there; the specification wants at least 16
KEY_ID_BYTES = 4

_MARK = "\u2014 "  # an em dash and a space begin every signature line
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")  # all of ASCII's below the space, but the newline


class NoteError(ValueError):
    """A note is malformed, or not signed as it must be; `str()` says where and why."""


class Signature(msgspec.Struct, frozen=True):
    """One signature line. `name` and `key_id` together name the key; `value` is the rest, as its kind defines it."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line in a note, with its end."""
        return f"{_MARK}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


class Note(msgspec.Struct, frozen=True):
    """A parsed note, not verified. `text` ends in a newline, and is what the signatures are over."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)


class Verifier(Protocol):
    """A public key that is trusted, by name and key id."""

    @property
    def name(self) -> str:
        """The name that stands in its signature lines."""

    @property
    def key_id(self) -> bytes:
        """The four bytes before its signatures."""

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` (without the key id) is by this key over `text`."""


class Signer(Protocol):
    """A private key that signs notes."""

    def sign(self, text: str) -> Signature:
        """The signature over a note's text."""


def parse(data: str | bytes) -> Note:
    """Take a note apart. Raises NoteError."""
    text = _text_of(data)
    head, separator, tail = text.rpartition("\n\n")
    if not separator:
        raise NoteError("no empty line between text and signatures")
    if not tail:
        raise NoteError("no signature line behind the last empty line")
    if not tail.endswith("\n"):
        raise NoteError("the last line does not end in a newline")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteError(f"{len(lines)} signatures, at most {SIGNATURES_MAX}")
    return Note(head + "\n", tuple(_signature(line, at) for at, line in enumerate(lines, start=1)))


def verify(note: Note, verifiers: Iterable[Verifier]) -> tuple[Signature, ...]:
    """The signatures by keys among `verifiers`, all of them checked. Raises NoteError unless there is one at least."""
    known: dict[tuple[str, bytes], Verifier] = {}
    for one in verifiers:
        if known.setdefault((one.name, one.key_id), one) != one:
            raise NoteError(f"two keys share the name {one.name} and the key id {one.key_id.hex()}")
    text = note.text.encode("utf-8")
    found = []
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not verifier.verifies(text, signature.value):
            raise NoteError(f"the signature by {signature.name} ({signature.key_id.hex()}) is wrong")
        found.append(signature)
    if not found:
        raise NoteError(_nobody(note, known))
    return tuple(found)


def sign(text: str, signers: Sequence[Signer]) -> Note:
    """A note over `text`, which must end in a newline. Raises NoteError."""
    require_text(text)
    return Note(text, tuple(signer.sign(text) for signer in signers))


def cosign(note: Note, signer: Signer) -> Note:
    """The note with one more signature behind the others."""
    return Note(note.text, (*note.signatures, signer.sign(note.text)))


def require_text(text: str) -> None:
    """Raise NoteError unless `text` may be the text of a note."""
    _text_of(text)
    if not text.endswith("\n"):
        raise NoteError("the text does not end in a newline")


def is_name(name: str) -> bool:
    """Whether `name` may be a key's name: not empty, without spaces, plus signs and control characters."""
    return bool(name) and not any(char.isspace() or char == "+" or char < " " for char in name)


def decode_base64(text: str) -> bytes:
    """Standard base64 (RFC 4648 §4) with its padding, in the one canonical form. Raises ValueError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise ValueError("not base64 in its canonical form")
    return data


def _text_of(data: str | bytes) -> str:
    try:
        raw, text = (data, data.decode("utf-8")) if isinstance(data, bytes) else (data.encode("utf-8"), data)
    except UnicodeError as error:
        raise NoteError(f"not UTF-8: {error}") from error
    if len(raw) > NOTE_MAX_BYTES:
        raise NoteError(f"{len(raw)} bytes, a note has at most {NOTE_MAX_BYTES}")
    if found := _CONTROL.search(text):
        raise NoteError(f"control character {ord(found[0]):#04x} at character {found.start()}")
    return text


def _signature(line: str, number: int) -> Signature:
    name, space, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not space:
        raise NoteError(f"signature line {number}: not an em dash, a name and a signature, with a space between")
    if not is_name(name):
        raise NoteError(f"signature line {number}: {name[:80]!r} is no name of a key")
    try:
        data = decode_base64(encoded)
    except ValueError as error:
        raise NoteError(f"signature line {number}: {error}") from error
    if len(data) <= KEY_ID_BYTES:
        raise NoteError(f"signature line {number}: {len(data)} bytes hold no key id and signature")
    return Signature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


def _nobody(note: Note, known: Iterable[tuple[str, bytes]]) -> str:
    def told(keys: Iterable[tuple[str, bytes]]) -> str:
        named = [f"{name[:80]} ({key_id.hex()})" for name, key_id in keys]
        return ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "") or "nobody"

    by = ((signature.name, signature.key_id) for signature in note.signatures)
    return f"not signed by a key that is trusted: signed by {told(by)}; trusted: {told(known)}"
