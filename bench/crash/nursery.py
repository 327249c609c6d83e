"""A warm process that forks one child per life: Python and its libraries start once for hundreds of them.

with Nursery("bench.crash.gateway_child") as nursery:       the parent's side
    nursery.begin(life)
    nursery.wait()           the signal that ended it; 0 for an orderly end, negative for an error

if __name__ == "__main__":                                  the child's side
    serve(Life, run)         `run(life)` in a fork; it never has to come back
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import msgspec

ROOT = Path(__file__).parents[2]
ENDED = "ended"
HEARS_WITHIN_S = 60.0  # the longest silence: no life keeps to itself for as long, and no death takes it
PIPE_BYTES = 65_536


class NurserySilent(RuntimeError):
    """Nothing was heard for far too long; says what its processes were doing. They are gone by then."""


Life = TypeVar("Life", bound=msgspec.Struct)


class Nursery:
    """The parent's side: one module that calls `serve`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", self._module]
        self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._heard = b""
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(HEARS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._give_up()
        self._child.stdout.close()

    @property
    def pid(self) -> int:
        """Of the warm process."""
        return self._child.pid

    def begin(self, life: msgspec.Struct) -> None:
        """Start a life."""
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(life) + b"\n")
        self._child.stdin.flush()

    def hear(self) -> list[str]:
        """The next thing the life says, in words; `ended` and how when it is over; nothing when the nursery has ended.

        Raises NurserySilent after HEARS_WITHIN_S.
        """
        assert self._child.stdout is not None
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._child.stdout], [], [], HEARS_WITHIN_S)
            if not ready:
                seen = self._give_up()
                raise NurserySilent(f"{self._module} was silent for {HEARS_WITHIN_S:.0f} s, then killed:\n{seen}")
            read = os.read(self._child.stdout.fileno(), PIPE_BYTES)
            if not read:
                return []
            self._heard += read
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode().split()

    def _give_up(self) -> str:
        """Kill the nursery and its children; what each of their threads was doing."""
        family = [self._child.pid, *_children(self._child.pid)]
        seen = "\n".join(line for pid in family for line in _threads(pid))
        for pid in reversed(family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return seen

    def wait(self) -> int:
        """How the life ended, whatever it said before."""
        while (words := self.hear()) and words[0] != ENDED:
            continue
        if not words:
            raise RuntimeError(f"{self._module} itself has ended")
        return int(words[1])


def serve(kind: type[Life], run: Callable[[Life], None]) -> None:
    """Fork once per line of standard input; say how each fork ended."""
    for line in sys.stdin:
        life = msgspec.json.decode(line, type=kind)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(life)
                status = 0
            finally:  # whatever it raised: nothing of this process goes on in the fork
                if status:
                    traceback.print_exc()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        say(ENDED, os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status))


def _children(pid: int) -> list[int]:
    """The processes whose parent this one is, and theirs."""
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(each.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(each.parent.name)
                found += [child, *_children(child)]
    return found


def _threads(pid: int) -> list[str]:
    """A line per thread: its state, where in the kernel it waits, and what signals wait for it."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("[0-9]*")):
        with contextlib.suppress(OSError):
            state = task.joinpath("stat").read_text().rpartition(")")[2].split()[0]
            status = dict(line.split(":\t", 1) for line in task.joinpath("status").read_text().splitlines())
            waits = task.joinpath("wchan").read_text()
            call = task.joinpath("syscall").read_text().split()[0] if task.joinpath("syscall").exists() else "?"
            pending = f"{status.get('SigPnd', '?')}/{status.get('ShdPnd', '?')}"
            lines.append(f"process {pid} thread {task.name}: {state}, in {waits} (call {call}), pending {pending}")
    return lines


def say(*words: object) -> None:
    """Tell the parent's side; of a fork, too.

    In one write, which a pipe takes whole: a fork may be killed at any moment, and half a word of it would become one
    with the next word of the nursery.
    """
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())
