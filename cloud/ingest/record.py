"""A group of arrivals becomes one transaction: packs, readings, scans, settled ranges, leaves, refusals.

Invariants: what `record` returned for is on the disk; a pack is stored once, whatever came how often; the first
envelope of an identity is never replaced; a group that cannot be stored whole leaves nothing behind; who follows a
stream by seq is sent back to a pack that came after its seq was settled; what is derived from packs does not depend on
the order or the groups in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select
from sqlalchemy.exc import DBAPIError

from cloud.db import names, tables
from cloud.db.cursor import send_back
from cloud.db.engine import reading, writing
from cloud.errors import Rejected
from cloud.ingest import chain, finding, quarantine, settled
from cloud.ingest.accept import (
    Accepted,
    Candidate,
    Conflict,
    Duplicate,
    Identity,
    Quarantined,
    Verdict,
    examine,
    judge,
)
from cloud.ingest.quarantine import Refused
from cloud.ingest.settled import Range, Stream
from cloud.ledger import log
from cloud.registry.keys import SignedPack, keys_of, keys_of_many, mark_simulated, note_packs
from cloud.telemetry import declared
from cloud.telemetry import record as telemetry
from cloud.telemetry.boots import Stored
from wire.topics import TopicError, gateway_of, up_pack

CONFLICTS_MAX = 16  # of one identity: more of them prove nothing new, and are kept in the quarantine's bounds
REPLAY_MAX = 1_000  # packs that came before their key, judged again at once


class Arrival(msgspec.Struct, frozen=True):
    """A message as it came from the broker."""

    topic: str
    payload: bytes
    received_ms: int


class Outcome(msgspec.Struct, frozen=True):
    """What became of a group. owed: the streams whose gateways wait for a receipt."""

    accepted: int
    duplicates: int
    conflicts: int
    quarantined: int
    owed: frozenset[Stream]


class Unstorable(Rejected):
    """The database refuses the values themselves: trying again would not help."""


def record(engine: Engine, arrivals: Sequence[Arrival]) -> Outcome:
    """Judge and store a group; returns after the commit.

    Raises DatabaseUnavailable (nothing stored, try the same group again) or Unstorable (nothing stored, one of the
    group is at fault).
    """
    examined = _examine(engine, arrivals)
    changing = [isinstance(one, Candidate) and one.pack.key_change is not None for one in examined]
    if any(changing) and len(arrivals) > 1:  # whom to believe must be settled before the next one is judged
        alone = [record(engine, [one]) for one, changes in zip(arrivals, changing, strict=True) if changes]
        others = [one for one, changes in zip(arrivals, changing, strict=True) if not changes]
        return _sum(*alone, record(engine, others)) if others else _sum(*alone)
    try:
        with writing(engine) as conn:
            verdicts = _judge(conn, examined)
            _store(conn, list(zip(arrivals, verdicts, strict=True)))
    except (DBAPIError, OverflowError, UnicodeEncodeError) as error:
        raise Unstorable(f"a group of {len(arrivals)} messages: {error}") from error
    outcome = _outcome(verdicts)
    if any(changing):
        outcome = _sum(outcome, _replay(engine, {one.pack.gateway for one in examined if isinstance(one, Candidate)}))
    return outcome


def _replay(engine: Engine, gateways: Iterable[str]) -> Outcome:
    """Judge again what came before the key that signed it was known; what is accepted now leaves the quarantine.

    What this misses the gateways send again by themselves.
    """
    outcome = _sum()
    for gateway in sorted(gateways):
        with reading(engine) as conn:
            kept = quarantine.waiting_for_key(conn, up_pack(gateway), REPLAY_MAX)
            keys = {gateway: keys_of(conn, gateway)}
        again = [
            (one, Arrival(one.topic, one.raw, one.received_ms))
            for one in kept
            if isinstance(examine(one.topic, one.raw, keys=keys[gateway], received_ms=one.received_ms), Candidate)
        ]
        if again:
            outcome = _sum(outcome, record(engine, [arrival for _, arrival in again]))
            with writing(engine) as conn:
                quarantine.release(conn, [one.id for one, _ in again])
    return outcome


def refuse(engine: Engine, arrival: Arrival, why: str) -> Outcome:
    """Put one message that could not be stored into the quarantine. Raises DatabaseUnavailable."""
    with writing(engine) as conn:
        quarantine.keep(conn, [_refused(arrival, "unstorable", why)])
    return Outcome(0, 0, 0, 1, frozenset())


def _examine(engine: Engine, arrivals: Sequence[Arrival]) -> list[Candidate | Quarantined]:
    """Signatures and decoding cost the most: all of it happens before the write lock is taken."""
    names = [_gateway(arrival.topic) for arrival in arrivals]
    with reading(engine) as conn:
        keys = keys_of_many(conn, {name for name in names if name})
    return [
        examine(one.topic, one.payload, keys=keys.get(name, []), received_ms=one.received_ms)
        for one, name in zip(arrivals, names, strict=True)
    ]


def _gateway(topic: str) -> str:
    try:
        return gateway_of(topic)
    except TopicError:
        return ""  # `examine` says what is wrong with it


def _judge(conn: Connection, examined: Sequence[Candidate | Quarantined]) -> list[Verdict]:
    stored = _stored_hashes(conn, {one.identity for one in examined if isinstance(one, Candidate)})
    verdicts: list[Verdict] = []
    for one in examined:
        if isinstance(one, Quarantined):
            verdicts.append(one)
            continue
        verdicts.append(judge(one, stored.get(one.identity)))
        stored.setdefault(one.identity, one.hash)  # the same identity may come twice in one group
    return verdicts


def _stored_hashes(conn: Connection, identities: Iterable[Identity]) -> dict[Identity, bytes]:
    table = tables.pack
    found: dict[Identity, bytes] = {}
    for some in names.some(identities):
        query = select(table.c.gateway, table.c.stream, table.c.seq, table.c.hash)
        for row in conn.execute(query.where(names.named(some, table.c.gateway, table.c.stream, table.c.seq))):
            found[row.gateway, row.stream, row.seq] = row.hash
    return found


def _store(conn: Connection, judged: Sequence[tuple[Arrival, Verdict]]) -> None:
    accepted = [(arrival, verdict.candidate) for arrival, verdict in judged if isinstance(verdict, Accepted)]
    if accepted:
        _store_packs(conn, accepted)
    refused = [
        _refused(arrival, verdict.reason, verdict.detail)
        for arrival, verdict in judged
        if isinstance(verdict, Quarantined)
    ]
    for arrival, verdict in judged:
        if isinstance(verdict, Conflict) and not _store_conflict(conn, arrival, verdict.candidate):
            refused.append(_refused(arrival, "conflict", f"more than {CONFLICTS_MAX} envelopes of one identity"))
    quarantine.keep(conn, refused)


def _store_packs(conn: Connection, accepted: Sequence[tuple[Arrival, Candidate]]) -> None:
    leaves = [log.Leaf("pack", one.hash, _ref(one)) for _, one in accepted]
    first_leaf = log.append_many(conn, leaves)
    first_id = int(conn.scalar(select(func.coalesce(func.max(tables.pack.c.id), 0))) or 0) + 1
    rows = [
        {
            "id": first_id + at,
            "gateway": one.pack.gateway,
            "stream": one.pack.stream,
            "seq": one.pack.seq,
            "hash": one.hash,
            "prev": one.pack.prev,
            "envelope": arrival.payload,
            "observations": one.pack.count,
            "simulated": one.pack.simulated,
            "sealed_ms": one.pack.sealed.observed_at_ms,
            "received_ms": arrival.received_ms,
            "leaf_index": first_leaf + at,
        }
        for at, (arrival, one) in enumerate(accepted)
    ]
    conn.execute(insert(tables.pack), rows)
    note_packs(conn, [_signed(one) for _, one in accepted], max(arrival.received_ms for arrival, _ in accepted))
    stored = [Stored(first_id + at, one.pack, of.received_ms) for at, (of, one) in enumerate(accepted)]
    declared.record(conn, [(one.id, one.pack) for one in stored])
    telemetry.record(conn, stored)
    finding.keep(conn, chain.check(conn, [one.pack for one in stored]), accepted[0][0].received_ms)
    _settle(conn, [one for _, one in accepted])
    simulated = {one.pack.gateway for _, one in accepted if one.pack.simulated}
    if simulated:
        mark_simulated(conn, simulated)


def _signed(one: Candidate) -> SignedPack:
    pack = one.pack
    predecessor = None if pack.predecessor is None else pack.predecessor.stream
    return SignedPack(pack.gateway, one.kid, pack.stream, predecessor, pack.key_change)


def _settle(conn: Connection, accepted: Sequence[Candidate]) -> None:
    """Settle what the packs say, and send followers back to those that had been declared lost and came nevertheless."""
    news: dict[Stream, list[Range]] = {}
    for one in accepted:
        for stream, seqs in settled.settles(one.pack):
            news.setdefault(stream, []).append(seqs)
    settled_before = set(settled.settle(conn, news))
    for one in accepted:
        gateway, stream_id, seq = one.identity
        if ((gateway, stream_id), (seq, seq)) in settled_before:
            send_back(conn, gateway, stream_id, seq)


def _store_conflict(conn: Connection, arrival: Arrival, candidate: Candidate) -> bool:
    """Keep the second envelope beside the first; False when there are enough of them."""
    gateway, stream, seq = candidate.identity
    pack, table = tables.pack, tables.conflict
    pack_id = conn.execute(
        select(pack.c.id).where(pack.c.gateway == gateway, pack.c.stream == stream, pack.c.seq == seq)
    ).scalar_one()
    known = set(conn.scalars(select(table.c.hash).where(table.c.pack_id == pack_id)))
    if candidate.hash in known:
        return True
    if len(known) >= CONFLICTS_MAX:
        return False
    row = {
        "pack_id": pack_id,
        "hash": candidate.hash,
        "envelope": arrival.payload,
        "received_ms": arrival.received_ms,
    }
    conn.execute(insert(table).values(row))
    return True


def _ref(one: Candidate) -> str:
    return f"{one.pack.gateway}/{one.pack.stream.hex()}/{one.pack.seq}"


def _refused(arrival: Arrival, reason: str, detail: str) -> Refused:
    return Refused(arrival.topic, arrival.payload, reason, detail, arrival.received_ms)


def _outcome(verdicts: Sequence[Verdict]) -> Outcome:
    owed: set[Stream] = set()
    for verdict in verdicts:
        if isinstance(verdict, Accepted):
            owed.update(stream for stream, _ in settled.settles(verdict.candidate.pack))
        elif not isinstance(verdict, Quarantined):
            owed.add((verdict.candidate.pack.gateway, verdict.candidate.pack.stream))
    return Outcome(
        accepted=_count(verdicts, Accepted),
        duplicates=_count(verdicts, Duplicate),
        conflicts=_count(verdicts, Conflict),
        quarantined=_count(verdicts, Quarantined),
        owed=frozenset(owed),
    )


def _sum(*outcomes: Outcome) -> Outcome:
    return Outcome(
        accepted=sum(one.accepted for one in outcomes),
        duplicates=sum(one.duplicates for one in outcomes),
        conflicts=sum(one.conflicts for one in outcomes),
        quarantined=sum(one.quarantined for one in outcomes),
        owed=frozenset[Stream]().union(*(one.owed for one in outcomes)),
    )


def _count(verdicts: Sequence[Verdict], kind: type[Verdict]) -> int:
    return sum(isinstance(verdict, kind) for verdict in verdicts)
