"""A group of arrivals becomes one transaction: packs, readings, scans, settled ranges, leaves, refusals.

Invariants: what `record` returned for is on the disk; a pack is stored once, whatever came how often; the first
envelope of an identity is never replaced; a pack is judged by the keys that its transaction sees; a group that cannot
be stored whole leaves nothing behind; who follows a stream by seq is sent back to a pack that came after its seq was
settled; what lay in the quarantine leaves it only for the record, in the same transaction; what is derived from packs
does not depend on the order or the groups in which they came.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from cloud.db.engine import reading, writing
from cloud.errors import Rejected
from cloud.ingest import acceptance, conflict, quarantine
from cloud.ingest.accept import Accepted, Candidate, Conflict, Quarantined, Verdict, key_named_by
from cloud.ingest.arrival import Arrival, Outcome, outcome_of, total
from cloud.ingest.judgement import Examined, KeysChanged, examine_all, judge_all
from cloud.ingest.quarantine import Refused
from cloud.registry.keys import keys_of
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.topics import up_pack

__all__ = ["Arrival", "Outcome", "Unstorable", "record", "refuse", "replay"]

#: Packs that came before their key and are judged again because of one key: in all, and in one transaction.
REPLAY_MAX, REPLAY_MAX_BYTES = 1_000, 64 * ENVELOPE_MAX_BYTES
REPLAY_GROUP = 100


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
        examined = examine_all(engine, [one.arrival for one in group])
        changing = [isinstance(one, Candidate) and one.pack.key_change is not None for one in examined.letters]
        if any(changing) and len(group) > 1:  # whom to believe must be settled before the next one is judged
            others = [one for one, changes in zip(group, changing, strict=True) if not changes]
            work += [others] if others else []
            work += [[one] for one, changes in zip(group, changing, strict=True) if changes][::-1]
            continue
        try:
            outcome, with_new_key = _record(engine, group, examined)
        except KeysChanged:
            work.append(group)
            continue
        except Unstorable:
            if any(one.entry is None for one in group):
                raise
            work += [[one] for one in group] if len(group) > 1 else []  # the one at fault stays where it is
            continue
        outcomes.append(outcome)
        for gateway in sorted(with_new_key):
            work += _waiting(engine, gateway)
    return total(*outcomes)


class _Item(msgspec.Struct, frozen=True):
    """What is to be judged. entry: its row in the quarantine, if it lies there and is judged again."""

    arrival: Arrival
    entry: int | None = None


def _record(engine: Engine, group: Sequence[_Item], examined: Examined) -> tuple[Outcome, set[str]]:
    """Store a group in one transaction; the gateways of which a new key is known now.

    Raises Unstorable, KeysChanged.
    """
    try:
        with writing(engine) as conn:
            verdicts = judge_all(conn, examined)
            with_new_key = _store(conn, list(zip(group, verdicts, strict=True)))
    except (DBAPIError, OverflowError, UnicodeEncodeError) as error:
        raise Unstorable(f"a group of {len(group)} messages: {error}") from error
    news = [
        verdict
        for one, verdict in zip(group, verdicts, strict=True)
        if one.entry is None or not isinstance(verdict, Quarantined)
    ]
    return outcome_of(news), with_new_key


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


def _store(conn: Connection, judged: Sequence[tuple[_Item, Verdict]]) -> set[str]:
    """Store what was judged; the gateways of which a new key is known now."""
    accepted = [(one.arrival, verdict.candidate) for one, verdict in judged if isinstance(verdict, Accepted)]
    with_new_key = acceptance.store(conn, accepted) if accepted else set()
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
    if isinstance(verdict, Conflict) and not conflict.keep(conn, arrival, verdict.candidate):
        return _refused(arrival, "conflict", f"more than {conflict.KEPT_MAX} envelopes of one identity")
    return None


def _refused(arrival: Arrival, reason: str, detail: str) -> Refused:
    return Refused(arrival.topic, arrival.payload, reason, detail, arrival.received_ms)
