"""The processes of the demonstration: started in order, watched, killed on purpose, and always cleared away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_WITHIN_S = 10.0
LEAVE_WITHIN_S = 30.0  # a gateway takes 20 s to leave in order, at most
LOG_TAIL_LINES = 15


class StageError(RuntimeError):
    """A process did not start, or ended on its own; carries the last lines it wrote."""


class Stage:
    """Runs `coldproof …` commands and other programs as processes of their own, with logs under `folder`/logs."""

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._commands: dict[str, list[str]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def start(self, name: str, *words: str) -> None:
        """Start `coldproof WORDS…` under a name."""
        self.start_program(name, sys.executable, "-m", "coldproof.main", *words)

    def start_program(self, name: str, *command: str) -> None:
        """Start any other program under a name."""
        self._commands[name] = list(command)
        self.start_again(name)

    def start_again(self, name: str) -> None:
        """Start a process that was killed or stopped, with the same words."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                self._commands[name],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is ours to hand on, in order
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def kill(self, name: str) -> float:
        """SIGKILL a process; returns the host monotonic time at which it was sure to be dead."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        return time.monotonic()

    def stop(self, name: str) -> int:
        """Ask a process to end in order, and wait as long as that takes; returns its exit status."""
        process = self._running.pop(name)
        process.terminate()
        try:
            return process.wait(LEAVE_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def pid(self, name: str) -> int:
        """The id of a running process."""
        return self._running[name].pid

    def runs(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        return name in self._running and self._running[name].poll() is None

    def wait_for(self, what: str, claim: Callable[[], bool], *, within_s: float) -> None:
        """Wait until `claim` holds, while every process lives. Raises StageError."""
        deadline = time.monotonic() + within_s
        while not claim():
            self.check()
            if time.monotonic() > deadline:
                raise StageError(f"{what}: not within {within_s:.0f} s; see {self._logs}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise StageError when a process has ended on its own."""
        for name, process in self._running.items():
            if process.poll() is not None:
                tail = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                raise StageError(f"{name} ended with status {process.returncode}:\n  " + "\n  ".join(tail))

    def clear(self) -> None:
        """End everything, the last one started first."""
        for process in reversed(self._running.values()):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._running.values()):
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
