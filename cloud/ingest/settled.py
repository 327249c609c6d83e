"""Which seqs of a stream are settled: accepted, declared lost, or finally refused.

Invariant: the ranges of a stream are ascending and neither overlap nor touch, so that the first one, if it begins
at 1, is exactly what a receipt calls `through`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, func, select

from cloud.db.bulk import delete_rows, put_rows
from cloud.db.tables import settled
from wire.observation import INT64_MAX
from wire.pack import Loss, Pack

Range = tuple[int, int]  # first and last seq, both settled
Stream = tuple[str, bytes]  # gateway, stream


# Built once: each is asked for every stream of every group.
_LOWEST = (
    select(settled.c.first_seq, settled.c.last_seq)
    .where(settled.c.gateway == bindparam("of"), settled.c.stream == bindparam("in"))
    .order_by(settled.c.first_seq)
    .limit(bindparam("limit"))
)
_OF_STREAM = settled.c.gateway == bindparam("of"), settled.c.stream == bindparam("in")
# Of all that begin below, only the last one can reach up to here: so a stream in shreds is not read through.
_BELOW = select(func.max(settled.c.first_seq)).where(*_OF_STREAM, settled.c.first_seq <= bindparam("lowest"))
_TOUCHED = select(settled.c.first_seq, settled.c.last_seq).where(
    *_OF_STREAM,
    settled.c.first_seq >= func.coalesce(_BELOW.scalar_subquery(), bindparam("lowest")),
    settled.c.first_seq <= bindparam("highest"),
    settled.c.last_seq >= bindparam("lowest"),
)


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same seqs as ascending ranges that neither overlap nor touch."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def settles(pack: Pack) -> list[tuple[Stream, Range]]:
    """What an accepted pack settles: itself, and the losses it declares in any stream of its gateway."""
    own: list[tuple[Stream, Range]] = [((pack.gateway, pack.stream), (pack.seq, pack.seq))]
    return own + [((pack.gateway, loss.stream), _lost(loss)) for loss in pack.losses]


def settle(conn: Connection, news: Mapping[Stream, list[Range]]) -> list[tuple[Stream, Range]]:
    """Add ranges per stream, in the caller's write transaction; returns those that were settled already.

    Streams are taken in key order.
    """
    before: list[tuple[Stream, Range]] = []
    stale: list[tuple[str, bytes, int]] = []
    fresh: list[tuple[str, bytes, int, int]] = []
    for (gateway, stream), added in sorted(news.items()):
        merged = merge(added)
        touched = _touched(conn, gateway, stream, merged)
        before += [((gateway, stream), one) for one in added if any(a <= one[0] and one[1] <= b for a, b in touched)]
        ranges = merge(merged + touched)
        firsts = {first for first, _ in ranges}
        stale += [(gateway, stream, first) for first, _ in touched if first not in firsts]
        fresh += [(gateway, stream, first, last) for first, last in ranges]
    delete_rows(conn, settled, stale)
    put_rows(conn, settled, fresh)
    return before


def ranges(conn: Connection, gateway: str, stream: bytes, limit: int) -> list[Range]:
    """The lowest `limit` settled ranges of a stream."""
    return [(first, last) for first, last in conn.execute(_LOWEST, {"of": gateway, "in": stream, "limit": limit})]


def missing(conn: Connection, gateway: str, stream: bytes, through: int, limit: int) -> list[Range]:
    """The lowest `limit` ranges of seqs in [1, through] that are not settled."""
    found: list[Range] = []
    at = 1
    for first, last in ranges(conn, gateway, stream, limit + 1):
        if at < first and at <= through:
            found.append((at, min(first - 1, through)))
        at = last + 1
    if at <= through:
        found.append((at, through))
    return found[:limit]


def is_settled(conn: Connection, gateway: str, stream: bytes, seqs: Range) -> bool:
    """Whether every seq of a range is settled."""
    first, last = seqs
    covering = select(settled.c.first_seq).where(
        settled.c.gateway == gateway,
        settled.c.stream == stream,
        settled.c.first_seq <= first,
        settled.c.last_seq >= last,
    )
    return conn.scalar(covering.limit(1)) is not None


def _touched(conn: Connection, gateway: str, stream: bytes, added: list[Range]) -> list[Range]:
    lowest, highest = added[0][0], added[-1][1]
    values = {"of": gateway, "in": stream, "highest": min(highest + 1, INT64_MAX), "lowest": lowest - 1}
    return [(first, last) for first, last in conn.execute(_TOUCHED, values)]


def _lost(loss: Loss) -> Range:
    """An unknown end is open: whoever knew it is gone, and nothing will come to close the hole."""
    return loss.first_seq, INT64_MAX if loss.last_seq is None else loss.last_seq
