"""Accepted packs become rows: the packs themselves with their leaves, and all that follows from them at once.

Called inside ingest's transaction. Invariants: a pack's row and its leaf commit together; who follows a stream by seq
is sent back to a pack that came after its seq was settled; what is derived from packs does not depend on the order or
the groups in which they came.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from cloud.db import tables
from cloud.db.bulk import insert_rows
from cloud.db.cursor import send_back
from cloud.ingest import chain, finding, settled
from cloud.ingest.accept import Candidate, Identity
from cloud.ingest.arrival import Arrival
from cloud.ingest.settled import Range, Stream
from cloud.ledger import log
from cloud.registry.keys import SignedPack, mark_simulated, note_packs
from cloud.telemetry import declared
from cloud.telemetry import record as telemetry
from cloud.telemetry.boots import Stored
from cloud.telemetry.corrections import CORRECTIONS_MAX
from cloud.telemetry.place import places

_PACK = [
    tables.pack.c[name]
    for name in (
        *("id", "gateway", "stream", "seq", "hash", "prev", "envelope", "observations", "simulated"),
        *("sealed_ms", "received_ms", "leaf_index"),
    )
]


def store(conn: Connection, accepted: Sequence[tuple[Arrival, Candidate]]) -> set[str]:
    """Store packs in the caller's transaction; the gateways of which a new key is known now.

    Those of a gateway side by side, in the order in which they came: so their rows lie on the same pages, and go from
    them together.
    """
    accepted = sorted(accepted, key=lambda one: one[1].pack.gateway)
    leaves = [log.Leaf("pack", one.hash, _ref(one)) for _, one in accepted]
    first_leaf = log.append_many(conn, leaves)
    first_id = int(conn.scalar(select(func.coalesce(func.max(tables.pack.c.id), 0))) or 0) + 1
    rows = [
        (
            first_id + at,
            one.pack.gateway,
            one.pack.stream,
            one.pack.seq,
            one.hash,
            one.pack.prev,
            arrival.payload,
            one.pack.count,
            one.pack.simulated,
            one.pack.sealed.observed_at_ms,
            arrival.received_ms,
            first_leaf + at,
        )
        for at, (arrival, one) in enumerate(accepted)
    ]
    insert_rows(conn, _PACK, rows)
    stored = [
        Stored(first_id + at, one.pack, of.received_ms, places(one.pack)) for at, (of, one) in enumerate(accepted)
    ]
    declared.record(conn, [(one.id, one.pack) for one in stored])
    received_ms = max(arrival.received_ms for arrival, _ in accepted)
    with_new_key = note_packs(conn, [_signed(one) for _, one in accepted], received_ms)
    exceeding = telemetry.record(conn, stored)
    doubts = [*chain.check(conn, [one.pack for one in stored]), *map(too_many, sorted(exceeding))]
    finding.keep(conn, doubts, received_ms)
    _settle(conn, stored)
    simulated = {one.pack.gateway for _, one in accepted if one.pack.simulated}
    if simulated:
        mark_simulated(conn, simulated)
    return with_new_key


def _ref(one: Candidate) -> str:
    return f"{one.pack.gateway}/{one.pack.stream.hex()}/{one.pack.seq}"


def too_many(name: Identity) -> finding.Finding:
    """The finding about a pack of which corrections count for nothing."""
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
