"""Runs the real gateway in a fork of itself and kills it with SIGKILL at a chosen point; see kill.py.

A line of standard input is a `Life` as JSON; the answer is a line with the signal that ended it, 0 for an orderly
end. Everything heavy is imported once: a life costs a fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from bench.crash.balance import number_of
from bench.crash.device import CountingOptions, CountingPoller, CountingScanner, Diary
from bench.crash.vfs import TracedFiles, Unreachable
from edge import durable
from edge.agent import Stop, run
from edge.buffer import head as buffer_head
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
DRAINED_WITHIN_S = 20.0
ENOUGH_S = 4.0  # a point that a life does not reach by then ends it there


class Life(msgspec.Struct, frozen=True):
    """One life of a gateway whose configuration lies in `folder`: die at the `count`-th hit of `phase`.

    Phase `timer` counts milliseconds; `drain` doesn't die: it runs until nothing waits any more, and leaves in order.
    """

    folder: str
    number: int
    phase: str
    count: int


class Fuse:
    """Counts hits of one phase, and then the process is gone, at that very instruction."""

    def __init__(self, phase: str, count: int) -> None:
        self.phase = phase
        self._left = count
        self.step = "open"  #: what the worker thread of the buffer is doing

    def hit(self, phase: str) -> None:
        """One more of `phase`. Opening may have fewer statements than that: then death comes with the first commit."""
        if phase == self.phase:
            self._left -= 1
        if self._left <= 0 or (self.phase == "open" and phase == "commit"):
            die()


def die() -> None:
    """No handler, no flush, no farewell."""
    os.kill(os.getpid(), signal.SIGKILL)


def lay(fuse: Fuse, diary: Diary) -> None:
    """Put hooks around the real parts; each calls the real one."""
    connect = sqlite3.connect

    def traced_connect(*given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **named)
        connection.set_trace_callback(lambda _: fuse.hit(fuse.step))
        return connection

    sqlite3.connect = traced_connect  # type: ignore[assignment]
    for name, phase in (("append", "commit"), ("seal", "seal"), ("settle", "release"), ("unsent", "publish")):
        _step(Store, name, phase, fuse)
    _around(buffer_head, "replace_file", "head", fuse)
    _around(durable, "sync_folder", "head", fuse)
    _around_packs(Connection, fuse)
    _around(Uplink, "_take_puback", "publish", fuse)
    _note_accepted(diary)
    try:
        TracedFiles(lambda *_: fuse.hit("io")).install()
    except Unreachable as error:
        if fuse.phase == "io":
            raise SystemExit(str(error)) from error


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


def _around(owner: Any, name: str, phase: str, fuse: Fuse) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def around(*given: Any, **named: Any) -> Any:
        fuse.hit(phase)
        result = real(*given, **named)
        fuse.hit(phase)
        return result

    setattr(owner, name, around)


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


def _note_accepted(diary: Diary) -> None:
    real = SqliteBuffer.append

    async def append(buffer: SqliteBuffer, observations: Sequence[Observation]) -> None:
        await real(buffer, observations)
        diary.accepted([number for each in observations if (number := number_of(each)) is not None])

    SqliteBuffer.append = append  # type: ignore[method-assign]


async def live(life: Life, fuse: Fuse, diary: Diary) -> None:
    """Run the gateway until the fuse burns through, or everything is delivered."""
    folder = Path(life.folder)
    options = CountingOptions(diary, fuse.hit)
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


def _run(life: Life) -> NoReturn:
    logging.disable(logging.CRITICAL)
    fuse = Fuse(life.phase, life.count)
    diary = Diary(Path(life.folder), life.number)
    if life.phase != "drain":
        lay(fuse, diary)
        threading.Timer(life.count / 1000 if life.phase == "timer" else ENOUGH_S, die).start()
    asyncio.run(live(life, fuse, diary))
    os._exit(0)


def main() -> None:
    """Fork once per line."""
    for line in sys.stdin:
        life = msgspec.json.decode(line, type=Life)
        child = os.fork()
        if child == 0:
            try:
                _run(life)
            finally:  # it came back: whatever it raised, nothing of this process goes on in the fork
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
