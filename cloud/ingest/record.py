"""A group of arrivals becomes one transaction: packs, readings, scans, settled ranges, leaves, refusals.

Invariants: what `record` returned for is on the disk; a pack is stored once, whatever came how often; the first
envelope of an identity is never replaced; a group that cannot be stored whole leaves nothing behind; who follows a
stream by seq is sent back to a pack that came after its seq was settled; what lay in the quarantine
leaves it only for the record, in the same transaction; what is derived from packs does not depend on the order or the
groups in which they came.
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
    key_named_by,
)
from cloud.ingest.quarantine import Refused
from cloud.ingest.settled import Range, Stream
from cloud.ledger import log
from cloud.registry.keys import SignedPack, keys_of, keys_of_many, mark_simulated, note_packs
from cloud.telemetry import declared
from cloud.telemetry import record as telemetry
from cloud.telemetry.boots import Stored
from cloud.telemetry.corrections import CORRECTIONS_MAX
from cloud.telemetry.place import places
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.topics import TopicError, gateway_of, up_pack

CONFLICTS_MAX = 16  # of one identity: more of them prove nothing new, and are kept in the quarantine's bounds
#: Packs that came before their key and are judged again because of one key: in all, and in one transaction.
REPLAY_MAX, REPLAY_MAX_BYTES = 1_000, 64 * ENVELOPE_MAX_BYTES
REPLAY_GROUP = 100


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

    A key that becomes known lets in what came before it, and that may hold the next key: so there is a list of what
    is still to do, however long a row of keys is. Raises DatabaseUnavailable (try the same group again, what of it
    was stored already is a duplicate then) or Unstorable (one of the group is at fault).
    """
    return _work_off(engine, [[_Item(one) for one in arrivals]])


def replay(engine: Engine, entries: Sequence[quarantine.Entry]) -> Outcome:
    """Judge again what lies in the quarantine, after a fix; what is refused stays there with the new reason.

    Counted is what left the quarantine. Nobody needs to be told: gateways send what has no receipt again, it is a
    duplicate then, and gets one. Raises DatabaseUnavailable.
    """
    items = [_Item(Arrival(one.topic, one.raw, one.received_ms), one.id) for one in entries]
    return _work_off(engine, [items[at : at + REPLAY_GROUP] for at in range(0, len(items), REPLAY_GROUP)])


def _work_off(engine: Engine, work: list[list[_Item]]) -> Outcome:
    outcomes = []
    while work:
        group = work.pop()
        examined = _examine(engine, [one.arrival for one in group])
        changing = [isinstance(one, Candidate) and one.pack.key_change is not None for one in examined]
        if any(changing) and len(group) > 1:  # whom to believe must be settled before the next one is judged
            others = [one for one, changes in zip(group, changing, strict=True) if not changes]
            work += [others] if others else []
            work += [[one] for one, changes in zip(group, changing, strict=True) if changes][::-1]
            continue
        try:
            outcome, with_new_key = _record(engine, group, examined)
        except Unstorable:
            if any(one.entry is None for one in group):
                raise
            work += [[one] for one in group] if len(group) > 1 else []  # the one at fault stays where it is
            continue
        outcomes.append(outcome)
        for gateway in sorted(with_new_key):
            work += _waiting(engine, gateway)
    return _sum(*outcomes)


class _Item(msgspec.Struct, frozen=True):
    """What is to be judged. entry: its row in the quarantine, if it lies there and is judged again."""

    arrival: Arrival
    entry: int | None = None


def _record(
    engine: Engine, group: Sequence[_Item], examined: Sequence[Candidate | Quarantined]
) -> tuple[Outcome, set[str]]:
    """Store a group in one transaction; the gateways of which a new key is known now. Raises Unstorable."""
    try:
        with writing(engine) as conn:
            verdicts = _judge(conn, examined)
            with_new_key = _store(conn, list(zip(group, verdicts, strict=True)))
    except (DBAPIError, OverflowError, UnicodeEncodeError) as error:
        raise Unstorable(f"a group of {len(group)} messages: {error}") from error
    news = [
        verdict
        for one, verdict in zip(group, verdicts, strict=True)
        if one.entry is None or not isinstance(verdict, Quarantined)
    ]
    return _outcome(news), with_new_key


def _waiting(engine: Engine, gateway: str) -> list[list[_Item]]:
    """What came before the key that signed it was known, in groups; what is refused again stays in the quarantine.

    What this misses the gateways send again by themselves.
    """
    with reading(engine) as conn:
        kept = quarantine.waiting_for_key(conn, up_pack(gateway), REPLAY_MAX, REPLAY_MAX_BYTES)
        keys = keys_of(conn, gateway)
    kids = {one.kid for one in keys}
    items = [
        _Item(Arrival(one.topic, one.raw, one.received_ms), one.id) for one in kept if key_named_by(one.raw) in kids
    ]
    return [items[at : at + REPLAY_GROUP] for at in range(0, len(items), REPLAY_GROUP)]


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


def _store(conn: Connection, judged: Sequence[tuple[_Item, Verdict]]) -> set[str]:
    """Store what was judged; the gateways of which a new key is known now."""
    accepted = [(one.arrival, verdict.candidate) for one, verdict in judged if isinstance(verdict, Accepted)]
    with_new_key = _store_packs(conn, accepted) if accepted else set()
    refused: list[Refused] = []
    released: list[int] = []
    for one, verdict in judged:
        refusal = _refusal(conn, one.arrival, verdict)
        if refusal is None and one.entry is not None:
            released.append(one.entry)
        elif refusal is not None and one.entry is None:
            refused.append(refusal)
        elif refusal is not None and one.entry is not None:
            quarantine.judged_again(conn, one.entry, refusal)
    quarantine.release(conn, released)
    quarantine.keep(conn, refused)
    return with_new_key


def _refusal(conn: Connection, arrival: Arrival, verdict: Verdict) -> Refused | None:
    """What goes into the quarantine, None for what found its place in the record."""
    if isinstance(verdict, Quarantined):
        return _refused(arrival, verdict.reason, verdict.detail)
    if isinstance(verdict, Conflict) and not _store_conflict(conn, arrival, verdict.candidate):
        return _refused(arrival, "conflict", f"more than {CONFLICTS_MAX} envelopes of one identity")
    return None


def _store_packs(conn: Connection, accepted: Sequence[tuple[Arrival, Candidate]]) -> set[str]:
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
    stored = [
        Stored(first_id + at, one.pack, of.received_ms, places(one.pack)) for at, (of, one) in enumerate(accepted)
    ]
    declared.record(conn, [(one.id, one.pack) for one in stored])
    received_ms = max(arrival.received_ms for arrival, _ in accepted)
    with_new_key = note_packs(conn, [_signed(one) for _, one in accepted], received_ms)
    exceeding = telemetry.record(conn, stored)
    doubts = [*chain.check(conn, [one.pack for one in stored]), *map(_too_many, sorted(exceeding))]
    finding.keep(conn, doubts, accepted[0][0].received_ms)
    _settle(conn, stored)
    simulated = {one.pack.gateway for _, one in accepted if one.pack.simulated}
    if simulated:
        mark_simulated(conn, simulated)
    return with_new_key


def _too_many(name: Identity) -> finding.Finding:
    detail = f"more than {CORRECTIONS_MAX} clock corrections of one boot: those of the lowest seqs count for nothing"
    return finding.Finding(finding.CORRECTIONS_EXCEED, *name, detail)


def _signed(one: Candidate) -> SignedPack:
    pack = one.pack
    predecessor = None if pack.predecessor is None else pack.predecessor.stream
    return SignedPack(pack.gateway, one.kid, pack.stream, predecessor, pack.key_change)


def _settle(conn: Connection, stored: Sequence[Stored]) -> None:
    """Settle what the packs say, and send followers back to what came where they have been already.

    That is a pack that had been declared lost and came nevertheless, and scans of a pack that stand there
    (telemetry/place.py), which is behind them when it was declared lost before, or came twice.
    """
    news: dict[Stream, list[Range]] = {}
    for one in stored:
        for stream, seqs in settled.settles(one.pack):
            news.setdefault(stream, []).append(seqs)
    settled_before = set(settled.settle(conn, news))
    for one in stored:
        gateway, stream_id, seq = one.pack.gateway, one.pack.stream, one.pack.seq
        if ((gateway, stream_id), (seq, seq)) in settled_before:
            send_back(conn, gateway, stream_id, seq)
        for stands_in, first in _moved(one).items():
            send_back(conn, gateway, stands_in, first)


def _moved(one: Stored) -> dict[bytes, int]:
    """The lowest number per stream at which scans of a pack stand that were carried into it."""
    moved: dict[bytes, int] = {}
    for place in one.places if one.pack.carried_from else ():
        if (place.stream, place.seq) != (one.pack.stream, one.pack.seq):
            moved[place.stream] = min(place.seq, moved.get(place.stream, place.seq))
    return moved


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
