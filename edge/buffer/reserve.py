"""Room on the disk for one step of making room: a file of nothing, given up when the disk takes nothing more."""

from __future__ import annotations

import logging
import os
from pathlib import Path

RESERVE_FILE_BYTES = 1024 * 1024  # the pages that one step of thinning writes, several times
ROOM_FACTOR = 4  # it is taken while that many times its size are free, beyond what must stay free

log = logging.getLogger(__name__)


class Reserve:
    """The file `….reserve` beside the buffer. What fails with it is logged: the buffer works without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._here = path.exists()

    def keep(self, free_bytes: int) -> None:
        """Take the room when it is not taken, and `free_bytes` are enough."""
        if self._here or free_bytes < ROOM_FACTOR * RESERVE_FILE_BYTES:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_FILE_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning("no room is kept in reserve: file=%s why=%s", self._path, error)
        self._here = True  # tried: not again before it was given up

    def give_up(self) -> bool:
        """Give the room back to the disk; whether there was any."""
        self._here = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
