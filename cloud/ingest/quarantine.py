"""What could not be accepted is kept raw, with the reason, within bounds.

Bounds: the same bytes on the same topic are one row with a count; of one message at most RAW_MAX_BYTES are kept;
when ROWS_MAX rows or TOTAL_MAX_BYTES are reached the oldest stay, and what else comes is counted per reason. So
nobody can fill the disk or push out what was there before, and nothing is dropped uncounted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from cloud.db.tables import quarantine
from wire.envelope import ENVELOPE_MAX_BYTES

RAW_MAX_BYTES = ENVELOPE_MAX_BYTES  # whatever might have been a pack fits whole
ROWS_MAX = 10_000
TOTAL_MAX_BYTES = 256 * 1024 * 1024
TOPIC_MAX, DETAIL_MAX = 200, 500  # characters
COUNTER_TOPIC = ""  # the rows that only count, one per reason
_ONLY_COUNTED = "the quarantine was full: these messages were refused for this reason and only counted"

_Name = tuple[str, bytes]  # topic, SHA-256


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
    """Keep or count messages, in the caller's write transaction: three statements for a group."""
    if not refused:
        return
    query = select(func.count(), func.coalesce(func.sum(func.length(quarantine.c.raw)), 0)).select_from(quarantine)
    rows, size_bytes = conn.execute(query).one()
    named = [(one.topic[:TOPIC_MAX], hashlib.sha256(one.raw).digest()) for one in refused]
    known = _known(conn, [*named, *(_counter(one) for one in refused)])
    again: dict[_Name, int] = {}
    fresh: dict[_Name, dict[str, object]] = {}
    for one, name in zip(refused, named, strict=True):
        raw = one.raw[:RAW_MAX_BYTES]
        is_new = name not in known and name not in fresh
        full = rows + len(fresh) >= ROWS_MAX or size_bytes + len(raw) > TOTAL_MAX_BYTES
        at = _counter(one) if is_new and full else name
        if at in known or at in fresh:
            again[at] = again.get(at, 0) + 1
        elif at == name:
            cut = "" if len(raw) == len(one.raw) else f" (kept: the first {len(raw)} of {len(one.raw)} bytes)"
            fresh[at] = _row(one, at, raw, one.detail[:DETAIL_MAX] + cut)
            size_bytes += len(raw)
        else:
            fresh[at] = _row(one, at, b"", _ONLY_COUNTED)
    if fresh:
        conn.execute(insert(quarantine), list(fresh.values()))
    if again:
        same = (quarantine.c.topic == bindparam("of")) & (quarantine.c.hash == bindparam("named"))
        more = update(quarantine).where(same).values(times=quarantine.c.times + bindparam("more"))
        conn.execute(more, [{"of": of, "named": digest, "more": count} for (of, digest), count in again.items()])


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


def count(conn: Connection) -> int:
    """How many rows hold a message."""
    query = select(func.count()).select_from(quarantine).where(quarantine.c.topic != COUNTER_TOPIC)
    return int(conn.scalar(query) or 0)


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


def _known(conn: Connection, names: Sequence[_Name]) -> set[_Name]:
    """Which of these have a row."""
    topics, digests = {topic for topic, _ in names}, {digest for _, digest in names}
    query = select(quarantine.c.topic, quarantine.c.hash)
    found = conn.execute(query.where(quarantine.c.topic.in_(topics), quarantine.c.hash.in_(digests)))
    return {(row.topic, row.hash) for row in found}


def _counter(one: Refused) -> _Name:
    """The row that only counts messages of this reason."""
    return COUNTER_TOPIC, hashlib.sha256(one.reason.encode()).digest()


def _row(one: Refused, name: _Name, raw: bytes, detail: str) -> dict[str, object]:
    topic, digest = name
    return {
        "topic": topic,
        "reason": one.reason,
        "detail": detail,
        "hash": digest,
        "raw": raw,
        "received_ms": one.received_ms,
        "times": 1,
    }
