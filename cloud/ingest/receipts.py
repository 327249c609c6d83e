"""Receipts: the cloud's signed word, sent only after the commit, that packs are settled.

Invariants: a receipt is computed from a fresh read of the committed ranges, so it never promises more than is on the
disk; it is cumulative, so a lost one costs nothing; a stream gets at most one per interval, and one that came too
early is delayed, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select

from cloud.db.tables import conflict
from cloud.ingest import settled
from cloud.ingest.settled import Stream
from cloud.keys import CloudKey
from cloud.ledger import log
from wire import receipt as wire_receipt
from wire.receipt import CONFLICT, RANGES_MAX, REFUSED_MAX, Checkpoint, Receipt


def build(conn: Connection, gateway: str, stream: bytes, *, issued_at_ms: int, head: log.Head | None = None) -> Receipt:
    """Everything this connection sees as settled of a stream. head: of the ledger, where this connection read it."""
    ranges = settled.ranges(conn, gateway, stream, RANGES_MAX + 1)
    through = 0
    if ranges and ranges[0][0] == 1:
        through = ranges.pop(0)[1]
    head = head or log.head(conn)
    return Receipt(
        gateway=gateway,
        stream=stream,
        through=through,
        ranges=ranges[:RANGES_MAX],
        refused=_refused(conn, gateway, stream),
        issued_at_ms=issued_at_ms,
        checkpoint=Checkpoint(head.size, head.root),
    )


def seal(receipt: Receipt, key: CloudKey) -> bytes:
    """Sign a receipt with the cloud's key."""
    return wire_receipt.seal(receipt, key=key.private, kid=key.kid)


def _refused(conn: Connection, gateway: str, stream: bytes) -> list[tuple[int, bytes, str]]:
    """The newest conflicts of a stream: the envelopes that lost against the first of their identity."""
    rows = conn.execute(_CONFLICTS, {"of": gateway, "in": stream})
    return sorted((seq, digest, CONFLICT) for seq, digest in rows)


_CONFLICTS = (
    select(conflict.c.seq, conflict.c.hash)
    .where(conflict.c.gateway == bindparam("of"), conflict.c.stream == bindparam("in"))
    .order_by(conflict.c.id.desc())
    .limit(REFUSED_MAX)
)


class ReceiptSchedule:
    """Which streams are owed a receipt, and when each may have its next one. Times: monotonic seconds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._owed: set[Stream] = set()
        self._not_before: dict[Stream, float] = {}

    def owe(self, streams: Iterable[Stream]) -> None:
        """Remember that these streams wait for a receipt."""
        self._owed.update(streams)

    def due(self, now_s: float) -> list[Stream]:
        """The streams that may have theirs now, in key order."""
        self._not_before = {stream: at for stream, at in self._not_before.items() if at > now_s}
        return sorted(self._owed - self._not_before.keys())

    def sent(self, stream: Stream, now_s: float) -> None:
        """Its receipt went out."""
        self._owed.discard(stream)
        self._not_before[stream] = now_s + self._interval_s

    def wait_s(self, now_s: float, at_most_s: float) -> float:
        """How long until somebody is due, at most `at_most_s`."""
        waits = (self._not_before.get(stream, now_s) - now_s for stream in self._owed)
        return max(0.0, min(at_most_s, *waits)) if self._owed else at_most_s

    @property
    def all_owed(self) -> list[Stream]:
        """Every stream that waits, due or not, in key order."""
        return sorted(self._owed)
