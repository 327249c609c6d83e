"""Commands to gateways as they were issued: numbered, signed, kept with their bytes.

Invariant: counters rise per gateway, also after this database was restored from an older copy. A restored one no
longer knows which counters it used, so they follow the clock: the next is one above the last known, and never below
the milliseconds of now.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from cloud.db.tables import command
from cloud.ingest.settled import Range
from cloud.keys import CloudKey
from wire import command as wire_command
from wire.command import ID_BYTES, Command, SendAgain

SEND_AGAIN = "send_again"
LIFETIME_MS = 7 * 86_400_000  # a counter is good for one use, so a wrong clock there costs more than a long life here


class Asked(msgspec.Struct, frozen=True):
    """Packs that a gateway was asked for again. answered_ms: None while some of them are still missing."""

    gateway: str
    counter: int
    stream: bytes
    ranges: list[Range]
    issued_ms: int
    answered_ms: int | None


class Letter(msgspec.Struct, frozen=True):
    """A signed command on its way to its gateway."""

    gateway: str
    counter: int
    envelope: bytes


def send_again(
    conn: Connection, key: CloudKey, gateway: str, stream: bytes, ranges: Sequence[Range], *, now_ms: int
) -> None:
    """Issue a command that asks for ranges of a stream again, in the caller's write transaction.

    It waits there until a process that is connected to the broker gives it away (cloud/ingest/outbox.py).
    """
    last = conn.scalar(select(func.max(command.c.counter)).where(command.c.gateway == gateway))
    issued = Command(
        id=secrets.token_bytes(ID_BYTES),
        gateway=gateway,
        counter=max((last or 0) + 1, now_ms),
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + LIFETIME_MS,
        order=SendAgain(stream, list(ranges)),
    )
    envelope = wire_command.seal(issued, key=key.private, kid=key.kid)
    row = {
        "gateway": gateway,
        "counter": issued.counter,
        "id": issued.id,
        "kind": SEND_AGAIN,
        "issued_ms": now_ms,
        "expires_ms": issued.expires_at_ms,
        "stream": stream,
        "ranges": msgspec.json.encode(ranges).decode(),
        "envelope": envelope,
    }
    conn.execute(insert(command).values(row))


def waiting(conn: Connection, now_ms: int, limit: int) -> list[Letter]:
    """Commands that the broker has not been given yet and that have not expired, the oldest first."""
    query = (
        select(command.c.gateway, command.c.counter, command.c.envelope)
        .where(command.c.published_ms.is_(None), command.c.expires_ms > now_ms)
        .order_by(command.c.issued_ms, command.c.counter)
        .limit(limit)
    )
    return [Letter(row.gateway, row.counter, row.envelope) for row in conn.execute(query)]


def published(conn: Connection, letters: Sequence[Letter], now_ms: int) -> None:
    """Note that the broker has these."""
    for one in letters:
        this = (command.c.gateway == one.gateway, command.c.counter == one.counter)
        conn.execute(update(command).where(*this).values(published_ms=now_ms))


def unanswered(conn: Connection, gateway: str, limit: int) -> list[Asked]:
    """What a gateway was asked for and has not sent, the newest first."""
    open_ones = (command.c.gateway == gateway, command.c.kind == SEND_AGAIN, command.c.answered_ms.is_(None))
    return _asked(conn, *open_ones, limit=limit)


def answer(conn: Connection, asked: Asked, now_ms: int) -> None:
    """Note that nothing of what was asked for is missing any more."""
    this = (command.c.gateway == asked.gateway, command.c.counter == asked.counter)
    conn.execute(update(command).where(*this).values(answered_ms=now_ms))


def asked_since(conn: Connection, since_ms: int) -> int:
    """How many gateways were asked since then and have not answered."""
    query = select(func.count(command.c.gateway.distinct())).where(
        command.c.issued_ms > since_ms, command.c.answered_ms.is_(None)
    )
    return int(conn.scalar(query) or 0)


def newest(conn: Connection, limit: int) -> list[Asked]:
    """What was last asked for, the newest first."""
    return _asked(conn, command.c.kind == SEND_AGAIN, limit=limit)


def of_gateway(conn: Connection, gateway: str, limit: int) -> list[Asked]:
    """What a gateway was last asked for, the newest first."""
    return _asked(conn, command.c.gateway == gateway, command.c.kind == SEND_AGAIN, limit=limit)


def _asked(conn: Connection, *where: ColumnElement[bool], limit: int) -> list[Asked]:
    query = select(command).where(*where).order_by(command.c.issued_ms.desc(), command.c.counter.desc()).limit(limit)
    return [
        Asked(
            gateway=row.gateway,
            counter=row.counter,
            stream=row.stream,
            ranges=msgspec.json.decode(row.ranges, type=list[Range]),
            issued_ms=row.issued_ms,
            answered_ms=row.answered_ms,
        )
        for row in conn.execute(query)
    ]
