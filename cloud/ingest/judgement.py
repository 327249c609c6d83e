"""The verdicts on a group of arrivals: `accept` with what it has to be told, the keys and what is stored.

Keys are read once for a group, and once more in the transaction that stores it: when anybody has added, ended or taken
back one of them meanwhile, the group is judged anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Engine

from cloud.db.bulk import find
from cloud.db.engine import reading
from cloud.db.tables import pack
from cloud.errors import Retryable
from cloud.ingest.accept import Candidate, Identity, Quarantined, Verdict, examine, judge
from cloud.ingest.arrival import Arrival
from cloud.registry.keys import GatewayKey, keys_of_many
from wire.topics import TopicError, gateway_of


class KeysChanged(Retryable):
    """The keys that a group was judged by are not those of its gateways any more."""


class Examined(msgspec.Struct, frozen=True):
    """What each letter of a group is by itself. keys: of the gateways they name, as they were then."""

    letters: Sequence[Candidate | Quarantined]
    gateways: frozenset[str]
    keys: Mapping[str, list[GatewayKey]]


def examine_all(engine: Engine, arrivals: Sequence[Arrival]) -> Examined:
    """Judge each letter by itself: what costs the most, so it happens before the write lock is taken."""
    names = [_gateway(arrival.topic) for arrival in arrivals]
    gateways = frozenset(name for name in names if name)
    with reading(engine) as conn:
        keys = keys_of_many(conn, gateways)
    letters = [
        examine(one.topic, one.payload, keys=keys.get(name, []), received_ms=one.received_ms)
        for one, name in zip(arrivals, names, strict=True)
    ]
    return Examined(letters, gateways, keys)


def judge_all(conn: Connection, examined: Examined) -> list[Verdict]:
    """Compare with what is stored, in the transaction that stores the rest. Raises KeysChanged."""
    if keys_of_many(conn, examined.gateways) != examined.keys:
        raise KeysChanged("keys were changed while packs were judged by them; judge them again")
    stored = _stored_hashes(conn, {one.identity for one in examined.letters if isinstance(one, Candidate)})
    verdicts: list[Verdict] = []
    for one in examined.letters:
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
