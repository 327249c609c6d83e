"""What leaves record, kind by kind: the rows of a span of leaves, with the bytes each commits to.

A kind is one function; what its row says beside its bytes is held against them here, so that no column can be changed
unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Column, Connection, Row, select, tuple_

from cloud.db import tables
from cloud.fsck.divergence import Book
from cloud.instant import to_ms
from cloud.ledger.keys import LedgerKey
from cloud.ledger.log import payload_hash
from cloud.registry.keys import Revocation, key_payload
from cloud.retention.pruning import ranges
from cloud.review.submissions import Decision, decision_bytes
from standards import cose


class Recorded(msgspec.Struct, frozen=True):
    """A row that a leaf records. digest: of its bytes, None when they were removed; ref: the leaf's, None for any."""

    leaf_index: int
    name: str
    digest: bytes | None
    ref: str | None = None


Reader = Callable[[Connection, Book, int, int], Iterator[Recorded]]


def events(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """Captured events: the JSON of each, and the columns that repeat it."""
    for row in _rows(conn, tables.event.c.leaf_index, start, end):
        name = f"event {row.event_id}"
        told = body_object(row.body)
        book.require(name, "eventID of its body", told.get("eventID"), row.event_id)
        book.require(name, "type of its body", told.get("type"), row.type)
        book.require(name, "eventTime of its body, in ms,", _instant_ms(told.get("eventTime")), row.event_time_ms)
        yield Recorded(row.leaf_index, name, payload_hash(row.body.encode()), row.event_id)


def evidence(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """Frozen versions of evidence."""
    for row in _rows(conn, tables.evidence_version.c.leaf_index, start, end):
        name = f"evidence {row.gtin}/{row.lot} version {row.version}"
        digest = payload_hash(row.body.encode())
        book.require(name, "hash of its body", digest, row.hash)
        told = body_object(row.body)
        book.require(name, "lot of its body", f"{told.get('gtin')}/{told.get('lot')}", f"{row.gtin}/{row.lot}")
        yield Recorded(row.leaf_index, name, digest, f"{row.gtin}/{row.lot}/{row.version}")


def decisions(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """Decisions: their bytes are made again from the columns."""
    rows = list(_rows(conn, tables.decision.c.leaf_index, start, end))
    version = tables.evidence_version
    wanted = tuple_(version.c.gtin, version.c.lot, version.c.version)
    query = select(version.c.gtin, version.c.lot, version.c.version, version.c.hash)
    named = query.where(wanted.in_({(row.gtin, row.lot, row.evidence_version) for row in rows}))
    hashes = {(one.gtin, one.lot, one.version): one.hash for one in conn.execute(named)} if rows else {}
    for row in rows:
        name = f"decision {row.id} ({row.kind} {row.gtin}/{row.lot} by {row.person})"
        seen = hashes.get((row.gtin, row.lot, row.evidence_version))
        if seen is None:
            book.note(name, expected=f"evidence version {row.evidence_version} of the lot", found="no such row")
        one = Decision(row.id, row.evidence_version, row.kind, row.reason, row.person, row.decided_ms, row.leaf_index)
        digest = payload_hash(decision_bytes(row.gtin, row.lot, one, seen or b""))
        yield Recorded(row.leaf_index, name, digest, f"{row.gtin}/{row.lot}/{row.kind}/{row.decided_ms}")


def revocations(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:  # noqa: ARG001 - a Reader
    """Keys and certificates that were taken back."""
    for row in _rows(conn, tables.revocation.c.leaf_index, start, end):
        one = Revocation(row.gateway, row.kind, row.subject, row.from_seq, row.reason, row.revoked_ms)
        name = f"revocation {row.id} ({row.kind} {row.subject} of {row.gateway})"
        yield Recorded(row.leaf_index, name, payload_hash(msgspec.json.encode(one)), row.gateway)


def holds(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """Holds, and the words that end them: each has a leaf of its own."""
    table = tables.hold
    for row in _rows(conn, table.c.leaf_index, start, end):
        yield Recorded(row.leaf_index, f"hold {row.id}", payload_hash(row.body.encode()))
    for row in _rows(conn, table.c.release_leaf_index, start, end):
        name, body = f"release of hold {row.id}", row.release or ""
        book.require(name, "hold_id of its body", row.id, body_object(body).get("hold_id"))
        yield Recorded(row.release_leaf_index, name, payload_hash(body.encode()))


def prunings(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """What retention did: the leaves that a removal names are those with its tombstone, no more and no fewer."""
    tombstone = tables.tombstone.c
    for row in _rows(conn, tables.pruning.c.leaf_index, start, end):
        name = f"pruning {row.id}"
        mine = select(tombstone.leaf_index).where(tombstone.pruning_id == row.id).order_by(tombstone.leaf_index)
        removed = [list(one) for one in ranges(conn.scalars(mine).all())]
        book.require(name, "leaves of its body", body_object(row.body).get("leaves"), removed)
        yield Recorded(row.leaf_index, name, payload_hash(row.body.encode()))


def epochs(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """Leaves that open epochs."""
    for row in _rows(conn, tables.ledger_epoch.c.leaf_index, start, end):
        name = f"epoch {row.number}"
        told = body_object(row.body)
        book.require(name, "origin of its body", told.get("origin"), row.origin)
        book.require(name, "restored_size of its body", told.get("restored_size"), row.base_size)
        yield Recorded(row.leaf_index, name, payload_hash(row.body.encode()), name)


def signers(conn: Connection, book: Book, start: int, end: int) -> Iterator[Recorded]:
    """Changes of the key that signs checkpoints."""
    for row in _rows(conn, tables.ledger_key.c.leaf_index, start, end):
        key, told = LedgerKey(**row._asdict()), body_object(row.body)
        name = f"ledger key {row.number}"
        book.require(name, "new key of its body", told.get("new"), str(key.vkey(str(told.get("origin")))))
        book.require(name, "first_size of its body", told.get("first_size"), row.first_size)
        yield Recorded(row.leaf_index, name, payload_hash(row.body.encode()), f"key {row.number}")


class GatewayKeys:
    """Keys of gateways have a leaf each, but no column that says which: found by name and hash, each once."""

    def __init__(self, conn: Connection, book: Book) -> None:
        self._left: dict[tuple[str, bytes], list[str]] = {}
        revoked, ended = _revoked(conn), _ended(conn)
        ends = {(row.gateway, row.kid.hex()): row for row in conn.execute(select(tables.key_end))}
        for row in conn.execute(select(tables.gateway_key)):
            name = f"key {row.kid.hex()} of gateway {row.gateway}"
            try:
                kid = cose.key_id(Ed25519PublicKey.from_public_bytes(row.public_key))
            except ValueError as error:
                book.note(name, expected="an Ed25519 public key", found=str(error))
                continue
            book.require(name, "key id of its public key", kid, row.kid)
            taken_ms = revoked.get((row.gateway, row.kid.hex()))
            book.require(name, "its revocation's instant in ms,", taken_ms, row.revoked_ms)
            if (first_seq := ended.get((row.gateway, row.kid.hex()))) is not None:
                end = ends.get((row.gateway, row.kid.hex()))
                found = None if end is None or end.cause != "revoked" else end.first_seq
                book.require(name, "its revocation's first number", first_seq, found)
            digest = payload_hash(key_payload(row.gateway, row.public_key))
            self._left.setdefault((row.gateway, digest), []).append(name)
        book.other_rows += sum(map(len, self._left.values()))

    def take(self, gateway: str, digest: bytes) -> bool:
        """Whether a key has this leaf; it has no other then."""
        names = self._left.get((gateway, digest), [])
        if names:
            names.pop()
        return bool(names) or (gateway, digest) in self._left

    def finish(self, book: Book) -> None:
        """Name the keys that no leaf records."""
        for (_, digest), names in self._left.items():
            for name in names:
                book.note(name, expected="a leaf of kind key over it", found=f"no leaf with the hash {digest.hex()}")


def _revoked(conn: Connection) -> dict[tuple[str, str], int]:
    """Gateway and key id → when the key was first taken back for all numbers."""
    table = tables.revocation
    whole = select(table).where(table.c.kind == "key", table.c.from_seq.is_(None)).order_by(table.c.leaf_index.desc())
    return {(row.gateway, row.subject): row.revoked_ms for row in conn.execute(whole)}


def _ended(conn: Connection) -> dict[tuple[str, str], int]:
    """Gateway and key id → the number from which the key was last taken back."""
    table = tables.revocation
    by_number = select(table).where(table.c.kind == "key", table.c.from_seq.is_not(None)).order_by(table.c.leaf_index)
    return {(row.gateway, row.subject): row.from_seq for row in conn.execute(by_number)}


def _rows(conn: Connection, column: Column[Any], start: int, end: int) -> Iterator[Row[Any]]:
    """The rows of a table whose leaf is in [start, end), in the order of leaves."""
    query = select(column.table).where(column >= start, column < end).order_by(column)
    yield from conn.execute(query)


def body_object(text: str) -> dict[str, Any]:
    """The JSON object in a body; an empty one when it is none, so that every comparison with it fails."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _instant_ms(text: object) -> int | None:
    try:
        return to_ms(datetime.fromisoformat(str(text)))
    except (ValueError, TypeError):
        return None
