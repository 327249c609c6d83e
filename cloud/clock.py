"""What time it is, as one function that everything in the cloud is handed: `Now`, UTC milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from wire.simtime import SharedSimTime

Now = Callable[[], int]


def system_now_ms() -> int:
    """The wall clock of this machine."""
    return time.time_ns() // 1_000_000


def simulated_now(path: Path) -> Now:
    """The clock of a simulation, read from the file all its processes share. Raises SimTimeError."""
    shared = SharedSimTime(path)
    return lambda: int(shared.now_ms())
