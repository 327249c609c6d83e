"""A bundle on its way into a file: beside it first, so that half a bundle never has the name of a whole one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import typer

from cloud.errors import Rejected
from coldproof.outcome import printable
from wire.bundle.examine import Content

TOLD_MAX = 20  # findings; the bundle's summary has more

Make = Callable[[BinaryIO], Content]


def save(path: Path, make: Make) -> Content:
    """Write a bundle to `path`, which is replaced at the end; safe on the disk when this returns. Raises Rejected."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            content = make(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise Rejected(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        beside.unlink(missing_ok=True)
    return content


def tell(path: Path, content: Content) -> None:
    """Say what was written, what is missing in it, and what is wrong."""
    size = path.stat().st_size
    counts = ", ".join(f"{many} × {name}" for name, many in content.counts.items() if many)
    typer.echo(f"{path}: {size} bytes; {counts}; {content.readings} readings")
    for one in content.missing[:TOLD_MAX]:
        typer.echo(printable(f"missing: {one.said('en')}"))
    if len(content.missing) > TOLD_MAX:
        typer.echo(f"missing: … and {len(content.missing) - TOLD_MAX} more")
    for one in content.wrong[:TOLD_MAX]:
        typer.echo(printable(f"WRONG: {one.said('en')}"), err=True)
    typer.echo("check it with: coldproof verify " + str(path))
