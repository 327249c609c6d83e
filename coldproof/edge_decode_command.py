"""`coldproof edge decode ble|nmea|scan|epc`: what a device said, line by line, before it is bound and for support.

Lines in, lines out in the same order: one JSON object for each line that is not empty, `{"error": …}` for one that
cannot be read. A bad line never ends the run; exit 0 when the input ends, 2 for a decoder that cannot be used here.

A decoder is named in the table below as `module:attribute` and imported when it is asked for, so that a missing
library hurts nobody else. The attribute is a function that takes a line (a text without its end) and returns what it
says, ready for JSON, with `Decimal` for exact numbers; or a class without arguments whose `decode` does so, for one
that remembers what came before. For people it raises ValueError or returns {"error": …}.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from coldproof.filter_lines import decoded, write_answers

UNUSABLE = 2  # exit status: the input needs a person

Decode = Callable[[str], dict[str, Any]]


class _Entry(NamedTuple):
    target: str
    extra: str  # what to install for it


DECODERS = {
    "ble": _Entry("edge.drivers.ble.filter:AdvertFilter", "edge"),
    "epc": _Entry("coldproof.epc_command:decode_line", ""),
    "nmea": _Entry("edge.drivers.gps.decode:decode_line", "edge"),
    "scan": _Entry("coldproof.edge_decode_scan:decode_line", "edge"),
}


class DecoderUnusable(ValueError):
    """There is no such decoder, or it cannot be imported here."""


def decode(
    kind: Annotated[str, typer.Argument(metavar="ble|nmea|scan|epc", help="what the lines are")],
) -> None:
    """Decode lines from standard input: BLE adverts, NMEA sentences, scanned codes or EPCs; JSON lines out."""
    try:
        decoder = load(kind)
    except DecoderUnusable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(UNUSABLE) from None
    write_answers(decoded(sys.stdin.buffer, decoder))


def load(kind: str) -> Decode:
    """The decoder of a kind. Raises DecoderUnusable."""
    if kind not in DECODERS:
        raise DecoderUnusable(f"unknown kind {kind[:40]!r}, known: {', '.join(DECODERS)}")
    entry = DECODERS[kind]
    module, _, name = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        cure = f": pip install 'coldproof[{entry.extra}]'" if entry.extra else ""
        raise DecoderUnusable(f"{kind}: cannot be decoded here ({error}){cure}") from error
    decoder: Decode = found().decode if isinstance(found, type) else found
    return decoder
