"""Holds: somebody's word that readings are kept beyond their time, of a lot, a place, a series, or a period.

A hold and its release are leaves of the ledger, over JSON with the fields in this order; a hold is never deleted.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection, insert, select, update

from cloud.db.tables import hold
from cloud.errors import Rejected
from cloud.ledger import log

REASON_MAX, PERSON_MAX = 2_000, 120
Kind = Literal["lot", "place", "series", "period"]


class HoldRejected(Rejected):
    """There can be no such hold; nothing was changed."""


class Hold(msgspec.Struct, frozen=True):
    """What is kept. Times are of readings, [from_ms, to_ms); None: without a bound.

    lot: gtin and lot; place: a GLN; series: gateway and channel; period: everything in it.
    """

    kind: Kind
    reason: str
    person: str
    added_ms: int
    from_ms: int | None = None
    to_ms: int | None = None
    gtin: str = ""
    lot: str = ""
    place: str = ""
    gateway: str = ""
    channel: str = ""


class Release(msgspec.Struct, frozen=True):
    """The end of a hold."""

    hold_id: int
    reason: str
    person: str
    released_ms: int


class Held(msgspec.Struct, frozen=True):
    """A hold on record, and its release, None while it holds."""

    id: int
    hold: Hold
    release: Release | None


def add(conn: Connection, one: Hold) -> int:
    """Put a hold on record, in the caller's write transaction; its id. Raises HoldRejected."""
    _check_words(one.reason, one.person)
    named = {"lot": one.gtin and one.lot, "place": one.place, "series": one.gateway and one.channel, "period": "all"}
    if not named[one.kind]:
        raise HoldRejected(f"hold of a {one.kind}: says not of which one")
    if one.kind == "period" and one.from_ms is None and one.to_ms is None:
        raise HoldRejected("hold of a period: needs a beginning or an end")
    if one.from_ms is not None and one.to_ms is not None and one.to_ms <= one.from_ms:
        raise HoldRejected("hold: ends before it begins")
    body = msgspec.json.encode(one)
    leaf_index = log.append(conn, "hold", payload=body, ref=f"hold of a {one.kind}")
    key = conn.execute(insert(hold).values(body=body.decode(), leaf_index=leaf_index)).inserted_primary_key
    assert key is not None, "an inserted row has a key"
    return int(key[0])


def release(conn: Connection, one: Release) -> None:
    """End a hold, in the caller's write transaction. Raises HoldRejected."""
    _check_words(one.reason, one.person)
    known = {held.id: held for held in listed(conn)}
    if one.hold_id not in known:
        raise HoldRejected(f"hold {one.hold_id}: there is none; `coldproof cloud hold list` shows which there are")
    if known[one.hold_id].release is not None:
        raise HoldRejected(f"hold {one.hold_id}: was released before")
    body = msgspec.json.encode(one)
    leaf_index = log.append(conn, "hold", payload=body, ref=f"release of hold {one.hold_id}")
    values = {"release": body.decode(), "release_leaf_index": leaf_index}
    conn.execute(update(hold).where(hold.c.id == one.hold_id).values(values))


def listed(conn: Connection) -> list[Held]:
    """Every hold there ever was, the oldest first."""
    return [
        Held(
            row.id,
            msgspec.json.decode(row.body, type=Hold),
            None if row.release is None else msgspec.json.decode(row.release, type=Release),
        )
        for row in conn.execute(select(hold).order_by(hold.c.id))
    ]


def _check_words(reason: str, person: str) -> None:
    if not reason.strip() or len(reason) > REASON_MAX:
        raise HoldRejected(f"a hold needs a reason of 1–{REASON_MAX} characters")
    if not person.strip() or len(person) > PERSON_MAX:
        raise HoldRejected(f"a hold needs the name of who wants it, 1–{PERSON_MAX} characters")
