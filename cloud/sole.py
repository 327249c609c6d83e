"""One `serve` per data folder: two would push each other off the broker and do every chore twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud.errors import Fatal


@contextmanager
def sole(data_dir: Path) -> Iterator[None]:
    """Keep every other `serve` out of a data folder, until the end or the death of this process. Raises Fatal."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Fatal(
            f"{data_dir}: another `coldproof cloud serve` runs on this folder; stop that one first, "
            "or give this one a data_dir of its own"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
