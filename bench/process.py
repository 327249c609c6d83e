"""What a process costs, by its own account in /proc."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cost(msgspec.Struct, frozen=True):
    """Since the process was started: user + system time, bytes it sent to the disk; rss_mb as it is now."""

    cpu_s: float
    written_bytes: int
    rss_mb: float


def cost(pid: int) -> Cost:
    """The cost of a running process so far. Raises OSError when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return Cost(
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
        written_bytes=next(int(line.split()[1]) for line in lines if line.startswith("write_bytes")),
        rss_mb=round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6, 1),
    )
