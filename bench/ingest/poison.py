"""Messages that can be no pack, of 20 kinds: what a broken, old or hostile sender may put on a topic for packs."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Callable
from pathlib import Path

import cbor2
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from bench.ingest.load import Heading, Sender, Shape, write
from cloud.registry.keys import PublicHalf, add_gateway, revoke_key
from standards import cose
from wire.columns import Block
from wire.envelope import ENVELOPE_MAX_BYTES, INFLATED_MAX_BYTES
from wire.observation import ClockState, Stamp
from wire.pack import CONTENT_TYPE, Pack
from wire.topics import up_pack

BOOT = bytes(16)
GOOD, OTHER, REVOKED, STRANGER, MISSPELT = "poison-good", "poison-other", "poison-revoked", "poison-stranger", "Poison!"
KNOWN = (GOOD, OTHER, REVOKED)


class Poison(msgspec.Struct, frozen=True):
    """One message. sender: whose topic it comes on; reason: what the quarantine must say."""

    sender: str
    payload: bytes
    reason: str


class Forger:
    """Makes poison; it has the keys of its gateways."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"poison {seed}")
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"poison").digest())
        self.kid = cose.key_id(self.key.public_key())
        self.stream = bytes(15) + b"\x66"
        self._seq = 0

    @property
    def public_key(self) -> str:
        """The half that the registry gets, base64."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def pack(self, gateway: str = GOOD, **changed: object) -> bytes:
        """The plain bytes of a pack, but for what is changed in it or in its block (`block_…`)."""
        self._seq += 1
        block = Block("room-1/air", "CEL", -2, BOOT, 1_000, 1_760_000_000_000, [0, 10], [self.rng.randrange(9_999), 1])
        of_block = {name[6:]: changed.pop(name) for name in list(changed) if name.startswith("block_")}
        stamp = Stamp(1_760_000_000_000, 2_000, BOOT, ClockState.SYNCED)
        pack = Pack(
            gateway, self.stream, self._seq + 1, bytes(32), stamp, False, [msgspec.structs.replace(block, **of_block)]
        )
        return msgspec.msgpack.encode(msgspec.structs.replace(pack, **changed))

    def sign(self, plain: bytes, *, content_type: str = CONTENT_TYPE, key: Ed25519PrivateKey | None = None) -> bytes:
        """A letter around plain bytes."""
        return self.seal(zlib.compress(plain, 1), content_type=content_type, key=key)

    def seal(self, payload: bytes, *, content_type: str = CONTENT_TYPE, key: Ed25519PrivateKey | None = None) -> bytes:
        """A letter around a payload."""
        signs = key or self.key
        return cose.sign1(payload, content_type=content_type, key=signs, kid=cose.key_id(signs.public_key()))

    def noise(self, size: int) -> bytes:
        """Bytes that mean nothing."""
        return self.rng.randbytes(size)


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _unknown_key(forger: Forger) -> bytes:
    return forger.sign(forger.pack(), key=Ed25519PrivateKey.from_private_bytes(forger.noise(32)))


_Make = Callable[[Forger], bytes]

#: kind → whose topic, what the quarantine says, the bytes
KINDS: dict[str, tuple[str, str, _Make]] = {
    "noise": (GOOD, "malformed", lambda one: one.noise(one.rng.randrange(8, 600))),
    "JSON": (GOOD, "malformed", lambda one: b'[{"series": "a", "value": %d}]' % one.rng.randrange(10**9)),
    "another CBOR item": (GOOD, "malformed", lambda one: cbor2.dumps({1: one.noise(12)})),
    "a letter without an end": (GOOD, "malformed", lambda one: one.sign(one.pack())[: -one.rng.randrange(1, 90)]),
    "bytes behind the end": (GOOD, "malformed", lambda one: one.sign(one.pack()) + one.noise(3)),
    "a changed payload": (GOOD, "bad_signature", lambda one: _flipped(one.sign(one.pack()), -80)),
    "a changed signature": (GOOD, "bad_signature", lambda one: _flipped(one.sign(one.pack()), -9)),
    "an unknown key": (GOOD, "unknown_key", _unknown_key),
    "an unknown gateway": (STRANGER, "unknown_gateway", lambda one: one.sign(one.pack(STRANGER))),
    "a topic of nobody": (MISSPELT, "foreign_topic", lambda one: one.sign(one.pack())),
    "another gateway's name": (OTHER, "foreign_gateway", lambda one: one.sign(one.pack(GOOD))),
    "a revoked key": (REVOKED, "revoked_key", lambda one: one.sign(one.pack(REVOKED))),
    "another kind of letter": (GOOD, "unknown_type", lambda one: one.sign(one.pack(), content_type="text/plain")),
    "a bomb": (GOOD, "too_large", lambda one: one.sign(one.noise(8) + bytes(INFLATED_MAX_BYTES))),
    "no zlib": (GOOD, "malformed", lambda one: one.seal(one.noise(200))),
    "no MessagePack": (GOOD, "malformed", lambda one: one.sign(b"\xc1" + one.noise(200))),
    "seq 0": (GOOD, "invalid", lambda one: one.sign(one.pack(seq=0))),
    "time that runs backwards": (GOOD, "invalid", lambda one: one.sign(one.pack(block_dt_ms=[0, -10]))),
    "runs of 2^40 rows": (GOOD, "invalid", lambda one: one.sign(one.pack(block_quality=[(2**40, 1)]))),
    "more bytes than allowed": (GOOD, "too_large", lambda one: one.noise(ENVELOPE_MAX_BYTES + 1)),
}


def poisons(count: int, seed: int) -> list[Poison]:
    """So many, the kinds in turn, no two alike."""
    forger, kinds = Forger(seed), list(KINDS.values())
    made = []
    for at in range(count):
        sender, reason, make = kinds[at % len(kinds)]
        made.append(Poison(sender, make(forger), reason))
    return made


def admit(conn: Connection, now_ms: int) -> None:
    """Make the gateways known that the kinds need, and revoke one key."""
    forger = Forger(0)
    for name in KNOWN:
        add_gateway(conn, PublicHalf(name, forger.public_key), now_ms)
    revoke_key(conn, REVOKED, forger.kid, from_place=None, reason="stolen", now_ms=now_ms)


def write_file(path: Path, made: list[Poison]) -> None:
    """A load file for the publisher: nothing in it is ever receipted."""
    names = sorted({one.sender for one in made})
    topics = {name: f"coldproof/v1/{name}/up/pack" if name == MISSPELT else up_pack(name) for name in names}
    senders = [Sender(name.strip("!").lower(), topics[name], bytes(16), "") for name in names]
    heading = Heading(Shape(len(names), len(made), 0, 0), senders, receipts=False, payload_bytes=0)
    write(path, heading, ((names.index(one.sender), at, one.payload) for at, one in enumerate(made, start=1)))
