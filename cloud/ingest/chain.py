"""Whether the packs of a stream hang together: each names the hash of the one before it.

Newest packs travel first, so a pack is accepted whatever is known of its neighbours. A link is checked when the later
one of its two ends arrives: a pack, or the hash that a loss declares. So every link is looked at once, by name,
whatever the order; a mismatch is a finding and refuses nothing. The head that a successor stream names is held
against the pack of that number only: a copy's head is not what the original's next pack hangs on.

`linked_through` needs no table of its own: below the first number that is missing every link was checked, and what
did not hold is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, func, select

from cloud.db.bulk import find
from cloud.db.tables import declared_loss, finding, pack
from cloud.ingest import settled
from cloud.ingest.finding import CHAIN_BROKEN, HASH_DIFFERS, TWO_COPIES, Finding
from cloud.telemetry.declared import DeclaredHash, PackName, declared_hashes
from wire.observation import INT64_MAX
from wire.pack import Pack

SEQS_PER_QUERY = 500


class _Link(msgspec.Struct, frozen=True):
    """A pack's own hash and the one it names for the pack before."""

    hash: bytes
    prev: bytes | None


def check(conn: Connection, packs: Sequence[Pack]) -> list[Finding]:
    """The links that these packs, stored and declared in this transaction, close and that do not hold."""
    ends = {end for one in packs for end in _ends(one)}
    links = _links(conn, {(gateway, stream, seq + step) for gateway, stream, seq in ends for step in (-1, 0, 1)})
    declared = declared_hashes(conn, {(name[0], name[1], name[2] + step) for name in ends for step in (-1, 0)})
    return [one for name in sorted(links) for one in _judge(name, links, declared)]


def linked_through(conn: Connection, gateway: str, stream: bytes) -> int:
    """The highest seq below which nothing is missing undeclared and every link holds; 0 when pack 1 is missing.

    A loss that declares no hash ends it: whether the pack behind hangs on what was lost cannot be known.
    """
    first = settled.ranges(conn, gateway, stream, 1)
    if not first or first[0][0] != 1:
        return 0
    highest = conn.scalar(select(func.max(pack.c.seq)).where(pack.c.gateway == gateway, pack.c.stream == stream))
    declared = conn.scalar(
        select(func.max(declared_loss.c.last_seq)).where(
            declared_loss.c.gateway == gateway, declared_loss.c.stream == stream
        )
    )
    broken = conn.scalar(
        select(func.min(finding.c.seq)).where(
            finding.c.kind == CHAIN_BROKEN, finding.c.gateway == gateway, finding.c.stream == stream
        )
    )
    end = min(first[0][1], max(highest or 0, declared or 0))
    breaks = [one for one in (broken, _unknown(conn, gateway, stream)) if one is not None]
    return min([end, *(one - 1 for one in breaks)])


def _ends(one: Pack) -> Iterable[PackName]:
    """The names whose hash a pack tells: its own, and those it declares."""
    yield one.gateway, one.stream, one.seq
    for loss in one.losses:
        if loss.last_seq is not None and loss.last_hash is not None:
            yield one.gateway, loss.stream, loss.last_seq
    if one.predecessor is not None:
        yield one.gateway, one.predecessor.stream, one.predecessor.last_seq


def _links(conn: Connection, wanted: set[PackName]) -> dict[PackName, _Link]:
    by, names = (pack.c.gateway, pack.c.stream, pack.c.seq), [one for one in wanted if 1 <= one[2] <= INT64_MAX]
    rows = find(conn, [*by, pack.c.hash, pack.c.prev], by, names)
    return {(gateway, stream, seq): _Link(digest, prev) for gateway, stream, seq, digest, prev in rows}


def _judge(
    name: PackName, links: dict[PackName, _Link], declared: dict[PackName, set[DeclaredHash]]
) -> Iterable[Finding]:
    gateway, stream, seq = name
    link, before = links[name], (gateway, stream, seq - 1)
    told = {one.hash for one in declared.get(before, ()) if one.by == "loss"}
    if before in links:
        told.add(links[before].hash)
    if wrong := told - {link.prev}:
        detail = f"names {_short(link.prev)} for the pack before it, which is {_short(min(wrong))}"
        yield Finding(CHAIN_BROKEN, gateway, stream, seq, detail)
    for one in sorted(declared.get(name, ())):
        if one.hash != link.hash:
            kind = HASH_DIFFERS if one.by == "loss" else TWO_COPIES
            detail = f"the {one.by} says {_short(one.hash)}, the pack is {_short(link.hash)}"
            yield Finding(kind, gateway, stream, seq, detail)


def _unknown(conn: Connection, gateway: str, stream: bytes) -> int | None:
    """The first pack that stands behind a loss without a hash, so that nobody knows what it hangs on."""
    lost, here = declared_loss, (pack.c.gateway == gateway) & (pack.c.stream == stream)
    ends = select(lost.c.last_seq).where(
        lost.c.gateway == gateway, lost.c.stream == stream, lost.c.last_seq.is_not(None), lost.c.last_hash.is_(None)
    )
    unnamed = [int(seq) for seq in conn.scalars(ends.distinct().order_by(lost.c.last_seq))]
    for at in range(0, len(unnamed), SEQS_PER_QUERY):
        ends_here = unnamed[at : at + SEQS_PER_QUERY]
        told = declared_hashes(conn, [(gateway, stream, seq) for seq in ends_here])
        around = {seq for one in ends_here for seq in (one, min(one + 1, INT64_MAX))}
        there = set(conn.scalars(select(pack.c.seq).where(here, pack.c.seq.in_(around))))
        for seq in ends_here:
            if seq not in there and (gateway, stream, seq) not in told and seq + 1 in there:
                return seq + 1
    return None


def _short(digest: bytes | None) -> str:
    return "nothing" if digest is None else digest.hex()[:16]
