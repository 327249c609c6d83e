"""What does not fit in the record: kept once per place, for the checks page and whoever raises alarms from it.

    chain_broken        a pack names another hash for the pack before it than that one has, or than was declared
    hash_differs        a declared loss names another hash for its last pack than the pack that came has
    two_copies          a new stream goes on from a head that is not the pack in the record: its buffer was a copy
    corrections_exceed  a boot has more clock corrections than count: those of this pack, or some, count for nothing
    head_differs        a gateway says that its newest pack is another one than the record has under that number
    cloud_behind        a gateway has let go of packs, or was shown a log, that are not here: this cloud was restored
    ledger_differs      a gateway was shown a root of the ledger that is not that of its leaves here

The first four follow from signed packs alone and are the same whatever the order of arrival; of one kind the
KEPT_MAX lowest seqs of a stream are kept. The others rest on an unsigned status: they are kept once per gateway. So
neither who lies nor who has a key fills a table. The log tells of a stream once per kind, and of STREAMS_LOGGED streams
of a gateway.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select

from cloud.db.names import named, some
from cloud.db.tables import finding

CHAIN_BROKEN, HASH_DIFFERS, TWO_COPIES = "chain_broken", "hash_differs", "two_copies"
CORRECTIONS_EXCEED = "corrections_exceed"
HEAD_DIFFERS, CLOUD_BEHIND, LEDGER_DIFFERS = "head_differs", "cloud_behind", "ledger_differs"
KINDS = (CHAIN_BROKEN, HASH_DIFFERS, TWO_COPIES, CORRECTIONS_EXCEED, HEAD_DIFFERS, CLOUD_BEHIND, LEDGER_DIFFERS)
KEPT_MAX = 256  # of one kind in one stream: what breaks so often is broken, and the first places say where
STREAMS_LOGGED = 16

Place = tuple[str, str, bytes]  # kind, gateway, stream

_log = logging.getLogger(__name__)


class Finding(msgspec.Struct, frozen=True):
    """Something that does not fit. stream and seq are empty and 0 where it is about the gateway as a whole."""

    kind: str
    gateway: str
    stream: bytes
    seq: int
    detail: str


class Found(msgspec.Struct, frozen=True):
    """A finding as it is kept, and when it was first found."""

    finding: Finding
    found_ms: int


def keep(conn: Connection, found: Sequence[Finding], now_ms: int) -> list[Finding]:
    """Keep those that are new, in the caller's write transaction, and tell the log of a stream once; returns them."""
    by_name = {(one.kind, one.gateway, one.stream, one.seq): one for one in reversed(found)}
    where = (finding.c.gateway, finding.c.stream, finding.c.seq)
    known: set[tuple[str, str, bytes, int]] = set()
    for kind in {one.kind for one in found}:
        for these in some(name[1:] for name in by_name if name[0] == kind):
            rows = conn.execute(select(*where).where(finding.c.kind == kind, named(these, *where)))
            known.update((kind, gateway, stream, seq) for gateway, stream, seq in rows)
    fresh = [by_name[name] for name in sorted(by_name) if name not in known]
    if not fresh:
        return []
    first: dict[Place, Finding] = {}
    for one in fresh:  # by seq
        first.setdefault((one.kind, one.gateway, one.stream), one)
    news = {place for place in first if not _is_told(conn, place)}
    conn.execute(insert(finding), [msgspec.structs.asdict(one) | {"found_ms": now_ms} for one in fresh])
    for place, one in first.items():
        _bound(conn, place)
        if place in news:
            _log.error(
                "%s: gateway=%s stream=%s seq=%d %s", one.kind, one.gateway, one.stream.hex(), one.seq, one.detail
            )
    return fresh


def _is_told(conn: Connection, place: Place) -> bool:
    """Whether the log has said so of this stream, or of so many of its gateway that one more says nothing."""
    kind, gateway, stream = place
    here = (finding.c.kind == kind, finding.c.gateway == gateway)
    if conn.scalar(select(finding.c.id).where(*here, finding.c.stream == stream).limit(1)) is not None:
        return True
    streams = select(finding.c.stream).where(*here).distinct().limit(STREAMS_LOGGED)
    return len(conn.scalars(streams).all()) == STREAMS_LOGGED


def _bound(conn: Connection, place: Place) -> None:
    """Keep the lowest: which ones these are no order of arrival changes."""
    kind, gateway, stream = place
    here = (finding.c.kind == kind, finding.c.gateway == gateway, finding.c.stream == stream)
    last = conn.scalar(select(finding.c.seq).where(*here).order_by(finding.c.seq).offset(KEPT_MAX - 1).limit(1))
    if last is not None:
        conn.execute(delete(finding).where(*here, finding.c.seq > last))


def is_known(conn: Connection, one: Finding) -> bool:
    """Whether a finding of this kind and place is kept already."""
    same = (finding.c[name] == getattr(one, name) for name in ("kind", "gateway", "stream", "seq"))
    return conn.scalar(select(finding.c.id).where(*same)) is not None


def newest(conn: Connection, limit: int) -> list[Found]:
    """The findings, newest first."""
    columns = [finding.c[name] for name in Finding.__struct_fields__]
    rows = conn.execute(select(*columns, finding.c.found_ms).order_by(finding.c.id.desc()).limit(limit))
    return [Found(Finding(*row[:-1]), row.found_ms) for row in rows]
