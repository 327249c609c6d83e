"""Events, frozen evidence and decisions of a bundle: what is read of them, all else is their own business. Pure.

Their bytes are held against the ledger by whoever calls this; unknown members are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from wire.bundle.form import Broken, Record
from wire.observation import INT64_MAX

T = TypeVar("T")
Int = Annotated[int, msgspec.Meta(ge=-INT64_MAX, le=INT64_MAX)]


class FrozenSeries(msgspec.Struct, frozen=True):
    """One series at one stay, as a version of evidence says it; see cloud/evidence/model.py."""

    gateway: str
    channel: str
    measurement: str
    unit: str
    log_interval_s: Int
    count: Int
    min: float | None
    max: float | None
    sensor: str = ""
    misplaced: Int = 0
    future: Int = 0


class FrozenStay(msgspec.Struct, frozen=True):
    """One stay of a version of evidence."""

    place: str
    from_ms: Int
    until_ms: Int
    series: list[FrozenSeries]
    verdict: str
    to_ms: Int | None = None
    place_name: str = ""
    place_name_en: str = ""


class Frozen(msgspec.Struct, frozen=True):
    """A version of evidence."""

    gtin: str
    lot: str
    stays: list[FrozenStay]
    verdict: str


class Decision(msgspec.Struct, frozen=True):
    """What an official decided, on which evidence."""

    gtin: str
    lot: str
    kind: str
    reason: str
    person: str
    decided_ms: Int
    evidence_version: Int
    evidence_sha256: str


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """What an EPCIS event says of itself."""

    type: str
    event_time: str = ""
    action: str = ""
    biz_step: str = ""
    event_id: str = msgspec.field(default="", name="eventID")


def read(record: Record, kind: type[T]) -> T:
    """The document of a record. Raises Broken."""
    try:
        return msgspec.json.decode(record.payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(record.name, f"cannot be read: {error}") from error


def names(record: Record, uri: str) -> bool:
    """Whether an event names this identifier anywhere. Raises Broken."""
    return uri in _strings(read(record, object))


def _strings(value: Any) -> set[str]:
    found: set[str] = set()
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            found.add(one)
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found
