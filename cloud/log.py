"""How the log is written: lines for people, or a line of JSON each for machines. State changes, never payloads.

A message's template is constant, and what it says of the case stands in it as `name=%s`: the JSON has the template as
`event`, so that lines of one kind can be counted, and each such name as a field.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TEXT_MAX = 8_000  # characters of a message or a traceback
_PLACE = re.compile(r"(?:(?P<name>[a-z][a-z0-9_]*)=)?%[-+ #0]*\d*(?:\.\d+)?(?P<kind>[sdrfgx%])")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: at (UTC), level, logger, event, message, fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": str(record.msg)[:TEXT_MAX],
            "message": record.getMessage()[:TEXT_MAX],
        }
        fields = _fields(record)
        if fields:
            told["fields"] = fields
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)[-TEXT_MAX:]
        return msgspec.json.encode(told).decode()


def set_up(kind: str) -> None:
    """Write the log to standard error from now on; kind: text or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if kind == "json" else logging.Formatter(TEXT_FORMAT))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _fields(record: logging.LogRecord) -> dict[str, str | int | float | bool | None]:
    """What the template names, with its values."""
    args = record.args
    if not args or isinstance(args, Mapping):
        return {}
    places = [place for place in _PLACE.finditer(str(record.msg)) if place["kind"] != "%"]
    named = zip(places, args, strict=False)
    return {place["name"]: _plain(value) for place, value in named if place["name"] is not None}


def _plain(value: object) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)[:TEXT_MAX]
