"""EPCIS 2.0 events ↔ JSON: write an event or a document, read an event with the path to what is wrong.

ISO/IEC 19987:2024 §10; the JSON-LD context stands at the document, not at its events.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from standards.epcis.check import check
from standards.epcis.model import EVENT_TYPES, EpcisError, Event

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
DEPTH_MAX = 32  # of extension data: deeper nesting is an attack, not a business fact

Json = dict[str, Any]

# Objects of an event in which namespaced fields may stand, by the name of the field that holds them.
_EXTENSIBLE = frozenset(
    {"readPoint", "bizLocation", "errorDeclaration", "sensorMetadata", "sensorReport", "sensorElementList"}
)


def to_json(event: Event) -> Json:
    """The event as a JSON object, without @context. Raises EpcisError for an event that breaks a rule."""
    check(event)
    plain: Json = msgspec.to_builtins(event)
    merged: Json = _merged(plain)
    return merged


def document(events: Iterable[Event], *, created_at: dt.datetime, prefixes: Mapping[str, str] | None = None) -> Json:
    """An EPCISDocument (JSON-LD) with these events. Raises EpcisError.

    prefixes: namespace → URI, for every prefix the events' extensions use.
    """
    if created_at.tzinfo is None:
        raise EpcisError("creationDate", "needs an aware datetime")
    return {
        "@context": [CONTEXT, dict(prefixes)] if prefixes else [CONTEXT],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": msgspec.to_builtins(created_at),
        "epcisBody": {"eventList": [to_json(event) for event in events]},
    }


def parse_event(data: object) -> Event:
    """Read one event, bare or out of a document. Raises EpcisError with the path and the reason.

    An event that carries its own @context is accepted; the prefixes in its field names are kept as written.
    """
    if not isinstance(data, dict):
        raise EpcisError("", f"an event is a JSON object, not {type(data).__name__}")
    kind = data.get("type")
    if kind not in EVENT_TYPES:
        raise EpcisError("type", f"{str(kind)[:80]!r}; understood are {', '.join(EVENT_TYPES)}")
    body = _split({name: value for name, value in data.items() if name != "@context"}, 0)
    try:
        event: Event = msgspec.convert(body, type=Event)
    except msgspec.ValidationError as error:
        why, _, where = str(error).partition(" - at `$")
        raise EpcisError(where.strip(".`"), why) from error
    check(event)
    return event


def _split(part: Json, depth: int) -> Json:
    """Move namespaced fields into `extensions`, here and in the objects below that may have some."""
    if "extensions" in part:
        raise EpcisError("extensions", "not a field of EPCIS")
    own: Json = {}
    extensions: Json = {}
    for name, value in part.items():
        if ":" in str(name):
            _require_shallow(value, name, 0)
            extensions[name] = value
        elif name in _EXTENSIBLE:
            own[name] = _split_below(value, depth + 1)
        else:
            own[name] = value
    return own | {"extensions": extensions} if extensions else own


def _split_below(value: object, depth: int) -> object:
    if isinstance(value, dict):
        return _split(value, depth)
    if isinstance(value, list):
        return [_split(item, depth) if isinstance(item, dict) else item for item in value]
    return value


def _merged(value: Any) -> Any:
    """The reverse of `_split`."""
    if isinstance(value, list):
        return [_merged(item) for item in value]
    if not isinstance(value, dict):
        return value
    extensions = value.pop("extensions", {})
    return {name: _merged(item) for name, item in value.items()} | extensions


def _require_shallow(value: object, where: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise EpcisError(where, f"nested deeper than {DEPTH_MAX}")
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in below:
        _require_shallow(item, where, depth + 1)
