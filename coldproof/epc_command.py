"""`coldproof epc decode`: what a tag's EPC says. `coldproof edge decode epc` is the same filter (`decode_line`).

A line in is an EPC in hex, bare, as a JSON string, or as a JSON object with the member `epc`. A line out is a JSON
object, in the same order:

    {"epc", "scheme", "filter", "uri", "tag_uri", "elements", "element_string", "digital_link", "more"}
    {"error", "rule"}, with "epc" where one was read

`elements` maps AIs to values; members without a value are left out. A bad line never ends the run.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import typer

from coldproof.filter_lines import decoded, write_answers
from standards.gs1 import epc

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Read the EPCs of RFID tags.")

LINE_MAX_CHARACTERS = 10_000  # an EPC has at most 124; a guard against runaway lines


@app.callback()
def _group() -> None:
    """Keeps `decode` a subcommand: typer makes a group of one command that command itself."""


@app.command()
def decode() -> None:
    """Decode EPCs from standard input, one a line: hex, a JSON string, or {"epc": …}; JSON lines out."""
    write_answers(decoded(sys.stdin.buffer, decode_line))


def decode_line(line: str) -> dict[str, Any]:
    """What one line's EPC says, or `{"error": …}`."""
    try:
        text = _epc_of(line)
    except ValueError as error:
        return {"error": str(error)}
    try:
        found = epc.decode_hex(text)
    except epc.EpcError as error:
        return {"epc": text[: 2 * epc.EPC_MAX_BYTES], "error": str(error), "rule": error.rule}
    told = {
        "epc": text.upper(),
        "scheme": found.scheme,
        "filter": found.filter,
        "uri": found.uri,
        "tag_uri": found.tag_uri,
        "elements": dict(found.elements),
        "element_string": found.element_string,
        "digital_link": found.digital_link,
        "more": found.more,
    }
    return {name: value for name, value in told.items() if value not in (None, "", {})}


def _epc_of(line: str) -> str:
    """The EPC in a line. Raises ValueError."""
    text = line.strip()
    if len(text) > LINE_MAX_CHARACTERS:
        raise ValueError(f"a line of more than {LINE_MAX_CHARACTERS} characters")
    if not text.startswith(("{", '"', "[")):
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("no JSON that is meant: too deep") from error
    found = value.get("epc") if isinstance(value, dict) else value
    if not isinstance(found, str):
        raise ValueError('a JSON string, or an object with the member "epc", a string in hex, is needed')
    return found.strip()
