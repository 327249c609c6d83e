"""One NMEA sentence → what it says, for people who check a receiver (`coldproof edge decode nmea`). Pure.

A line in is the sentence, bare or as a JSON string, or {"line": sentence}. Out: {"sentence", "observations": [{"point",
"unit", "value"}]}, with `fix` (true, false, or null where the sentence does not say) and `time`; a position only where
there is a fix. Kinds that we pass over have no observations.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from edge.drivers.gps.codec import LINE_MAX, Damaged, FixTime, Gga, Rmc, Sentence, Zda, read_line
from edge.drivers.gps.navigation import Navigator
from edge.drivers.gps.readings import POINTS, values


class _Given(msgspec.Struct):
    line: str


def decode_line(line: str) -> dict[str, Any]:
    """What one sentence proves. Raises ValueError, for people, for what is no sentence."""
    text = _given(line).strip("\r\n ")
    found = read_line(text.encode("utf-8", "replace"))
    if isinstance(found, Damaged):
        raise ValueError(
            f"{text[:40]!r} is no NMEA 0183 sentence: expected $, fields, * and the right checksum, at most {LINE_MAX} "
            "characters"
        )
    kind = text[1:].partition(",")[0]
    return {"sentence": kind, "observations": [] if found is None else _observations(found)}


def _given(line: str) -> str:
    if not line.startswith(('"', "{")):
        return line
    try:
        given = msgspec.json.decode(line, type=str | _Given)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f'no JSON string, and no object with "line": {error}') from error
    return given.line if isinstance(given, _Given) else given


def _observations(found: Sentence) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    if isinstance(found, Rmc | Gga):
        said.append({"point": "fix", "value": found.valid})
        navigator: Navigator[None] = Navigator()
        navigator.take(found, None)
        for solution in navigator.finish():
            said += [{"point": one.point, "unit": POINTS[one.point], "value": one.number} for one in values(solution)]
    fix = FixTime()
    if isinstance(found, Zda):  # says nothing of a fix; what it tells is the receiver's own clock
        said.append({"point": "fix", "value": None})
        fix.take(Gga(found.time_ms, valid=True, satellites=None))
    at_ms = fix.take(found)
    if at_ms is not None:
        said.append({"point": "time", "value": _iso(at_ms)})
    return said


def _iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
