"""One NMEA sentence → what it says, for people who check a receiver (`coldproof edge decode nmea`). Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from edge.drivers.gps.codec import LINE_MAX, Damaged, FixTime, Gga, Rmc, Zda, read_line
from edge.drivers.gps.navigation import Navigator
from edge.drivers.gps.readings import POINTS, values


def decode(record: object) -> list[dict[str, Any]]:
    """What one sentence (a text, or an object with it under `line`) proves; nothing for kinds that we pass over.

    Raises ValueError, for people, for what is no sentence.
    """
    text = record.get("line") if isinstance(record, dict) else record
    if not isinstance(text, str):
        raise ValueError('expected an NMEA sentence: a text, or {"line": "$GPRMC,…"}')
    line = text.strip("\r\n").encode()
    found = read_line(line)
    if isinstance(found, Damaged):
        raise ValueError(
            f"{text[:40]!r} is no NMEA 0183 sentence: expected $, fields, * and the right checksum, at most {LINE_MAX} "
            "characters"
        )
    if found is None:
        return []
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
