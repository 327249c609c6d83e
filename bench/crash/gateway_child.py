"""Runs the real gateway in a fork of itself and kills it with SIGKILL at a chosen point; see kill.py."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.crash.balance import number_of
from bench.crash.device import CountingOptions, CountingPoller, CountingScanner, Diary
from bench.crash.fuse import Fuse
from bench.crash.nursery import serve
from edge import durable
from edge.agent import Stop, run
from edge.buffer import head as buffer_head
from edge.buffer.base import BufferFull
from edge.buffer.sqlite import SqliteBuffer
from edge.buffer.store import Store
from edge.config import DeviceConfig, load_config
from edge.uplink.mqtt import Connection
from edge.uplink.uplink import Uplink
from wire.observation import Observation
from wire.topics import up_pack

POLLERS = 3
POLL_EVERY_S = 0.004
PACKS = up_pack("").rpartition("/")[2]  # the last word of a topic that carries packs
MIN_FREE_BYTES = 1_000  # as configured
DRAINED_WITHIN_S = 20.0
ENOUGH_S = 4.0  # a point that a life does not reach by then ends it there


class Life(msgspec.Struct, frozen=True):
    """One life of a gateway whose configuration lies in `folder`: die at the `count`-th hit of `phase`.

    Phase `timer` counts milliseconds; `drain` doesn't die: it runs until nothing waits any more, and leaves in order.
    tight: the disk is full every now and then, so that what is unsent has to give way.
    """

    folder: str
    number: int
    phase: str
    count: int
    tight: bool = False


def lay(fuse: Fuse, diary: Diary) -> None:
    """Put hooks around the real parts; each calls the real one."""
    fuse.at_statements()
    fuse.at_file_operations()
    for name, phase in (("append", "commit"), ("seal", "seal"), ("settle", "release"), ("unsent", "publish")):
        _step(Store, name, phase, fuse)
    fuse.around(buffer_head, "replace_file", "head")
    fuse.around(durable, "sync_folder", "head")
    fuse.around(Uplink, "_take_puback", "publish")
    _around_packs(Connection, fuse)
    _note_answers(diary)


def _step(owner: Any, name: str, phase: str, fuse: Fuse) -> None:
    """A step of the buffer's thread: its SQL statements belong to the phase; it also hits before and after."""
    real = getattr(owner, name)

    def step(*given: Any, **named: Any) -> Any:
        fuse.step = phase
        fuse.hit(phase)
        try:
            result = real(*given, **named)
        finally:
            fuse.step = "other"
        fuse.hit(phase)
        return result

    setattr(owner, name, step)


def _around_packs(owner: Any, fuse: Fuse) -> None:
    """Around every publish of a pack; the status is no pack."""
    real = owner.publish

    def publish(link: Any, topic: str, payload: bytes, **named: Any) -> Any:
        packs = topic.endswith(PACKS)
        if packs:
            fuse.hit("publish")
        mid = real(link, topic, payload, **named)
        if packs:
            fuse.hit("publish")
        return mid

    owner.publish = publish


def _note_answers(diary: Diary) -> None:
    real = SqliteBuffer.append

    async def append(buffer: SqliteBuffer, observations: Sequence[Observation]) -> None:
        numbers = [number for each in observations if (number := number_of(each)) is not None]
        try:
            await real(buffer, observations)
        except BufferFull:
            diary.refused(numbers)
            raise
        diary.accepted(numbers)

    SqliteBuffer.append = append  # type: ignore[method-assign]


async def live(life: Life, hit: Callable[[str], None], diary: Diary) -> None:
    """Run the gateway until the fuse burns through, or everything is delivered."""
    folder = Path(life.folder)
    options = CountingOptions(diary, hit)
    devices = [DeviceConfig(f"dev-{n}", CountingPoller, options, POLL_EVERY_S, 1.0) for n in range(POLLERS)]
    devices.append(DeviceConfig("scanner", CountingScanner, options, None, 1.0))
    drains = life.phase == "drain"
    config = load_config(folder / "gateway.toml")
    config = msgspec.structs.replace(config, devices=[] if drains else devices)
    stop = Stop()
    opened = _note_opened()
    running = asyncio.create_task(run(config, stop=stop))
    if drains:
        async with asyncio.timeout(DRAINED_WITHIN_S):
            while not running.done() and not _is_empty(opened):
                await asyncio.sleep(0.01)
        stop.ask()
    await running


def _note_opened() -> list[SqliteBuffer]:
    """The buffers that are opened from now on."""
    opened: list[SqliteBuffer] = []
    real = SqliteBuffer.__aenter__

    async def enter(buffer: SqliteBuffer) -> SqliteBuffer:
        opened.append(await real(buffer))
        return buffer

    SqliteBuffer.__aenter__ = enter  # type: ignore[assignment, method-assign]
    return opened


def _is_empty(opened: list[SqliteBuffer]) -> bool:
    """Whether everything accepted has been sealed and receipted."""
    if not opened:
        return False
    state = opened[0].state()
    return not state.open_observations and not state.unsent_packs


def _scarce(_: Path) -> int:
    """A disk that is full for 20 ms out of 100."""
    return 0 if time.monotonic() % 0.1 < 0.02 else MIN_FREE_BYTES


def run_life(life: Life) -> None:
    """A life until its death, or an orderly end."""
    logging.disable(logging.CRITICAL)
    diary = Diary(Path(life.folder), life.number)
    if life.phase == "drain":
        asyncio.run(live(life, lambda _: None, diary))
        return
    if life.tight:
        SqliteBuffer.__init__.__kwdefaults__["free_bytes"] = _scarce
    fuse = Fuse(life.phase, life.count, enough_s=ENOUGH_S)
    lay(fuse, diary)
    asyncio.run(live(life, fuse.hit, diary))


if __name__ == "__main__":
    serve(Life, run_life)
