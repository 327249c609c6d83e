"""What a log asks of a witness, and what a witness may answer (c2sp.org/tlog-witness): `add-checkpoint`.

    old SIZE
    a hash in base64 per line: the consistency proof from SIZE
    (an empty line)
    the signed checkpoint as it is

`consider` is the whole of a witness but its memory: the caller holds the lock, keeps what it says is seen now before
anybody gets the cosignature, and signs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence

import msgspec

from standards.tlog import checkpoint, note
from standards.tlog.checkpoint import CheckpointError
from standards.tlog.note import NoteError
from standards.tlog.proof import ProofError, verify_consistency
from standards.tlog.tree import EMPTY_ROOT, HASH_BYTES

PROOF_MAX_LINES = 63  # c2sp.org/tlog-witness
REQUEST_MAX_BYTES = 64 * 1024  # a proof of 63 lines has 3 KiB, a note with 100 signatures some 15
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"


class RequestError(ValueError):
    """The bytes are no request; `str()` says where and why."""


class AddCheckpoint(msgspec.Struct, frozen=True):
    """A request, not verified: `signed` is the note, `proof` leads to it from the tree of `old_size` leaves."""

    old_size: int
    proof: tuple[bytes, ...]
    signed: str

    def to_bytes(self) -> bytes:
        """The body of the request."""
        lines = [f"old {self.old_size}", *(base64.b64encode(one).decode() for one in self.proof), "", self.signed]
        return "\n".join(lines).encode("utf-8")


class Seen(msgspec.Struct, frozen=True):
    """The largest tree of a log that a witness has cosigned."""

    size: int = 0
    root: bytes = EMPTY_ROOT


class Refusal(msgspec.Struct, frozen=True):
    """An HTTP status and what to say with it. A conflict says the size the witness knows, and nothing else."""

    status: int
    body: str
    media_type: str = TEXT_TYPE


class Continued(msgspec.Struct, frozen=True):
    """The checkpoint continues what was seen: keep `seen`, then cosign `text`."""

    origin: str
    seen: Seen
    text: str


def parse(data: bytes) -> AddCheckpoint:
    """Read a request. Raises RequestError."""
    if len(data) > REQUEST_MAX_BYTES:
        raise RequestError(f"{len(data)} bytes, a request has at most {REQUEST_MAX_BYTES}")
    head, empty, signed = data.partition(b"\n\n")
    if not empty:
        raise RequestError("no empty line before the checkpoint")
    try:
        first, *hashes = head.decode("ascii").split("\n")
        text = signed.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"not text: {error.reason}") from error
    if not first.startswith("old "):
        raise RequestError("line 1: not `old SIZE`")
    if len(hashes) > PROOF_MAX_LINES:
        raise RequestError(f"{len(hashes)} lines of proof, at most {PROOF_MAX_LINES}")
    try:
        old_size = checkpoint.read_count(first.removeprefix("old "), "line 1: the size")
    except CheckpointError as error:
        raise RequestError(str(error)) from error
    return AddCheckpoint(old_size, tuple(_hash(line, at) for at, line in enumerate(hashes, start=2)), text)


def consider(
    data: bytes, *, logs: Mapping[str, Sequence[note.Verifier]], seen: Callable[[str], Seen]
) -> Continued | Refusal:
    """What a witness of these logs (keys by origin) answers, given the largest tree it has cosigned of an origin."""
    try:
        request = parse(data)
        signed = note.parse(request.signed)
        head = checkpoint.parse(signed.text)
    except (RequestError, NoteError, CheckpointError) as error:
        return Refusal(400, f"{error}\n")
    if head.origin not in logs:
        return Refusal(404, "this witness does not know the origin\n")
    try:
        note.verify(signed, logs[head.origin])
    except NoteError as error:
        return Refusal(403, f"{error}\n")
    if request.old_size > head.size:
        return Refusal(400, f"old {request.old_size} is beyond the checkpoint's {head.size}\n")
    before = seen(head.origin)
    if request.old_size != before.size:
        return _conflict(before)
    if request.old_size == head.size and head.root != before.root:
        return _conflict(before)
    try:
        _require_growth(before, head, request.proof)
    except ProofError as error:
        return Refusal(422, f"{error}\n")
    return Continued(head.origin, Seen(head.size, head.root), signed.text)


def _require_growth(before: Seen, head: checkpoint.Checkpoint, proof: Sequence[bytes]) -> None:
    if before.size == 0:  # nothing can be proven about an empty tree: the first checkpoint is taken as it is
        if proof:
            raise ProofError(f"proof: {len(proof)} hashes; from nothing there is none")
        return
    verify_consistency(size1=before.size, size2=head.size, root1=before.root, root2=head.root, proof=proof)


def _conflict(before: Seen) -> Refusal:
    return Refusal(409, f"{before.size}\n", SIZE_TYPE)


def _hash(line: str, number: int) -> bytes:
    try:
        found = note.decode_base64(line)
    except ValueError as error:
        raise RequestError(f"line {number}: {error}") from error
    if len(found) != HASH_BYTES:
        raise RequestError(f"line {number}: {len(found)} bytes, a SHA-256 has {HASH_BYTES}")
    return found
