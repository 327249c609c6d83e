"""Observations, identities and receipts for the buffer's tests. Reading n carries mantissa n, so that each is known."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.buffer.base import Buffer, BufferOptions, SealedPack, SealOptions
from edge.buffer.sqlite import SqliteBuffer
from edge.keys import Identity
from standards import cose
from wire.observation import ClockState, Observation, Quality, Reading, Scan, Stamp
from wire.pack import Pack, StreamHead, observations, unseal
from wire.receipt import Receipt

BOOT = bytes(range(16))
START_MS = 1_762_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
QUICK = BufferOptions(commit_window_ms=5)


def identity(name: str = "gw-1", key: Ed25519PrivateKey = KEY) -> Identity:
    return Identity(name, key, cose.key_id(key.public_key()))


def stamp(n: int, *, boot: bytes = BOOT, wall_step_ms: int = 0) -> Stamp:
    return Stamp(START_MS + n * 1000 + wall_step_ms, n * 1000, boot, ClockState.SYNCED)


def reading(n: int, channel: str = "room-1/air", quality: Quality = Quality.OK, boot: bytes = BOOT) -> Reading:
    return Reading(channel, "CEL", n, -2, stamp(n, boot=boot), quality)


def scan(n: int) -> Scan:
    return Scan("scanner-1/scan", f"code-{n}", "C1", stamp(n))


def make(
    folder: Path, *, options: BufferOptions = QUICK, seal_options: SealOptions | None = None, **named: object
) -> SqliteBuffer:
    """A buffer in `folder`, with a short commit window."""
    who = named.pop("identity", None) or identity()
    return SqliteBuffer(folder / "buffer.db", who, options, seal_options=seal_options, **named)  # type: ignore[arg-type]


def receipt(stream: bytes, through: int, *ranges: tuple[int, int], refused: object = ()) -> Receipt:
    return Receipt("gw-1", stream, through, list(ranges), list(refused), START_MS)  # type: ignore[call-overload]


async def seal_and_send(buffer: Buffer, at: Stamp) -> list[StreamHead]:
    """Seal, and hand the fresh packs out as an uplink would; their heads."""
    heads = await buffer.seal(at)
    await buffer.fetch([(head.stream, head.last_seq) for head in heads])
    return heads


async def everything(buffer: Buffer) -> list[SealedPack]:
    """Every unsent pack, oldest first; up to 150."""
    packs: list[SealedPack] = []
    while more := await buffer.unsent(newest_first=False, limit=50, exclude={pack.name for pack in packs}):
        packs += more
        assert len(packs) <= 150
    return packs


def open_pack(sealed: SealedPack) -> Pack:
    message, pack = unseal(sealed.envelope)
    assert message.is_signed_by(KEY.public_key())
    return pack


def contents(packs: list[SealedPack]) -> Counter[Observation]:
    """All observations of the packs, counted."""
    return Counter(observation for sealed in packs for _, observation in observations(open_pack(sealed)))


def check_chain(packs: list[SealedPack]) -> None:
    """Seqs of one stream contiguous from the first on, each naming the hash before."""
    for before, after in pairwise(packs):
        assert after.stream == before.stream
        assert after.seq == before.seq + 1
        assert open_pack(after).prev == before.hash
