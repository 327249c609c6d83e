"""A busy life of the real buffer, the same for the same seed: what a gateway and a cloud do to it, one step at a time.

Numbers are observations (see balance.py). What the outside world has seen is told to `mark`: `accepted` when
`append` has returned, `left` when a pack was handed out.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.crash.balance import number_of
from edge.buffer import file as buffer_file
from edge.buffer.base import (
    BufferFull,
    BufferOptions,
    PackName,
    ReceiptBeyondHead,
    SealedPack,
    SealOptions,
    StreamUnknown,
)
from edge.buffer.ranges import Ranges, unite
from edge.buffer.sqlite import SqliteBuffer
from edge.keys import Identity
from standards import cose
from wire.observation import ClockState, Observation, Quality, Reading, Scan, Stamp
from wire.receipt import Receipt

GATEWAY = "gw-crash"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x07")
IDENTITY = Identity(GATEWAY, KEY, cose.key_id(KEY.public_key()))
BOOT = bytes(range(16))
START_MS = 1_762_000_000_000
CHANNELS = 4
PACKS_MAX = 200  # of one stream: as many as a look at the buffer gives
CHECKPOINT_PAGES = 24  # of the write-ahead log, in place of 1,000: folding it in is a dangerous moment
MIN_FREE_BYTES, ROOMY_BYTES = 1_000, 2_000  # of the disk
ACTIONS = {
    "append": 40,
    "scan": 8,
    "seal": 18,
    "send": 16,
    "settle": 8,
    "run out of disk": 3,
    "use a command": 1,
    "meet a copy": 1,
    "start again": 1,
}

Mark = Callable[[str, object], None]


class World:
    """What lives on when the gateway dies: the devices' numbers, the cloud's packs, and what was handed out.

    tight: the disk is full now and then, so that the archive gives way, and then what is unsent.
    """

    def __init__(self, rng: random.Random, *, tight: bool = False) -> None:
        self.rng = rng
        self.tight = tight
        self.produced: dict[int, Observation] = {}
        self.received: defaultdict[bytes, Ranges] = defaultdict(list)  # by stream
        self.streams: list[bytes] = []  # in order of birth
        self.moments = 0
        self.free_bytes = ROOMY_BYTES

    @property
    def last_number(self) -> int:
        """The number given out last."""
        return len(self.produced)

    def fork(self, rng: random.Random, received: Iterable[PackName]) -> World:
        """A world of its own in which no more than that had been received; it goes on from there."""
        other = World(rng, tight=self.tight)
        other.produced = dict(self.produced)
        for stream, seq in received:
            other.received[stream] = unite(other.received[stream], [(seq, seq)])
        other.streams = list(self.streams)
        other.moments = self.moments
        return other

    def note_stream(self, stream: bytes) -> None:
        """This one is being written now."""
        if stream not in self.streams:
            self.streams.append(stream)

    def stamp(self) -> Stamp:
        """A second after the one before."""
        self.moments += 1
        return Stamp(START_MS + self.moments * 1000, self.moments * 1000, BOOT, ClockState.SYNCED)

    def reading(self) -> Reading:
        """The next number as a reading."""
        number = len(self.produced) + 1
        channel = f"dev-{number % CHANNELS}/count"
        self.produced[number] = reading = Reading(channel, "C62", number, 0, self.stamp(), Quality.OK)
        return reading

    def scan(self) -> Scan:
        """The next number as a scan, with a code that doesn't compress."""
        number = len(self.produced) + 1
        noise = self.rng.randbytes(self.rng.randint(4, 400)).hex()
        self.produced[number] = scan = Scan("scanner/scan", f"{noise}-{number}", "C1", self.stamp())
        return scan


async def live(folder: Path, world: World, actions: int, mark: Mark) -> None:
    """Do `actions` things to the buffer in `folder`, and close it in order."""
    while actions > 0:
        async with open_buffer(folder, world) as buffer:
            while actions > 0:
                actions -= 1
                (action,) = world.rng.choices(list(ACTIONS), list(ACTIONS.values()))
                if action == "start again":
                    break
                await _DO[action](buffer, world, mark)
                world.note_stream(buffer.state().stream)


def open_buffer(folder: Path, world: World) -> SqliteBuffer:
    """The real buffer, with small packs, and a disk that is full when the world says so."""
    return SqliteBuffer(
        folder / "buffer.sqlite",
        IDENTITY,
        BufferOptions(commit_window_ms=1, min_free_bytes=MIN_FREE_BYTES),
        seal_options=SealOptions(max_readings=12),
        free_bytes=lambda _: world.free_bytes,
    )


async def to_send(buffer: SqliteBuffer, world: World) -> list[SealedPack]:
    """Seal what is open, and give every pack that waits to be sent."""
    await buffer.seal(world.stamp())
    packs = await buffer.unsent(newest_first=True, limit=PACKS_MAX)
    if buffer.state().unsent_packs >= PACKS_MAX:
        raise RuntimeError(f"{PACKS_MAX} packs and more wait: lives are too long for one look")
    await buffer.seal(world.stamp())  # the loss of a pack that was found damaged on the way
    return packs + await buffer.unsent(newest_first=True, limit=PACKS_MAX, exclude=[pack.name for pack in packs])


async def everything(buffer: SqliteBuffer, world: World) -> list[SealedPack]:
    """Seal what is open, and give every pack that is still here."""
    found = {pack.name: pack for pack in await to_send(buffer, world)}
    world.note_stream(buffer.state().stream)
    for stream in {*world.streams, *(name[0] for name in found)}:
        try:
            names = await buffer.held(stream, [(1, 10**6)], limit=10**6)
        except StreamUnknown:
            continue
        found |= {pack.name: pack for pack in await buffer.fetch(names)}
    return list(found.values())


@contextmanager
def frequent_checkpoints() -> Iterator[None]:
    """Let SQLite fold its log into the file often."""
    usual = buffer_file.WAL_PAGES
    buffer_file.WAL_PAGES = CHECKPOINT_PAGES
    try:
        yield
    finally:
        buffer_file.WAL_PAGES = usual


async def _append(buffer: SqliteBuffer, world: World, mark: Mark) -> None:
    """Several pollers at once: one group."""
    groups = [[world.reading() for _ in range(world.rng.randint(1, 5))] for _ in range(world.rng.randint(1, 3))]
    await asyncio.gather(*(_accept(buffer, group, mark) for group in groups))


async def _scan(buffer: SqliteBuffer, world: World, mark: Mark) -> None:
    await _accept(buffer, [world.scan()], mark)


async def _accept(buffer: SqliteBuffer, group: list[Reading] | list[Scan], mark: Mark) -> None:
    try:
        await buffer.append(group)
    except BufferFull:
        return
    mark("accepted", [number_of(each) for each in group])


async def _seal(buffer: SqliteBuffer, world: World, _mark: Mark) -> None:
    await buffer.seal(world.stamp())


async def _send(buffer: SqliteBuffer, world: World, mark: Mark) -> None:
    """Some packs leave; the cloud gets them, or they are lost on the way."""
    limit = world.rng.randint(1, 6)
    for pack in await buffer.unsent(newest_first=world.rng.random() < 0.5, limit=limit):
        mark("left", pack.envelope)
        if world.rng.random() < 0.8:
            mark("received", pack.name)
            world.received[pack.stream] = unite(world.received[pack.stream], [(pack.seq, pack.seq)])


async def _settle(buffer: SqliteBuffer, world: World, _mark: Mark) -> None:
    for stream in sorted(world.received):
        have = world.received[stream]
        through = have[0][1] if have[0][0] == 1 else 0
        letter = Receipt(GATEWAY, stream, through, have[1 if through else 0 :], [], START_MS)
        try:
            await buffer.settle(letter)
        except ReceiptBeyondHead:  # of a stream that has met its copy
            continue


async def _run_out_of_disk(buffer: SqliteBuffer, world: World, mark: Mark) -> None:
    """The archive has to give way, then what is unsent; when nothing may any more, the observation is refused."""
    if not world.tight:
        return
    world.free_bytes = 0
    await _accept(buffer, [world.reading()], mark)
    world.free_bytes = ROOMY_BYTES


async def _use_a_command(buffer: SqliteBuffer, world: World, _mark: Mark) -> None:
    await buffer.use_command(world.moments)


async def _meet_a_copy(buffer: SqliteBuffer, world: World, _mark: Mark) -> None:
    """A receipt for packs we never gave: a new stream begins."""
    state = buffer.state()
    if state.head_seq == 0 or world.rng.random() < 0.5:
        return
    try:
        await buffer.settle(Receipt(GATEWAY, state.stream, state.head_seq + 5, [], [], START_MS))
    except ReceiptBeyondHead:
        return


_DO = {
    "append": _append,
    "scan": _scan,
    "seal": _seal,
    "send": _send,
    "settle": _settle,
    "run out of disk": _run_out_of_disk,
    "use a command": _use_a_command,
    "meet a copy": _meet_a_copy,
}
