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
from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import typer

LINE_MAX_BYTES = 65_536  # the longest advert has 1,650 bytes in hex, a code 4,096
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
    try:
        for answer in answers(sys.stdin.buffer, decoder):
            sys.stdout.buffer.write(answer + b"\n")
            sys.stdout.buffer.flush()  # somebody may be typing, or following a log
    except BrokenPipeError:  # whoever read us has seen enough
        sys.stderr.close()


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


def answers(stream: BinaryIO, decoder: Decode) -> Iterator[bytes]:
    """One JSON document for each line that is not empty, in order."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    for line in _lines(stream):
        if isinstance(line, bytes):
            text = line.decode("utf-8", "replace").strip("\r\n")
            if text.strip(" \t"):
                yield encoder.encode(_answer(decoder, text))
        else:
            yield encoder.encode({"error": f"a line of {line} bytes, the limit is {LINE_MAX_BYTES}"})


def _answer(decoder: Decode, text: str) -> dict[str, Any]:
    try:
        return decoder(text)
    except (ValueError, RecursionError) as error:
        return {"error": str(error)}
    except ImportError as error:
        return {"error": f"a library is missing: {error}"}


def _lines(stream: BinaryIO) -> Iterator[bytes | int]:
    """The lines of a stream, never holding more than one; of an overlong one only how many bytes it had."""
    while line := stream.readline(LINE_MAX_BYTES + 1):
        if len(line) <= LINE_MAX_BYTES or line.endswith(b"\n"):
            yield line
            continue
        size = len(line)
        while (rest := stream.readline(LINE_MAX_BYTES)) and not rest.endswith(b"\n"):
            size += len(rest)
        yield size + len(rest.rstrip(b"\n"))
