"""The lines of `coldproof ledger check`: a claim about a ledger in, whether it is proven out.

    {"type": "inclusion", "leaf_hash", "index", "size", "proof": […], "root"}
    {"type": "consistency", "size1", "size2", "root1", "root2", "proof": […]}
    {"type": "note", "text", "vkeys": […]}

Hashes are in hex or base64. Every line that is not empty has one answer, in order: `{"ok": true}`, or `{"ok": false,
"why": …}` with the number of the line, the member and what is wrong with it. Other members are ignored. Nothing is
believed that the line does not prove: what cannot be read is not ok.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec

from coldproof.filter_lines import bounded_lines
from standards.tlog import note
from standards.tlog.key import KeyTextError, VerifierKey, parse_vkey
from standards.tlog.proof import PROOF_MAX_HASHES, ProofError, verify_consistency, verify_inclusion
from standards.tlog.tree import HASH_BYTES, SIZE_MAX

LINE_MAX_BYTES = 3 * note.NOTE_MAX_BYTES + 256 * 1024  # the largest note, two-byte letters escaped to six, and its keys
VKEYS_MAX = note.SIGNATURES_MAX

_Claim = dict[str, Any]


class LineError(ValueError):
    """A line is no claim that can be checked; `str()` says which member is wrong, and how."""


def answers(stream: BinaryIO) -> Iterator[bytes]:
    """One JSON object for each line that is not empty, in order."""
    for number, line in enumerate(bounded_lines(stream, limit=LINE_MAX_BYTES), start=1):
        if isinstance(line, int):
            why: str | None = f"a line of {line} bytes, the limit is {LINE_MAX_BYTES}"
        elif not line.strip():
            continue
        else:
            why = refusal(line)
        yield msgspec.json.encode({"ok": True} if why is None else {"ok": False, "why": f"line {number}: {why}"})


def refusal(line: bytes) -> str | None:
    """Why a line's claim is not proven, None when it is."""
    try:
        claim = _claim(line)
        _CHECKS[claim["type"]](claim)
    except (LineError, ProofError, note.NoteError) as error:
        return str(error)
    return None


def _inclusion(claim: _Claim) -> None:
    verify_inclusion(
        _hash(_member(claim, "leaf_hash"), "leaf_hash"),
        index=_count(claim, "index"),
        size=_count(claim, "size"),
        proof=_proof(claim),
        root=_hash(_member(claim, "root"), "root"),
    )


def _consistency(claim: _Claim) -> None:
    verify_consistency(
        size1=_count(claim, "size1"),
        size2=_count(claim, "size2"),
        root1=_hash(_member(claim, "root1"), "root1"),
        root2=_hash(_member(claim, "root2"), "root2"),
        proof=_proof(claim),
    )


def _note(claim: _Claim) -> None:
    text = _member(claim, "text")
    if not isinstance(text, str):
        raise LineError(f"text: {_kind(text)}, a string is needed")
    keys = _vkeys(_member(claim, "vkeys"))
    try:
        note.verify(note.parse(text), keys)
    except note.NoteError as error:
        raise LineError(f"text: {error}") from error


_CHECKS: dict[str, Callable[[_Claim], None]] = {"inclusion": _inclusion, "consistency": _consistency, "note": _note}


def _claim(line: bytes) -> _Claim:
    try:
        value = msgspec.json.decode(line)
        json.loads(line, object_pairs_hook=_members)  # for what msgspec does not see; it is the stricter otherwise
    except LineError:
        raise
    except (msgspec.DecodeError, ValueError) as error:
        raise LineError(f"no JSON: {error}") from error
    except RecursionError as error:
        raise LineError("no JSON that is meant: too deep") from error
    if not isinstance(value, dict):
        raise LineError(f"{_kind(value)}, a JSON object is needed")
    kind = _member(value, "type")
    if not isinstance(kind, str) or kind not in _CHECKS:
        told = repr(kind[:40]) if isinstance(kind, str) else _kind(kind)
        raise LineError(f"type: {told}, known: {', '.join(_CHECKS)}")
    return value


def _members(pairs: list[tuple[str, Any]]) -> _Claim:
    """The members of an object, each of which stands once: other programs would read another one of two."""
    found: _Claim = {}
    for name, value in pairs:
        if name in found:
            raise LineError(f"{name[:40]!r}: a member that stands twice")
        found[name] = value
    return found


def _member(claim: _Claim, name: str) -> Any:
    if name not in claim:
        raise LineError(f"{name}: missing")
    return claim[name]


def _count(claim: _Claim, name: str) -> int:
    value = _member(claim, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise LineError(f"{name}: {_kind(value)}, a whole number is needed")
    if not 0 <= value <= SIZE_MAX:
        raise LineError(f"{name}: not within 0 … {SIZE_MAX}")
    return value


def _proof(claim: _Claim) -> list[bytes]:
    """The hashes of `proof`; null stands for none of them, as other tools write it."""
    value = _member(claim, "proof")
    if value is None:
        return []
    if not isinstance(value, list):
        raise LineError(f"proof: {_kind(value)}, an array of hashes is needed")
    if len(value) > PROOF_MAX_HASHES:
        raise LineError(f"proof: {len(value)} hashes, no proof has more than {PROOF_MAX_HASHES}")
    return [_hash(one, f"proof[{at}]") for at, one in enumerate(value)]


def _hash(value: Any, where: str) -> bytes:
    """A SHA-256 in hex or base64: their lengths, 64 and 44, tell them apart."""
    if not isinstance(value, str):
        raise LineError(f"{where}: {_kind(value)}, a SHA-256 in hex or base64 is needed")
    try:
        found = _from_hex(value) if len(value) == 2 * HASH_BYTES else note.decode_base64(value)
    except ValueError as error:
        raise LineError(f"{where}: {error}; a SHA-256 has 64 characters in hex, 44 in base64") from error
    if len(found) != HASH_BYTES:
        raise LineError(f"{where}: {len(found)} bytes, a SHA-256 has {HASH_BYTES}")
    return found


def _from_hex(text: str) -> bytes:
    if not text.isascii() or not text.isalnum():  # bytes.fromhex forgives spaces
        raise ValueError("not hex")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ValueError("not hex") from error


def _vkeys(value: Any) -> list[VerifierKey]:
    if not isinstance(value, list):
        raise LineError(f"vkeys: {_kind(value)}, an array of verifier keys is needed")
    if not value:
        raise LineError("vkeys: empty, one key at least is needed")
    if len(value) > VKEYS_MAX:
        raise LineError(f"vkeys: {len(value)} keys, at most {VKEYS_MAX}")
    keys = []
    for at, one in enumerate(value):
        if not isinstance(one, str):
            raise LineError(f"vkeys[{at}]: {_kind(one)}, a verifier key is needed")
        try:
            keys.append(parse_vkey(one))
        except KeyTextError as error:
            raise LineError(f"vkeys[{at}]: {error}") from error
    return keys


def _kind(value: Any) -> str:
    if isinstance(value, float):
        return "a number that is not whole"
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number"}
    return names.get(type(value), "null")
