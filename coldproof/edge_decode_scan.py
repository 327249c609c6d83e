"""One scanned code → what it says, for `coldproof edge decode scan`.

A line in is the code as the scanner sent it, bare or as a JSON string, or {"code", "symbology"} as a gateway keeps it;
in JSON, FNC1 is \\u001d. Out: {"code", "symbology", "elements": [{"ai", "value"}]}; refused: {"code", "error", "ai"}.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge.drivers.barcode.codec import split
from standards.gs1 import scan
from standards.gs1.application_identifier import Gs1Error
from wire.observation import CODE_MAX_BYTES


class _Given(msgspec.Struct):
    code: str
    symbology: str = ""


def decode_line(line: str) -> dict[str, Any]:
    """What a code says. Raises ValueError for a line that holds none."""
    given = _given(line)
    if len(given.code.encode("utf-8", "replace")) > CODE_MAX_BYTES:
        raise ValueError(f"a code of more than {CODE_MAX_BYTES} bytes")
    told: dict[str, Any] = {"code": given.code, "symbology": given.symbology}
    try:
        parsed = scan.parse(given.code, given.symbology)
    except Gs1Error as error:
        return {**told, "error": str(error), "ai": error.ai}
    return {**told, "elements": [{"ai": ai, "value": value} for ai, value in parsed.values]}


def _given(line: str) -> _Given:
    text = line
    if line.startswith(('"', "{")):
        try:
            given = msgspec.json.decode(line, type=str | _Given)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f'no JSON string, and no object with "code" and "symbology": {error}') from error
        if isinstance(given, _Given):
            return given
        text = given
    code = split(text)
    return _Given(code.text, code.symbology)
