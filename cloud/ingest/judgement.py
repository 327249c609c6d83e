"""The verdicts on a group of arrivals: `accept` with what it has to be told, the keys and what is stored.

Keys are read once for a group, so that a key that was added or taken back by anybody counts from the next group on.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from cloud.db.bulk import find
from cloud.db.engine import reading
from cloud.db.tables import pack
from cloud.ingest.accept import Candidate, Identity, Quarantined, Verdict, examine, judge
from cloud.ingest.arrival import Arrival
from cloud.registry.keys import keys_of_many
from wire.topics import TopicError, gateway_of


def examine_all(engine: Engine, arrivals: Sequence[Arrival]) -> list[Candidate | Quarantined]:
    """Judge each letter by itself: what costs the most, so it happens before the write lock is taken."""
    names = [_gateway(arrival.topic) for arrival in arrivals]
    with reading(engine) as conn:
        keys = keys_of_many(conn, {name for name in names if name})
    return [
        examine(one.topic, one.payload, keys=keys.get(name, []), received_ms=one.received_ms)
        for one, name in zip(arrivals, names, strict=True)
    ]


def judge_all(conn: Connection, examined: Sequence[Candidate | Quarantined]) -> list[Verdict]:
    """Compare with what is stored, in the transaction that stores the rest."""
    stored = _stored_hashes(conn, {one.identity for one in examined if isinstance(one, Candidate)})
    verdicts: list[Verdict] = []
    for one in examined:
        if isinstance(one, Quarantined):
            verdicts.append(one)
            continue
        verdicts.append(judge(one, stored.get(one.identity)))
        stored.setdefault(one.identity, one.hash)  # the same identity may come twice in one group
    return verdicts


def _gateway(topic: str) -> str:
    try:
        return gateway_of(topic)
    except TopicError:
        return ""  # `examine` says what is wrong with it


def _stored_hashes(conn: Connection, identities: set[Identity]) -> dict[Identity, bytes]:
    by = (pack.c.gateway, pack.c.stream, pack.c.seq)
    return {
        (gateway, stream, seq): digest
        for gateway, stream, seq, digest in find(conn, [*by, pack.c.hash], by, identities)
    }
