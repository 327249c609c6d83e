"""What the machine says of this process and of the disk under its data: the costs of recording."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

import msgspec

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class HostState(msgspec.Struct, frozen=True):
    """This process since its start, and the disk now.

    written_bytes: what the kernel sent to block devices for this process; None where it doesn't tell.
    """

    uptime_s: float = 0.0
    cpu_s: float = 0.0
    resident_bytes: int = 0
    written_bytes: int | None = None
    disk_free_bytes: int = 0


class Host:
    """Looks at this process; uptime and written bytes count from when this was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began_s = time.monotonic()
        self._written_before = _written_bytes()

    def look(self) -> HostState:
        """The state now; what cannot be read is left at its default."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        written = _written_bytes()
        return HostState(
            uptime_s=time.monotonic() - self._began_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            resident_bytes=_resident_bytes(),
            written_bytes=None if written is None or self._written_before is None else written - self._written_before,
            disk_free_bytes=_disk_free_bytes(self._folder),
        )


def _written_bytes() -> int | None:
    """proc(5): write_bytes of /proc/self/io, readable for the process itself."""
    try:
        lines = Path("/proc/self/io").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


def _resident_bytes() -> int:
    """proc(5): the second number of /proc/self/statm, in pages."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _disk_free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
