"""Proofs to keep beside what they prove (c2sp.org/tlog-proof, `.tlog-proof`): leaf index, inclusion proof, checkpoint.

c2sp.org/tlog-proof@v1
extra BASE64            (may be missing; nobody signed it)
index NUMBER
a hash in base64 per line, from the leaf's sibling upwards
(an empty line)
the signed checkpoint as it is
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from standards.tlog import checkpoint
from standards.tlog.note import NOTE_MAX_BYTES, Verifier, decode_base64
from standards.tlog.proof import PROOF_MAX_HASHES, ProofError, verify_inclusion
from standards.tlog.tree import HASH_BYTES

HEADER = "c2sp.org/tlog-proof@v1"
EXTRA_MAX_BYTES = 65_536  # what goes with one entry, not the entry itself
FILE_MAX_CHARACTERS = NOTE_MAX_BYTES + 2 * EXTRA_MAX_BYTES + 50 * (PROOF_MAX_HASHES + 4)


class ProofFile(msgspec.Struct, frozen=True):
    """A parsed proof, not verified. `signed_checkpoint` is the note as it stands in the file."""

    index: int
    proof: tuple[bytes, ...]
    signed_checkpoint: str
    extra: bytes | None = None

    def __str__(self) -> str:
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(one).decode() for one in self.proof)
        return "\n".join(lines) + "\n\n" + self.signed_checkpoint

    def verify(
        self,
        leaf: bytes,
        *,
        origin: str,
        log: Sequence[Verifier],
        witnesses: Sequence[Verifier] = (),
        quorum: int = 0,
    ) -> checkpoint.Checkpoint:
        """The checkpoint that proves `leaf` (a leaf hash). Raises NoteError, CheckpointError, ProofError."""
        head = checkpoint.opened(self.signed_checkpoint, origin=origin, log=log, witnesses=witnesses, quorum=quorum)
        verify_inclusion(leaf, index=self.index, size=head.size, proof=self.proof, root=head.root)
        return head


def parse(text: str) -> ProofFile:
    """Read a proof. Raises ProofError with the line that is wrong."""
    if len(text) > FILE_MAX_CHARACTERS:
        raise ProofError(f"{len(text)} characters, a proof has at most {FILE_MAX_CHARACTERS}")
    head, empty, signed = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != HEADER:
        raise ProofError(f"line 1: not {HEADER!r}")
    extra = None
    at = 1
    if at < len(lines) and lines[at].startswith("extra "):
        extra = _decode(lines[at].removeprefix("extra "), at)
        if len(extra) > EXTRA_MAX_BYTES:
            raise ProofError(f"line {at + 1}: {len(extra)} bytes of extra data, at most {EXTRA_MAX_BYTES}")
        at += 1
    if at == len(lines) or not lines[at].startswith("index "):
        raise ProofError(f"line {at + 1}: not `index NUMBER`")
    try:
        index = checkpoint.read_count(lines[at].removeprefix("index "), f"line {at + 1}: the index")
    except checkpoint.CheckpointError as error:
        raise ProofError(str(error)) from error
    hashes = lines[at + 1 :]
    if len(hashes) > PROOF_MAX_HASHES:
        raise ProofError(f"line {at + 2}: {len(hashes)} hashes, at most {PROOF_MAX_HASHES}")
    proof = tuple(_hash(one, number) for number, one in enumerate(hashes, start=at + 1))
    if not empty or not signed:
        raise ProofError("no checkpoint behind an empty line")
    return ProofFile(index, proof, signed, extra)


def _hash(text: str, at: int) -> bytes:
    data = _decode(text, at)
    if len(data) != HASH_BYTES:
        raise ProofError(f"line {at + 1}: {len(data)} bytes, a SHA-256 has {HASH_BYTES}")
    return data


def _decode(text: str, at: int) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise ProofError(f"line {at + 1}: {error}") from error
