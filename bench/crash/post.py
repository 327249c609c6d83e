"""A seeded post for the cloud: packs of several gateways, and what comes along with them.

Among the packs: losses that are declared, clock corrections, packs that come twice, other bytes for a number that is
taken, and messages that are none. A pack stands before its copies and rivals, so that which one is the first is the
same in every order that keeps that.
"""

from __future__ import annotations

import hashlib
import random
from base64 import b64encode
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from bench.crash.audit import PackKey
from bench.crash.life import BOOT, IDENTITY, World
from cloud.registry.keys import PublicHalf, add_gateway
from wire import topics
from wire.envelope import envelope_hash
from wire.pack import Correction, Loss, Pack, build_blocks, seal

READINGS, SCANS = 3, 1  # of each pack
SHUFFLED_OVER = 6  # how far a pack gets from its place


class Letter(msgspec.Struct, frozen=True):
    """One message. pack: which one it is; None for one that must never be stored as a pack."""

    topic: str
    payload: bytes
    pack: PackKey | None

    @property
    def hash(self) -> bytes:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.payload).digest()


class Post(msgspec.Struct, frozen=True):
    """letters: in the order they come. sealed: every pack. declared: numbers that a loss says will not come."""

    gateways: list[str]
    letters: list[Letter]
    sealed: dict[PackKey, bytes]
    declared: set[PackKey]


def post(rng: random.Random, packs: int, *, gateways: int = 2) -> Post:
    """So many packs, evenly of so many gateways, and what comes along."""
    world = World(rng)
    names = [f"gw-{at + 1}" for at in range(gateways)]
    made = [_Stream(world, name) for name in names]
    ordered = [(rng.uniform(0, SHUFFLED_OVER) + turn, made[turn % gateways].next()) for turn in range(packs)]
    places: list[tuple[float, Letter]] = []
    for place, letter in ordered:
        places.append((place, letter))
        kind = rng.random()
        if kind < 0.15:
            places.append((place + rng.uniform(0.1, SHUFFLED_OVER), letter))
        elif kind < 0.22:
            places.append((place + rng.uniform(0.1, SHUFFLED_OVER), made[0].rival(letter)))
        elif kind < 0.32:
            places.append((place, made[0].poison(letter)))
    sealed = {key: envelope for stream in made for key, envelope in stream.sealed.items()}
    declared = {key for stream in made for key in stream.declared}
    return Post(names, [letter for _, letter in sorted(places, key=lambda one: one[0])], sealed, declared)


def admit(conn: Connection, names: Sequence[str], now_ms: int) -> None:
    """Make the gateways known."""
    raw = b64encode(IDENTITY.key.public_key().public_bytes_raw()).decode()
    for name in names:
        add_gateway(conn, PublicHalf(name, raw), now_ms)


class _Stream:
    """One gateway's stream, and whatever else is said in its name."""

    def __init__(self, world: World, gateway: str) -> None:
        self._world = world
        self._gateway = gateway
        self._stream = world.rng.randbytes(16)
        self._last = b""
        self._seq = 0
        self.sealed: dict[PackKey, bytes] = {}
        self.declared: list[PackKey] = []

    def next(self) -> Letter:
        """The next pack; now and then it declares the one before it lost, or corrects the clock."""
        rng, losses, corrections = self._world.rng, [], []
        self._seq += 1
        if self._seq > 1 and rng.random() < 0.08:
            losses = [Loss(self._stream, self._seq, self._seq, None, "lost", "card")]
            self.declared.append((self._gateway, self._stream, self._seq))
            self._last = rng.randbytes(32)
            self._seq += 1
        if rng.random() < 0.08:
            until_ms = self._world.stamp().monotonic_ms
            corrections = [Correction(BOOT, max(0, until_ms - 20_000), until_ms, rng.randint(-5, 5), 20, "ntp")]
        envelope = self._sealed(self._seq, losses, corrections)
        self._last = envelope_hash(envelope)
        key = (self._gateway, self._stream, self._seq)
        self.sealed[key] = envelope
        return Letter(topics.up_pack(self._gateway), envelope, key)

    def rival(self, letter: Letter) -> Letter:
        """Other bytes that claim the number of a pack: a conflict."""
        assert letter.pack is not None
        gateway, stream, seq = letter.pack
        prev = None if seq == 1 else self._world.rng.randbytes(32)
        pack = Pack(gateway, stream, seq, prev, self._world.stamp(), simulated=False)
        return Letter(letter.topic, seal(pack, key=IDENTITY.key, kid=IDENTITY.kid), None)

    def poison(self, letter: Letter) -> Letter:
        """Bytes that are no pack: noise, a pack with a bit the other way, one that was cut off."""
        rng, payload = self._world.rng, bytearray(letter.payload)
        kind = rng.randrange(3)
        if kind == 0:
            payload = bytearray(rng.randbytes(rng.randint(0, 400)))
        elif kind == 1:
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        else:
            del payload[rng.randrange(len(payload)) :]
        return Letter(letter.topic, bytes(payload), None)

    def _sealed(self, seq: int, losses: list[Loss], corrections: list[Correction]) -> bytes:
        pack = Pack(
            gateway=self._gateway,
            stream=self._stream,
            seq=seq,
            prev=None if seq == 1 else self._last,
            sealed=self._world.stamp(),
            simulated=False,
            blocks=build_blocks([self._world.reading() for _ in range(READINGS)]),
            scans=[self._world.scan() for _ in range(SCANS)],
            losses=losses,
            corrections=corrections,
        )
        return seal(pack, key=IDENTITY.key, kid=IDENTITY.kid)
