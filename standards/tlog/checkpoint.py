"""Checkpoints (c2sp.org/tlog-checkpoint): a log's origin, size and root, as the text of a signed note.

    ORIGIN
    SIZE in decimal
    ROOT in base64
    any extension lines

`opened` is the whole check of a checkpoint that came from outside: origin, the log's own signature, and a quorum of
witnesses where one is asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from standards.tlog import note
from standards.tlog.tree import HASH_BYTES, SIZE_MAX

_SIZE_MAX_DIGITS = len(str(SIZE_MAX))


class CheckpointError(ValueError):
    """The text is not a checkpoint's, or not the one expected; `str()` says where and why."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A log's head: `root` is the RFC 6962 root over its first `size` leaves."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text to sign. Raises CheckpointError, NoteError for values that no checkpoint can have."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        made = "".join(f"{line}\n" for line in lines)
        note.require_text(made)
        if parse(made) != self:
            raise CheckpointError("origin or extension: a line with an end inside")
        return made


def parse(text: str, *, root_bytes: int | None = HASH_BYTES) -> Checkpoint:
    """Read a checkpoint's text; a root must have `root_bytes`, None for any number. Raises CheckpointError."""
    if not text.endswith("\n"):
        raise CheckpointError("the text does not end in a newline")
    lines = text[:-1].split("\n")
    if len(lines) < 3:
        raise CheckpointError(f"{len(lines)} lines, a checkpoint has three at least: origin, size, root")
    origin, size, root, *extensions = lines
    if not origin:
        raise CheckpointError("line 1: the origin is empty")
    if "" in extensions:
        raise CheckpointError(f"line {lines.index('', 3) + 1}: an empty extension line")
    try:
        decoded = note.decode_base64(root)
    except ValueError as error:
        raise CheckpointError(f"line 3: the root is {error}") from error
    if root_bytes is not None and len(decoded) != root_bytes:
        raise CheckpointError(f"line 3: the root has {len(decoded)} bytes, a SHA-256 has {root_bytes}")
    return Checkpoint(origin, read_count(size, "line 2: the size"), decoded, tuple(extensions))


def opened(
    data: str | bytes,
    *,
    origin: str | None,
    log: Sequence[note.Verifier],
    witnesses: Sequence[note.Verifier] = (),
    quorum: int = 0,
) -> Checkpoint:
    """The checkpoint in a note that one of the log's keys signed and at least `quorum` of the witnesses.

    `origin` is what the checkpoint must name; None accepts any, for callers that chose `log` by it.
    Raises NoteError, CheckpointError.
    """
    found = note.parse(data)
    note.verify(found, log)
    head = parse(found.text)
    if origin is not None and head.origin != origin:
        raise CheckpointError(f"line 1: the origin is {head.origin[:80]!r}, expected {origin!r}")
    if quorum:
        by = {(one.name, one.key_id) for one in note.verify(found, witnesses)}
        if len(by) < quorum:
            raise CheckpointError(f"cosigned by {len(by)} of the witnesses, {quorum} are needed")
    return head


def read_count(text: str, where: str) -> int:
    """A size or index in decimal, without sign or leading zero, at most SIZE_MAX. Raises CheckpointError."""
    plain = text.isascii() and text.isdecimal() and len(text) <= _SIZE_MAX_DIGITS
    if not plain or (text[0] == "0" and text != "0") or int(text) > SIZE_MAX:
        raise CheckpointError(f"{where} is {text[:30]!r}, not a number 0 … {SIZE_MAX} in plain decimal")
    return int(text)
