"""Capture: an EPCIS event becomes a record, its items and a leaf of the ledger, in the caller's write transaction.

The bytes of an event are its EPCIS JSON, keys sorted, without white space, in UTF-8; they are what the row holds and
what the leaf's hash is of. `recordTime` is a column, not part of them: capturing again would change it.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select

from cloud.db.tables import event as event_table
from cloud.db.tables import event_item
from cloud.instant import to_ms
from cloud.ledger.log import append
from standards.epcis.json_form import to_json
from standards.epcis.model import AggregationEvent, Event


def event_bytes(event: Event) -> bytes:
    """The bytes of an event in the record and the ledger."""
    return msgspec.json.encode(to_json(event), order="sorted")


def capture(conn: Connection, event: Event, *, origin: str, now_ms: int) -> bool:
    """Record an event that has an id; False, and nothing changed, when this id is recorded already.

    origin: the scan or document it came from.
    """
    if event.event_id is None:
        raise ValueError("an event without an id cannot be captured: two captures could not be told apart")
    if kind_of(conn, event.event_id) is not None:
        return False
    body = event_bytes(event)
    row = {
        "event_id": event.event_id,
        "type": type(event).__name__,
        "event_time_ms": to_ms(event.event_time),
        "record_time_ms": now_ms,
        "body": body.decode(),
        "origin": origin,
        "leaf_index": append(conn, "event", payload=body, ref=event.event_id),
    }
    key = conn.execute(insert(event_table).values(row)).inserted_primary_key
    assert key is not None, "an inserted row has a key"
    rows = [{"event_id": key[0], "item": item, "role": role} for item, role in sorted(items(event))]
    if rows:
        conn.execute(insert(event_item), rows)
    return True


def kind_of(conn: Connection, event_id: str) -> str | None:
    """The type of the event recorded under this id, None when there is none."""
    return conn.scalar(select(event_table.c.type).where(event_table.c.event_id == event_id))


def items(event: Event) -> set[tuple[str, str]]:
    """The identifiers an event speaks of, each with its role: epc, parent, child, class."""
    if isinstance(event, AggregationEvent):
        found = {(epc, "child") for epc in event.child_epcs}
        found |= {(one.epc_class, "class") for one in event.child_quantity_list}
        return found | ({(event.parent_id, "parent")} if event.parent_id else set())
    return {(epc, "epc") for epc in event.epc_list or []} | {(one.epc_class, "class") for one in event.quantity_list}
