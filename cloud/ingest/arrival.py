"""What came from the broker, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.ingest import settled
from cloud.ingest.accept import Accepted, Conflict, Duplicate, Quarantined, Verdict
from cloud.ingest.settled import Stream


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


def outcome_of(verdicts: Sequence[Verdict]) -> Outcome:
    """What these verdicts come to."""
    owed: set[Stream] = set()
    for verdict in verdicts:
        if isinstance(verdict, Accepted | Duplicate):  # nobody knows whether the receipts of the first time went out
            owed.update(stream for stream, _ in settled.settles(verdict.candidate.pack))
        elif isinstance(verdict, Conflict):
            owed.add((verdict.candidate.pack.gateway, verdict.candidate.pack.stream))
    return Outcome(
        accepted=_count(verdicts, Accepted),
        duplicates=_count(verdicts, Duplicate),
        conflicts=_count(verdicts, Conflict),
        quarantined=_count(verdicts, Quarantined),
        owed=frozenset(owed),
    )


def total(*outcomes: Outcome) -> Outcome:
    """Several as one."""
    return Outcome(
        accepted=sum(one.accepted for one in outcomes),
        duplicates=sum(one.duplicates for one in outcomes),
        conflicts=sum(one.conflicts for one in outcomes),
        quarantined=sum(one.quarantined for one in outcomes),
        owed=frozenset[Stream]().union(*(one.owed for one in outcomes)),
    )


def _count(verdicts: Sequence[Verdict], kind: type[Verdict]) -> int:
    return sum(isinstance(verdict, kind) for verdict in verdicts)
