"""The records beside packs that a bundle holds: gateways' keys and revocations, events, frozen evidence, decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, select

from cloud.db.tables import decision, event, evidence_version, gateway_key, leaf, revocation
from cloud.errors import Rejected
from cloud.events.query import CapturedEvent
from cloud.ledger import log
from cloud.registry.keys import Revocation, key_payload
from cloud.review.submissions import Decision, decision_bytes
from wire.bundle import form
from wire.bundle.write import Item

_AT_ONCE = 500  # values in one IN list


class Unproven(Rejected):
    """Something has no leaf in the ledger, so that no bundle can prove it."""


def keys(conn: Connection, gateways: Iterable[str], size: int) -> list[Item]:
    """The keys of gateways as the ledger recorded them, and their revocations, each in order of leaves.

    Raises Unproven for a key without a leaf.
    """
    names = sorted(set(gateways))
    found: list[Item] = []
    taken: list[Item] = []
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        of_keys = (leaf.c.kind == "key", leaf.c.ref.in_(some), leaf.c.leaf_index < size)
        leaves = {
            row.hash: row.leaf_index for row in conn.execute(select(leaf.c.hash, leaf.c.leaf_index).where(*of_keys))
        }
        for row in conn.execute(select(gateway_key).where(gateway_key.c.gateway.in_(some))):
            payload = key_payload(row.gateway, row.public_key)
            index = leaves.get(log.payload_hash(payload))
            if index is not None:
                found.append(Item(form.KEY, index, payload))
        of_gateways = (revocation.c.gateway.in_(some), revocation.c.kind == "key", revocation.c.leaf_index < size)
        for row in conn.execute(select(revocation).where(*of_gateways)):
            one = Revocation(row.gateway, row.kind, row.subject, row.from_seq, row.reason, row.revoked_ms)
            taken.append(Item(form.REVOCATION, row.leaf_index, msgspec.json.encode(one)))
    if not found:
        raise Unproven(f"no key of {', '.join(names) or 'any gateway'} stands in the ledger: nothing can be proven")
    return [*sorted(found, key=_leaf), *sorted(taken, key=_leaf)]


def events(captured: Iterable[CapturedEvent], size: int) -> list[Item]:
    """Events, in order of leaves."""
    found = [Item(form.EVENT, one.leaf_index, one.body.encode()) for one in captured if one.leaf_index < size]
    return sorted(found, key=_leaf)


def events_of_period(conn: Connection, gateways: Sequence[str], from_ms: int, to_ms: int, size: int) -> list[Item]:
    """The events that scans of these gateways became in [from_ms, to_ms), in order of leaves."""
    within = (event.c.event_time_ms >= from_ms, event.c.event_time_ms < to_ms, event.c.leaf_index < size)
    rows = conn.execute(select(event.c.origin, event.c.body, event.c.leaf_index).where(*within))
    prefixes = tuple(f"scan:{one}/" for one in gateways)
    found = [Item(form.EVENT, row.leaf_index, row.body.encode()) for row in rows if row.origin.startswith(prefixes)]
    return sorted(found, key=_leaf)


def evidence(conn: Connection, gtin: str, lot: str, size: int) -> list[Item]:
    """The frozen versions of a lot's evidence, in order of leaves."""
    table = evidence_version
    query = select(table.c.body, table.c.leaf_index).where(table.c.gtin == gtin, table.c.lot == lot)
    rows = conn.execute(query.where(table.c.leaf_index < size).order_by(table.c.leaf_index))
    return [Item(form.EVIDENCE, row.leaf_index, row.body.encode()) for row in rows]


def decisions(conn: Connection, gtin: str, lot: str, size: int) -> list[Item]:
    """What officials decided on a lot, in order of leaves."""
    hashes = {
        row.version: row.hash
        for row in conn.execute(
            select(evidence_version.c.version, evidence_version.c.hash).where(
                evidence_version.c.gtin == gtin, evidence_version.c.lot == lot
            )
        )
    }
    query = select(decision).where(decision.c.gtin == gtin, decision.c.lot == lot, decision.c.leaf_index < size)
    found = []
    for row in conn.execute(query.order_by(decision.c.leaf_index)):
        one = Decision(row.id, row.evidence_version, row.kind, row.reason, row.person, row.decided_ms, row.leaf_index)
        payload = decision_bytes(gtin, lot, one, hashes[row.evidence_version])
        found.append(Item(form.DECISION, row.leaf_index, payload))
    return found


def _leaf(item: Item) -> int:
    return item.leaf
