"""Runs a busy buffer and kills itself with SIGKILL at a chosen point; forks once per line of standard input.

A line is `folder round kind count`: kind `statement` dies at the count-th SQL statement, `before-head` and
`after-head` around the count-th write of the head file, `timer` after count milliseconds. What was accepted is
appended to `folder/accepted.log` the moment `append` returns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

from edge.buffer import head as buffer_head
from edge.buffer import sqlite as buffer_sqlite
from edge.buffer.base import SealOptions
from edge.buffer.file import open_file
from edge.durable import replace_file
from tests.edge.buffer.material import make, reading, receipt, scan, seal_and_send, stamp


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.left = kind, count

    def hit(self, kind: str) -> None:
        if kind == self.kind:
            self.left -= 1
            if self.left <= 0:
                die()


def arm(countdown: Countdown) -> None:
    def traced(path: Path) -> sqlite3.Connection:
        connection = open_file(path)
        connection.set_trace_callback(lambda _: countdown.hit("statement"))
        return connection

    def around(path: Path, content: bytes, *, mode: int) -> None:
        countdown.hit("before-head")
        replace_file(path, content, mode=mode)
        countdown.hit("after-head")

    buffer_sqlite.open_file = traced
    buffer_head.replace_file = around
    if countdown.kind == "timer":
        threading.Timer(countdown.left / 1000, die).start()


async def live(folder: Path, first: int) -> None:
    log = os.open(folder / "accepted.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    async with make(folder, seal_options=SealOptions(max_readings=7)) as buffer:

        async def feed(number: int) -> None:
            for n in range(first + number, first + 9000, 4):
                await buffer.append([scan(n) if n % 11 == 0 else reading(n, channel=f"dev-{number}/air")])
                os.write(log, f"{n}\n".encode())

        async def seal() -> None:
            for n in range(10_000):
                heads = await seal_and_send(buffer, stamp(first + n))
                if heads and n % 3 == 0:
                    await buffer.settle(receipt(heads[-1].stream, heads[-1].last_seq // 2))
                await asyncio.sleep(0.004)

        await asyncio.gather(seal(), *(feed(number) for number in range(4)))


def main() -> None:
    for line in sys.stdin:
        folder, turn, kind, count = line.split()
        child = os.fork()
        if child == 0:
            arm(Countdown(kind, int(count)))
            asyncio.run(live(Path(folder), int(turn) * 10_000))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1, flush=True)


if __name__ == "__main__":
    main()
