"""What is published: the same values as sealed packs and as JSON arrays, made beforehand and kept in a file.

A value wanders by hundredths around a cold room's temperature; devices are polled once a second and answer some
milliseconds late, so that neither values nor times compress better than real ones.

    python -m bench.ingest.load FILE --gateways 20 --packs 6000 --readings 100 --series 20
"""

from __future__ import annotations

import argparse
import base64
import mmap
import random
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire.columns import Block
from wire.envelope import envelope_hash
from wire.observation import ClockState, Stamp
from wire.pack import Pack, seal
from wire.topics import up_pack

EXPONENT = 2
POLL_MS = 1_000
AGE_MS = 600_000  # of the newest reading, when the load is made
LATE_MS = (3, 4, 4, 5, 5, 5, 6, 9)  # how late a device answers
STEPS = (-2, -1, -1, 0, 0, 0, 0, 1, 1, 2)
_HEAD_BYTES = 4
_ELAPSED_MS = 60_000  # since the gateway's boot, at its first reading
_LETTER = 8 + 4  # gateway and seq, size


class Shape(msgspec.Struct, frozen=True):
    """How much, and how it is cut: `packs` in all, each of `readings` in equal parts over `series`."""

    gateways: int = 20
    packs: int = 6_000
    readings: int = 100
    series: int = 20

    @property
    def total(self) -> int:
        """Readings in all."""
        return self.packs * self.readings


class Sender(msgspec.Struct, frozen=True):
    """A gateway of the load. topic: where its letters go; public_key: base64."""

    name: str
    topic: str
    stream: bytes
    public_key: str


class Heading(msgspec.Struct, frozen=True):
    """The beginning of a file. receipts: whether the receiver settles letters by signed receipts."""

    shape: Shape
    senders: list[Sender]
    receipts: bool
    payload_bytes: int


class Letter(msgspec.Struct, frozen=True):
    """One message, still in the file."""

    sender: int
    seq: int
    at: int
    size: int


class LoadFile:
    """A file of letters, open for reading."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = int.from_bytes(self._map[:_HEAD_BYTES], "big")
        self.heading = msgspec.json.decode(self._map[_HEAD_BYTES : _HEAD_BYTES + size], type=Heading)
        self._begin = _HEAD_BYTES + size

    def letters(self) -> Iterator[Letter]:
        """Every letter, in the order they were made: seq by seq, sender by sender."""
        at, end = self._begin, len(self._map)
        while at < end:
            seq = int.from_bytes(self._map[at : at + 6], "big")
            sender = int.from_bytes(self._map[at + 6 : at + 8], "big")
            size = int.from_bytes(self._map[at + 8 : at + _LETTER], "big")
            yield Letter(sender, seq, at + _LETTER, size)
            at += _LETTER + size

    def payload(self, letter: Letter) -> bytes:
        """The bytes to publish."""
        return self._map[letter.at : letter.at + letter.size]


def make(shape: Shape, packs: Path, arrays: Path | None = None, *, prefix: str = "gw", seed: int = 1) -> Heading:
    """Seal the packs of a load into one file, and write the same values as JSON arrays into another."""
    rng = random.Random(seed)
    rows = -(-shape.readings // shape.series) * -(-shape.packs // shape.gateways)
    begin_ms = time.time_ns() // 1_000_000 - _ELAPSED_MS - rows * POLL_MS - AGE_MS  # none is from the future
    gateways = [_Gateway(f"{prefix}-{at + 1}", shape, rng, begin_ms) for at in range(shape.gateways)]
    with packs.open("wb") as sealed, (arrays or Path("/dev/null")).open("wb") as plain:
        # The number of bytes is known in the end: room is kept for it.
        heading = Heading(shape, [one.sender for one in gateways], receipts=True, payload_bytes=10**12)
        _write_heading(sealed, heading)
        peers = [Sender(one.name, f"bench/{one.name}/values", one.stream, "") for one in heading.senders]
        _write_heading(plain, Heading(shape, peers, receipts=False, payload_bytes=10**12))
        sizes = [0, 0]
        for turn in range(shape.packs):
            at = turn % shape.gateways
            blocks = gateways[at].blocks()
            for which, (file, data) in enumerate(
                (
                    (sealed, gateways[at].seal(blocks)),
                    (plain, as_array(gateways[at].sender.name, blocks) if arrays else b""),
                )
            ):
                sizes[which] += len(data)
                seq = turn // shape.gateways + 1
                file.write(seq.to_bytes(6, "big") + at.to_bytes(2, "big") + len(data).to_bytes(4, "big") + data)
        for file, receipts, size in ((sealed, True, sizes[0]), (plain, False, sizes[1])):
            file.seek(0)
            _write_heading(file, Heading(shape, heading.senders if receipts else peers, receipts, size))
    return LoadFile(packs).heading


def write(path: Path, heading: Heading, letters: Iterable[tuple[int, int, bytes]]) -> None:
    """Write a file of letters: (sender, seq, payload)."""
    with path.open("wb") as file:
        _write_heading(file, heading)
        for sender, seq, data in letters:
            file.write(seq.to_bytes(6, "big") + sender.to_bytes(2, "big") + len(data).to_bytes(4, "big") + data)


def as_array(gateway: str, blocks: list[Block]) -> bytes:
    """The readings of a pack as people send them without one: [{"series": …, "time": ms, "value": …}, …]."""
    rows: list[dict[str, object]] = []
    for block in blocks:
        at_ms = block.base_wall_ms
        for step, value in zip(block.dt_ms, block.values, strict=True):
            at_ms += step
            number = None if value is None else value / 10**EXPONENT
            rows.append({"series": f"{gateway}/{block.channel}", "time": at_ms, "value": number})
    return msgspec.json.encode(rows)


class _Gateway:
    def __init__(self, name: str, shape: Shape, rng: random.Random, begin_ms: int) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public = self._key.public_key()
        self._kid = cose.key_id(public)
        stream = rng.randbytes(16)
        self.sender = Sender(name, up_pack(name), stream, base64.b64encode(public.public_bytes_raw()).decode())
        self._rng = rng
        self._boot = rng.randbytes(16)
        whole, more = divmod(shape.readings, shape.series)
        self._rows = [whole + (at < more) for at in range(shape.series)]
        self._units = [("CEL", "air"), ("P1", "humidity")]
        self._values = [400 + rng.randrange(400) for _ in range(shape.series)]
        self._begin_ms, self._elapsed_ms = begin_ms, _ELAPSED_MS
        self._seq, self._prev = 0, None

    def blocks(self) -> list[Block]:
        """The next pack's."""
        blocks, choice = [], self._rng.choice
        for at, rows in enumerate(self._rows):
            unit, point = self._units[at % 2]
            due = self._elapsed_ms + 7 * at
            times = [due + row * POLL_MS + choice(LATE_MS) for row in range(rows)]
            value, values = self._values[at], []
            for _ in range(rows):
                value += choice(STEPS)
                values.append(value)
            self._values[at] = value if 200 < value < 1_000 else 500
            steps = [0, *(later - earlier for earlier, later in pairwise(times))]
            channel = f"room-{at // 2 + 1}/{point}"
            wall_ms = self._begin_ms + times[0]
            blocks.append(Block(channel, unit, EXPONENT, self._boot, times[0], wall_ms, steps, values))
        self._elapsed_ms += max(self._rows) * POLL_MS
        return blocks

    def seal(self, blocks: list[Block]) -> bytes:
        """The next pack of the stream."""
        self._seq += 1
        sealed = Stamp(self._begin_ms + self._elapsed_ms, self._elapsed_ms, self._boot, ClockState.SYNCED)
        pack = Pack(self.sender.name, self.sender.stream, self._seq, self._prev, sealed, False, blocks)
        envelope = seal(pack, key=self._key, kid=self._kid)
        self._prev = envelope_hash(envelope)
        return envelope


def _write_heading(file: BinaryIO, heading: Heading) -> None:
    """Padded to one length, so that it can be written again."""
    data = msgspec.json.encode(heading)
    room = len(msgspec.json.encode(msgspec.structs.replace(heading, payload_bytes=10**12)))
    data += b" " * (room - len(data))
    file.write(len(data).to_bytes(_HEAD_BYTES, "big") + data)


def main() -> None:
    """Make a file of packs."""
    options = argparse.ArgumentParser(prog="python -m bench.ingest.load", description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("--arrays", type=Path, help="the same values as JSON arrays, into this file")
    for name, value in msgspec.structs.asdict(Shape()).items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--prefix", default="gw", help="of the gateways' names")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    shape = Shape(chosen.gateways, chosen.packs, chosen.readings, chosen.series)
    heading = make(shape, chosen.file, chosen.arrays, prefix=chosen.prefix, seed=chosen.seed)
    print(f"{shape.packs:,} packs, {heading.payload_bytes / shape.total:.2f} bytes per reading")


if __name__ == "__main__":
    main()
