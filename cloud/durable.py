"""Small files that are whole or not there after a power cut: written beside, synced, put in place, folder synced."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_new(path: Path, data: bytes) -> None:
    """Make a file for its owner's eyes only (0600), unless there is one: of two writers at once the first one counts.

    Raises OSError.
    """
    fresh = _write_beside(path, data, 0o600)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass  # somebody was faster: theirs counts
    finally:
        fresh.unlink()
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Put `data` at `path`, whatever was there. Raises OSError."""
    _write_beside(path, data, mode).replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was linked or renamed in the folder is so after a power cut, too. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # 0600 from the first moment
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    return Path(fresh)
