"""What could not be accepted is kept raw, with the reason, within bounds.

Bounds: the same bytes on the same topic are one row with a count; of one message at most RAW_MAX_BYTES are kept;
when ROWS_MAX rows or TOTAL_MAX_BYTES are reached the oldest stay, and what else comes is counted per reason. So
nobody can fill the disk or push out what was there before, and nothing is dropped uncounted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from cloud.db.tables import quarantine
from wire.envelope import ENVELOPE_MAX_BYTES

RAW_MAX_BYTES = ENVELOPE_MAX_BYTES  # whatever might have been a pack fits whole
ROWS_MAX = 10_000
TOTAL_MAX_BYTES = 256 * 1024 * 1024
TOPIC_MAX, DETAIL_MAX = 200, 500  # characters
COUNTER_TOPIC = ""  # the rows that only count, one per reason


class Refused(msgspec.Struct, frozen=True):
    """A message that could not be accepted."""

    topic: str
    raw: bytes
    reason: str
    detail: str
    received_ms: int


class Heading(msgspec.Struct, frozen=True):
    """A row of the quarantine without its bytes. times: how often they came."""

    id: int
    topic: str
    reason: str
    detail: str
    hash: bytes
    received_ms: int
    times: int


class Entry(Heading, frozen=True):
    """A row of the quarantine; raw may be cut, `detail` says so."""

    raw: bytes

    @property
    def whole(self) -> bool:
        """Whether these are all the bytes that came: a part of a message says nothing of the message."""
        return bool(self.topic) and hashlib.sha256(self.raw).digest() == self.hash


def keep(conn: Connection, refused: Sequence[Refused]) -> None:
    """Keep or count messages, in the caller's write transaction."""
    if not refused:
        return
    query = select(func.count(), func.coalesce(func.sum(func.length(quarantine.c.raw)), 0)).select_from(quarantine)
    rows, size_bytes = conn.execute(query).one()
    for one in refused:
        topic, digest = one.topic[:TOPIC_MAX], hashlib.sha256(one.raw).digest()
        if _count_again(conn, topic, digest):
            continue
        raw = one.raw[:RAW_MAX_BYTES]
        if rows >= ROWS_MAX or size_bytes + len(raw) > TOTAL_MAX_BYTES:
            _count_only(conn, one)
            continue
        cut = "" if len(raw) == len(one.raw) else f" (kept: the first {len(raw)} of {len(one.raw)} bytes)"
        _insert(conn, one, topic=topic, digest=digest, raw=raw, detail=one.detail[:DETAIL_MAX] + cut)
        rows += 1
        size_bytes += len(raw)


def headings(conn: Connection, limit: int = 100) -> list[Heading]:
    """The newest rows, newest first; their bytes, which may be many, are left where they are."""
    columns = [quarantine.c[name] for name in Heading.__struct_fields__]
    rows = conn.execute(select(*columns).order_by(quarantine.c.id.desc()).limit(limit))
    return [Heading(**row) for row in rows.mappings()]


def entry(conn: Connection, entry_id: int) -> Entry | None:
    """One row, bytes and all."""
    row = conn.execute(select(quarantine).where(quarantine.c.id == entry_id)).mappings().one_or_none()
    return None if row is None else Entry(**row)


def waiting_for_key(conn: Connection, topic: str, limit: int, max_bytes: int) -> list[Entry]:
    """What came on a topic signed by a key nobody knew, oldest first: so many rows and bytes at most."""
    query = select(quarantine.c.id, func.length(quarantine.c.raw)).where(
        quarantine.c.topic == topic, quarantine.c.reason == "unknown_key"
    )
    ids: list[int] = []
    for row_id, size_bytes in conn.execute(query.order_by(quarantine.c.id).limit(limit)):
        max_bytes -= size_bytes
        if max_bytes < 0:
            break
        ids.append(row_id)
    found = (entry(conn, row_id) for row_id in ids)
    return [one for one in found if one is not None]


def ids(conn: Connection, *reasons: str, after: int = 0, limit: int = ROWS_MAX) -> list[int]:
    """The rows beyond `after` that hold a message refused for one of these reasons (any, if none is named), by id."""
    query = select(quarantine.c.id).where(quarantine.c.topic != COUNTER_TOPIC, quarantine.c.id > after)
    if reasons:
        query = query.where(quarantine.c.reason.in_(reasons))
    return list(conn.scalars(query.order_by(quarantine.c.id).limit(limit)))


def judged_again(conn: Connection, entry_id: int, refused: Refused) -> None:
    """A row was refused once more: it says why it is now."""
    now = {"reason": refused.reason, "detail": refused.detail[:DETAIL_MAX]}
    conn.execute(update(quarantine).where(quarantine.c.id == entry_id).values(now))


def release(conn: Connection, entry_ids: Sequence[int]) -> None:
    """Take rows out: what was in them is on record now."""
    for entry_id in entry_ids:
        conn.execute(delete(quarantine).where(quarantine.c.id == entry_id))


def total(conn: Connection) -> int:
    """How many messages were ever refused."""
    return int(conn.scalar(select(func.coalesce(func.sum(quarantine.c.times), 0))) or 0)


def by_reason(conn: Connection) -> dict[str, int]:
    """How many messages were ever refused, per reason, the most frequent first."""
    times = func.sum(quarantine.c.times)
    query = select(quarantine.c.reason, times).group_by(quarantine.c.reason).order_by(times.desc(), quarantine.c.reason)
    return {reason: int(count) for reason, count in conn.execute(query)}


def _count_again(conn: Connection, topic: str, digest: bytes) -> bool:
    same = (quarantine.c.topic == topic) & (quarantine.c.hash == digest)
    again = conn.execute(update(quarantine).where(same).values(times=quarantine.c.times + 1))
    return again.rowcount > 0


def _count_only(conn: Connection, one: Refused) -> None:
    digest = hashlib.sha256(one.reason.encode()).digest()
    if not _count_again(conn, COUNTER_TOPIC, digest):
        detail = "the quarantine was full: these messages were refused for this reason and only counted"
        _insert(conn, one, topic=COUNTER_TOPIC, digest=digest, raw=b"", detail=detail)


def _insert(conn: Connection, one: Refused, *, topic: str, digest: bytes, raw: bytes, detail: str) -> None:
    row = {
        "topic": topic,
        "reason": one.reason,
        "detail": detail,
        "hash": digest,
        "raw": raw,
        "received_ms": one.received_ms,
        "times": 1,
    }
    conn.execute(insert(quarantine).values(row))
