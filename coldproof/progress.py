"""How far long work is: one line that changes in a terminal, a line at every tenth otherwise; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

Tell = Callable[[float], None]  # the share that is done, 0–1

STEPS = 10


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Tell how far `what` is. Nothing is written for work that never tells."""
    terminal = sys.stderr.isatty()
    last = -1

    def tell(share: float) -> None:
        nonlocal last
        steps = 100 if terminal else STEPS
        at = min(steps, int(share * steps))
        if at <= last:
            return
        last = at
        percent = 100 * at // steps
        typer.echo(f"\r{what} {percent:3d} %" if terminal else f"{what}: {percent} %", err=True, nl=not terminal)

    try:
        yield tell
    finally:
        if terminal and last >= 0:
            typer.echo("", err=True)
