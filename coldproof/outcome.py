"""What commands on the cloud say: an error in one line, and text that came from outside without its teeth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cloud.errors import CloudError


@contextmanager
def told() -> Iterator[None]:
    """An error we raise on purpose becomes one line and exit status 1."""
    try:
        yield
    except CloudError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control and escape characters become replacement characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
