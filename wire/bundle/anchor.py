"""The signed checkpoint of a bundle, and whose word it is (docs/bundle.md §5, §8). Pure.

A bundle brings the keys it was signed with, so it can only be consistent with itself: whoever makes up a ledger can
make up its keys. Whose ledger it is, is known to him alone who got its key another way.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from standards.tlog import note
from standards.tlog.checkpoint import CheckpointError, parse
from standards.tlog.key import COSIGNATURE_V1, ED25519, KeyTextError, VerifierKey, cosigned_at_s, parse_vkey
from wire.bundle.form import LEAVES_MAX, Broken


class Witness(msgspec.Struct, frozen=True):
    """Who saw the checkpoint as the largest one of its log, and when (POSIX time)."""

    vkey: str
    at_s: int


class Ledger(msgspec.Struct, frozen=True):
    """A checkpoint whose signatures all hold. vkeys: the log's, as a bundle brings them; two while one takes over."""

    origin: str
    size: int
    root: bytes
    vkeys: list[str]
    witnesses: list[Witness]


def ledger(checkpoint: bytes, vkeys: Sequence[bytes], where: str) -> Ledger:
    """The checkpoint of a bundle: signed once by each of the keys, in their order, and by nobody else. Raises Broken.

    The log's keys come first, those of witnesses behind them.
    """
    try:
        keys = [parse_vkey(one.decode()) for one in vkeys]
        found = note.parse(checkpoint)
        head = parse(found.text)
    except (KeyTextError, note.NoteError, CheckpointError, UnicodeDecodeError) as error:
        raise Broken(where, str(error)) from error
    logs = [key for key in keys if key.kind == ED25519]
    watching = [key for key in keys if key.kind == COSIGNATURE_V1]
    if not logs or keys != [*logs, *watching]:
        raise Broken(where, "its keys are not those of a log and then those of witnesses")
    if str(found).encode() != checkpoint:
        raise Broken(where, "is not written in the one form it must have")
    if head.size < 1:
        raise Broken(where, "is of an empty ledger, which proves nothing")
    named = [(one.name, one.key_id) for one in found.signatures]
    if named != [(key.name, key.key_id) for key in keys] or len(set(named)) != len(named):
        raise Broken(where, "its signatures are not those of the keys in the bundle, each once and in their order")
    for key in logs:
        if key.name != head.origin:
            raise Broken(where, f"is of the ledger {head.origin[:80]!r}, and signed by {key.name[:80]!r}")
    text = found.text.encode()
    for key, signature in zip(keys, found.signatures, strict=True):
        if not key.verifies(text, signature.value):
            raise Broken(where, f"the signature by {key.name} ({key.key_id.hex()}) is wrong")
    behind = zip(watching, found.signatures[len(logs) :], strict=True)
    witnesses = [Witness(str(key), cosigned_at_s(one)) for key, one in behind]
    return Ledger(head.origin, head.size, head.root, [str(key) for key in logs], witnesses)


def is_trusted(found: Ledger, trusted: Sequence[VerifierKey]) -> bool:
    """Whether one of the log's keys is among those the reader brought."""
    return any(parse_vkey(one) in trusted for one in found.vkeys)


def trusted_witnesses(found: Ledger, trusted: Sequence[VerifierKey]) -> list[Witness]:
    """The witnesses among those whose keys the reader brought."""
    return [one for one in found.witnesses if parse_vkey(one.vkey) in trusted]


def indices(body: bytes, where: str) -> list[int]:
    """The leaves that a bundle proves, as its list has them. Raises Broken."""
    count, rest = divmod(len(body), 8)
    if rest or not 1 <= count <= LEAVES_MAX:
        raise Broken(where, f"has {len(body)} bytes, not 8 for each of 1 to {LEAVES_MAX} leaves")
    return [int.from_bytes(body[at : at + 8], "big") for at in range(0, len(body), 8)]


def encode_indices(leaves: Sequence[int]) -> bytes:
    """The body of the list of leaves."""
    return b"".join(one.to_bytes(8, "big") for one in leaves)


def root_text(root: bytes) -> str:
    """A root as checkpoints write it."""
    return base64.b64encode(root).decode()
