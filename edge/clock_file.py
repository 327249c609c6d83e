"""`clock.json` in the data folder: what a later process must know of the clock of this boot, and of boots before.

Written when something changed, before the first row is stamped by the change, and once an hour for the last known
time. A gateway that cannot write it goes on; what it must correct is then known only as long as it runs.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edge.durable import replace_file
from edge.regime import Regime
from wire.pack import Correction

CLOCK_NAME = "clock.json"
FILE_MAX_BYTES = 1024 * 1024  # 128 regimes and as many pending corrections are below 64 KiB

log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What is in the file.

    pending: corrections that the buffer has not taken yet, of this boot or an earlier one.
    last_known_ms: the last time of day that was synchronised, or that the cloud signed while this clock was not; 0
    when there never was one.
    """

    boot_id: bytes
    course: tuple[Regime, ...] = ()
    pending: list[Correction] = []
    last_known_ms: int = 0


class ClockFile:
    """The file, or a memory of its own where there is none (`path` is None)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._told = ""

    def read(self, boot_id: bytes) -> Kept:
        """What is known for this boot; a file that cannot be read is set aside, and says nothing."""
        if self._path is None or not self._path.exists():
            return Kept(boot_id)
        try:
            content = self._path.read_bytes()
            if len(content) > FILE_MAX_BYTES:
                raise ValueError(f"{len(content)} bytes")
            kept = msgspec.json.decode(content, type=Kept)
        except (OSError, ValueError) as error:
            self._set_aside(self._path, error)
            return Kept(boot_id)
        if kept.boot_id != boot_id:  # nobody can say any more what that boot's clock should have shown
            return Kept(boot_id, pending=kept.pending, last_known_ms=kept.last_known_ms)
        return kept

    def write(self, kept: Kept) -> None:
        """Replace the file durably; a failure is logged once, and does not stop the gateway."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, msgspec.json.encode(kept), mode=0o600)
        except OSError as error:
            if str(error) != self._told:
                log.error("the clock's file cannot be written, a restart would forget its steps: %s", error)
            self._told = str(error)
        else:
            self._told = ""

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{path.name}.corrupt")
        log.error("%s cannot be read (%s); it is set aside as %s", path, error, aside.name)
        try:
            path.replace(aside)
        except OSError as problem:
            log.error("%s cannot be set aside: %s", path, problem)
