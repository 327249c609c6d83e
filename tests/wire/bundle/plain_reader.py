"""A second reader of bundles, written from docs/bundle.md alone: it shares no code with wire/ or standards/.

It checks container, checkpoint, proof, leaves, and the signatures of packs; not what packs say of each other.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KINDS = {b"K": b"key", b"R": b"key", b"P": b"pack", b"E": b"event", b"F": b"evidence", b"D": b"decision"}
ORDER = b"SHCVINKRPEFD"


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    first, _, rest = data.partition(b"\n")
    assert first == b"coldproof evidence bundle 1"
    while rest:
        length = int.from_bytes(rest[1:5], "big")
        assert len(rest) >= 5 + length
        yield rest[:1], rest[5 : 5 + length]
        rest = rest[5 + length :]


def split(start: int, end: int) -> int:
    """Behind the largest power of two below the size: RFC 6962 §2.1."""
    size = 1
    while size * 2 < end - start:
        size *= 2
    return start + size


class Proof:
    """The pairs, read in preorder."""

    def __init__(self, pairs: bytes, leaves: list[int]) -> None:
        self.pairs, self.leaves, self.hashes = pairs, leaves, dict[int, bytes]()

    def walk(self, start: int, end: int, expected: bytes) -> None:
        if not any(start <= leaf < end for leaf in self.leaves):
            return
        if end - start == 1:
            self.hashes[start] = expected
            return
        left, right, self.pairs = self.pairs[:32], self.pairs[32:64], self.pairs[64:]
        assert sha256(b"\x01" + left + right) == expected
        middle = split(start, end)
        self.walk(start, middle, left)
        self.walk(middle, end, right)


def checkpoint(note: str, vkeys: list[str]) -> tuple[int, bytes]:
    """Size and root, after each signature was checked."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    for line, vkey in zip(lines.splitlines(), vkeys, strict=True):
        name, key_id, key = vkey.split("+", 2)
        dash, signer, encoded = line.split(" ")
        kind, public = base64.b64decode(key)[:1], base64.b64decode(key)[1:]
        signature = base64.b64decode(encoded)
        assert (dash, signer, signature[:4].hex()) == ("\u2014", name, key_id)
        signed, value = text.encode(), signature[4:]
        if kind == b"\x04":
            signed = b"cosignature/v1\ntime %d\n" % int.from_bytes(value[:8], "big") + signed
            value = value[8:]
        Ed25519PublicKey.from_public_bytes(public).verify(value, signed)
    _, size, root = text.splitlines()
    return int(size), base64.b64decode(root)


def read(data: bytes) -> dict[bytes, int]:
    """How many records of each letter a bundle has; raises anything at all for one that is not intact."""
    found = list(records(data))
    letters = b"".join(letter for letter, _ in found)
    assert sorted(letters, key=ORDER.index) == list(letters)
    assert all(letters.count(one) == 1 for one in (b"S", b"H", b"C", b"I", b"N"))
    bodies = {letter: [body for one, body in found if one == letter] for letter in map(bytes, zip(ORDER, strict=True))}
    size, root = checkpoint(bodies[b"C"][0].decode(), [one.decode() for one in bodies[b"V"]])
    indices = [int.from_bytes(bodies[b"I"][0][at : at + 8], "big") for at in range(0, len(bodies[b"I"][0]), 8)]
    assert indices == sorted(set(indices))
    proof = Proof(bodies[b"N"][0], indices)
    proof.walk(0, size, root)
    assert not proof.pairs
    keys = dict[bytes, bytes]()
    for letter, body in found:
        if letter not in KINDS:
            continue
        leaf, payload = int.from_bytes(body[:8], "big"), body[8:]
        assert sha256(b"\x00" + KINDS[letter] + b"\x00" + sha256(payload)) == proof.hashes.pop(leaf)
        if letter == b"K":
            public = payload.partition(b"\x00")[2]
            keys[sha256(public)[:8]] = public
        if letter == b"P":
            protected, _, inner, signature = cbor2.loads(payload).value
            signed = cbor2.dumps(["Signature1", protected, b"", inner], canonical=True)
            Ed25519PublicKey.from_public_bytes(keys[cbor2.loads(protected)[4]]).verify(signature, signed)
    assert not proof.hashes
    return {letter: len(some) for letter, some in bodies.items() if some}
