"""Whose key signed which pack, and whether it might (docs/bundle.md §6, wire.md §4.4).

That a key is a gateway's is proven by its leaf: the ledger recorded it under the gateway's name. Where a key ends is
proven by the pack in which it names its successor, or by the leaf of its revocation; the order of leaves says what came
into the record before. That nothing of this was left out of a bundle cannot be proven by the bundle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from standards import cose
from standards.cose import Sign1
from wire.bundle.finding import FINDINGS_MAX, Finding, pack_name
from wire.bundle.form import Broken, Record
from wire.bundle.stream import Stream, StreamName, Streams
from wire.observation import INT64_MAX
from wire.pack import KEY_BYTES, KeyChange, Pack
from wire.topics import is_gateway_name


class Key(msgspec.Struct, frozen=True):
    """A gateway's key. place: in the list of keys; leaf: where the ledger recorded it."""

    place: int
    gateway: str
    kid: bytes
    public: Ed25519PublicKey
    leaf: int


class Change(msgspec.Struct, frozen=True):
    """A key names its successor: in `stream` it signs nothing from `first_seq` on. leaf: of the pack that says so."""

    stream: bytes
    first_seq: int
    leaf: int


class Revocation(msgspec.Struct, frozen=True):
    """What a revocation's leaf is over; see cloud/registry/keys.py. leaf: its place in the ledger."""

    gateway: str
    kind: str
    subject: str
    from_seq: Annotated[int, msgspec.Meta(ge=1, le=INT64_MAX)] | None
    leaf: int = -1


class Keys:
    """The keys of a bundle. Records of keys and revocations come before those of packs."""

    def __init__(self) -> None:
        self.all: list[Key] = []
        self.revocations: defaultdict[tuple[str, str], list[Revocation]] = defaultdict(list)  # by gateway and key id
        self._by_id: dict[tuple[str, bytes], Key] = {}
        self._publics: dict[bytes, Ed25519PublicKey] = {}
        self._changes: dict[int, Change] = {}  # by the place of the key that ends

    def add(self, record: Record) -> None:
        """Take in a key. Raises Broken."""
        name, zero, raw = record.payload.partition(b"\x00")
        gateway = name.decode("ascii", "replace")
        if not zero or len(raw) != KEY_BYTES or not is_gateway_name(gateway):
            raise Broken(record.name, "is not a gateway's name, a zero byte and a key of 32 bytes")
        public = Ed25519PublicKey.from_public_bytes(raw)
        key = Key(len(self.all), gateway, cose.key_id(public), public, record.leaf)
        if self._by_id.setdefault((gateway, key.kid), key) is not key:
            raise Broken(record.name, f"names key {key.kid.hex()} of gateway {gateway} again")
        if self._publics.setdefault(key.kid, public) != public:
            raise Broken(record.name, f"is another key with the id {key.kid.hex()}: nobody can tell which one signed")
        self.all.append(key)

    def revoke(self, record: Record) -> None:
        """Take in a revocation. Raises Broken."""
        try:
            found = msgspec.json.decode(record.payload, type=Revocation)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Broken(record.name, f"cannot be read: {error}") from error
        if found.kind == "key":
            self.revocations[found.gateway, found.subject].append(msgspec.structs.replace(found, leaf=record.leaf))

    def require_signed(self, message: Sign1, where: str) -> None:
        """Raise Broken unless a key of the bundle signed this; whose it is, is asked when the letter can be read."""
        public = self._publics.get(message.kid)
        if public is None:
            raise Broken(where, f"is signed by key {message.kid.hex()}, which the bundle does not have")
        if not message.is_signed_by(public):
            raise Broken(where, f"the signature by key {message.kid.hex()} is wrong")

    def signer(self, gateway: str, kid: bytes, where: str) -> Key:
        """The key with this id. Raises Broken."""
        key = self._by_id.get((gateway, kid))
        if key is None:
            raise Broken(where, f"is signed by key {kid.hex()}, which the bundle does not have for gateway {gateway}")
        return key

    def note(self, key: Key, pack: Pack, leaf: int) -> None:
        """Take in what a pack says about the key that signed it. The first change in the ledger counts."""
        change: KeyChange | None = pack.key_change
        if change is None:
            return
        before = self._changes.get(key.place)
        if before is None or leaf < before.leaf:
            self._changes[key.place] = Change(pack.stream, change.first_seq, leaf)

    def findings(self, streams: Streams) -> list[Finding]:
        """The packs that were signed by a key which might not, by gateway, stream and number."""
        return list(islice(self._findings(streams), FINDINGS_MAX))

    def _findings(self, streams: Streams) -> Iterator[Finding]:
        for name, stream in streams.by_name.items():
            for at, place in enumerate(stream.signers):
                doubt = self._doubt(self.all[place], name, stream, at, streams)
                if doubt is not None:
                    yield doubt

    def _doubt(self, key: Key, name: StreamName, stream: Stream, at: int, streams: Streams) -> Finding | None:
        seq, leaf, kid = stream.seqs[at], stream.leaves[at], key.kid.hex()
        what = pack_name(*name, seq)
        if leaf < key.leaf:
            return Finding("key_too_late", what, {"kid": kid})
        change = self._changes.get(key.place)
        if change is not None and not _before(change, name, stream, at, streams):
            told: dict[str, str | int] = {"kid": kid, "last": change.first_seq - 1, "stream": change.stream.hex()[:8]}
            return Finding("key_ended", what, told)
        for one in self.revocations.get((key.gateway, kid), ()):
            if one.from_seq is None and leaf > one.leaf:
                return Finding("key_revoked", what, {"kid": kid})
            if one.from_seq is not None and seq >= one.from_seq:  # the leaf does not say of which stream
                return Finding("key_revoked_from", what, {"kid": kid, "first": one.from_seq})
        return None


def _before(change: Change, name: StreamName, stream: Stream, at: int, streams: Streams) -> bool:
    """Whether a number lies before the end of the key that signed it."""
    seq, leaf = stream.seqs[at], stream.leaves[at]
    if name[1] == change.stream:
        return seq < change.first_seq
    if leaf < change.leaf:
        return True
    if seq <= _named_by_successors(change.stream, name, streams):
        return True
    return stream.least_leaf_from(at) < change.leaf  # a later number was there by then


def _named_by_successors(begin: bytes, name: StreamName, streams: Streams) -> int:
    """The last number of a stream that those going on from it name, along the line that ends at `begin`; 0: none."""
    gateway, wanted = name
    at, passed = begin, {begin}
    while (head := streams.heads.get((gateway, at))) is not None and head.head.stream not in passed:
        at = head.head.stream
        passed.add(at)
        if at == wanted:
            return head.head.last_seq
    return 0
