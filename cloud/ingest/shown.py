"""What gateways show back of the ledger: the checkpoint of their last receipt must be part of this log.

A gateway keeps the largest checkpoint it was ever given, signed, and says it in its status. One that is not part of the
log means that two histories were shown, or that this database is older than what was shown. Up to the size that a
restore began at nothing may differ; beyond it a new epoch explains it, and the finding alone remains.
"""

from __future__ import annotations

import threading

from sqlalchemy import Connection, Engine, select

from cloud.clock import Now
from cloud.db.engine import reading, writing
from cloud.db.tables import gateway
from cloud.errors import Retryable
from cloud.ingest import finding, gateway_state
from cloud.ingest.finding import LEDGER_DIFFERS, Finding
from cloud.ledger import epoch, log, proof
from cloud.ledger.epoch import Shown

AT_ONCE = 200  # roots that are derived in one look: some 200 ms on a long log

REST_S = 2.0


class HistoryDiffers(Retryable):
    """A gateway was shown a log that is not this one; `str()` says which and what to do."""


def shown(conn: Connection) -> list[Shown]:
    """The checkpoints that gateways of the registry have said they know; strangers were given none."""
    admitted = set(conn.scalars(select(gateway.c.name)))
    statuses = (one.status for one in gateway_state.states(conn) if one.status.gateway in admitted)
    return [
        Shown(f"gateway {one.gateway}", one.checkpoint_size, one.checkpoint_root)
        for one in statuses
        if one.checkpoint_size and one.checkpoint_root
    ]


class ShownWatch:
    """Holds what gateways show against the log. A chore's step."""

    def __init__(self, engine: Engine, now: Now) -> None:
        self._engine, self._now = engine, now
        self._good: set[Shown] = set()  # leaves never change: what fitted once fits for ever

    def step(self, stop: threading.Event) -> int:
        """Look at what is new; how much that was. Raises HistoryDiffers while a gateway shows what nothing explains."""
        with reading(self._engine) as conn:
            told = shown(conn)
            self._good &= set(told)
            size = log.head(conn).size
            fresh = [one for one in told if one not in self._good]
            wrong = [one for one in fresh if one.size > size]  # costs nothing, so it takes nobody's turn
            inside = [one for one in fresh if one.size <= size]
            wrong += [one for one in inside[:AT_ONCE] if not stop.is_set() and not self._fits(conn, one)]
            known = epoch.current(conn)
        new = self._keep(wrong, size)
        from_size = known.base_size if known is not None and known.number > 1 else None
        for one in wrong:
            if from_size is None or one.size <= from_size:
                raise HistoryDiffers(
                    f"{one.by} was shown a log of {one.size} leaves with the root {one.root}, which is not this one "
                    f"(it has {size} leaves): another database answers in this one's name, or leaves were changed; "
                    "run `coldproof cloud fsck`"
                )
        return new

    def _fits(self, conn: Connection, one: Shown) -> bool:
        if proof.root_at(conn, one.size).hex() != one.root:
            return False
        self._good.add(one)
        return True

    def _keep(self, wrong: list[Shown], size: int) -> int:
        """Findings for what contradicts the log; what goes beyond it is `recovery`'s."""
        found = [
            Finding(LEDGER_DIFFERS, one.by.removeprefix("gateway "), b"", 0, f"{one.size} leaves, root {one.root[:16]}")
            for one in wrong
            if one.size <= size
        ]
        if not found:
            return 0
        with writing(self._engine) as conn:
            return len(finding.keep(conn, found, self._now()))
