"""What could not be accepted is kept raw, with the reason, within bounds.

Bounds: the same bytes on the same topic are one row with a count; a message of more than RAW_MAX_BYTES is cut to
HEAD_BYTES; when ROWS_MAX rows or TOTAL_MAX_BYTES are reached the oldest stay, and what else comes is counted per
reason. So nobody can fill the disk or push out what was there before, and nothing is dropped uncounted.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Connection, Engine, bindparam, delete, func, select, update

from cloud.db.bulk import find, insert_rows
from cloud.db.tables import quarantine
from wire.envelope import ENVELOPE_MAX_BYTES

RAW_MAX_BYTES = ENVELOPE_MAX_BYTES  # whatever might have been a pack is kept whole
HEAD_BYTES = 4 * 1024  # of what is larger, and can be no pack: what it is shows in its beginning
ROWS_MAX = 10_000
TOTAL_MAX_BYTES = 256 * 1024 * 1024
TOPIC_MAX, DETAIL_MAX = 200, 500  # characters
COUNTER_TOPIC = ""  # the rows that only count, one per reason
_ONLY_COUNTED = "the quarantine was full: these messages were refused for this reason and only counted"

_Name = tuple[str, bytes]  # topic, SHA-256
_NAME = [quarantine.c.topic, quarantine.c.hash]
_ROW = [*_NAME, *(quarantine.c[name] for name in ("reason", "detail", "raw", "received_ms", "times"))]


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
    """Keep or count messages, in the caller's write transaction: a few statements for a group, however large."""
    if not refused:
        return
    rows, size_bytes = _held(conn)
    named = [(one.topic[:TOPIC_MAX], hashlib.sha256(one.raw).digest()) for one in refused]
    known = {*find(conn, _NAME, _NAME, [*named, *{_counter(one.reason) for one in refused}])}
    again: dict[_Name, int] = {}
    fresh: dict[_Name, tuple[object, ...]] = {}
    for one, name in zip(refused, named, strict=True):
        is_whole = len(one.raw) <= RAW_MAX_BYTES
        raw = one.raw if is_whole else one.raw[:HEAD_BYTES]
        is_new = name not in known and name not in fresh
        full = rows + len(fresh) >= ROWS_MAX or size_bytes + len(raw) > TOTAL_MAX_BYTES
        at = _counter(one.reason) if is_new and full else name
        if at in known or at in fresh:
            again[at] = again.get(at, 0) + 1
        elif at == name:
            cut = "" if is_whole else f" (kept: the first {len(raw)} of {len(one.raw)} bytes)"
            fresh[at] = (*at, one.reason, one.detail[:DETAIL_MAX] + cut, raw, one.received_ms, 1)
            size_bytes += len(raw)
        else:
            fresh[at] = (*at, one.reason, _ONLY_COUNTED, b"", one.received_ms, 1)
    insert_rows(conn, _ROW, list(fresh.values()))
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
    return next(iter(entries(conn, [entry_id])), None)


def entries(conn: Connection, entry_ids: Sequence[int]) -> list[Entry]:
    """Those of these rows that are there, bytes and all, by id."""
    query = select(quarantine).where(quarantine.c.id.in_(entry_ids)).order_by(quarantine.c.id)
    return [Entry(**row) for row in conn.execute(query).mappings()]


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
    return entries(conn, ids)


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


def _counter(reason: str) -> _Name:
    """The row that only counts messages of this reason."""
    return COUNTER_TOPIC, hashlib.sha256(reason.encode()).digest()


class _Row(NamedTuple):
    """What is asked of a row to know how much is held."""

    id: int
    hash: bytes
    size_bytes: int


class _Held(NamedTuple):
    """What was held when it was last added up: the newest row of then, and how much was there before it."""

    rows: int
    size_bytes: int
    newest: _Row


_NOTHING = _Held(0, 0, _Row(0, b"", 0))
_added_up: MutableMapping[Engine, _Held] = WeakKeyDictionary()


def _held(conn: Connection) -> tuple[int, int]:
    """How many rows there are, and their bytes; to be asked before the transaction adds one.

    Adding up 10,000 rows takes as long as taking in several packs. So only those are added that came since the last
    time, as long as none was taken out: then the newest row of that time is still there, and so is each before it.
    """
    rows = int(conn.scalar(select(func.count()).select_from(quarantine)) or 0)
    before = _added_up.get(conn.engine, _NOTHING)
    since = _from(conn, before.newest.id)
    if rows != before.rows + len(since) or (before.rows and since[:1] != [before.newest]):
        before, since = _NOTHING, _from(conn, 0)
    size_bytes = before.size_bytes + sum(one.size_bytes for one in since)
    if since:
        newest = since[-1]
        _added_up[conn.engine] = _Held(rows - 1, size_bytes - newest.size_bytes, newest)
    return rows, size_bytes


def _from(conn: Connection, row_id: int) -> list[_Row]:
    """The rows from this one on."""
    query = select(quarantine.c.id, quarantine.c.hash, func.length(quarantine.c.raw)).order_by(quarantine.c.id)
    return [_Row(*row) for row in conn.execute(query.where(quarantine.c.id >= row_id))]
