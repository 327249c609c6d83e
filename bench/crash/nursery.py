"""A warm process that forks one child per life: Python and its libraries start once for hundreds of them.

with Nursery("bench.crash.gateway_child") as nursery:       the parent's side
    nursery.begin(life)
    nursery.wait()           the signal that ended it; 0 for an orderly end, negative for an error

if __name__ == "__main__":                                  the child's side
    serve(Life, run)         `run(life)` in a fork; it never has to come back
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import msgspec

ROOT = Path(__file__).parents[2]
ENDED = "ended"

Life = TypeVar("Life", bound=msgspec.Struct)


class Nursery:
    """The parent's side: one module that calls `serve`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", self._module]
        self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(30)
        self._child.stdout.close()

    def begin(self, life: msgspec.Struct) -> None:
        """Start a life."""
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(life) + b"\n")
        self._child.stdin.flush()

    def hear(self) -> list[str]:
        """The next thing the life says, in words; `ended` and how when it is over."""
        assert self._child.stdout is not None
        return self._child.stdout.readline().decode().split()

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


def say(*words: object) -> None:
    """Tell the parent's side; of a fork, too."""
    print(*words, flush=True)
