"""The ingest loop: collect a group, commit it, acknowledge exactly that group, then send receipts and commands.

Invariants: nothing is acknowledged before its commit; a database that fails makes us wait with the group in hand,
unacknowledged; bytes that nobody can store end in the quarantine and are acknowledged, so they never stall the line.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Engine

from cloud.clock import Now
from cloud.config import IngestConfig
from cloud.db.engine import DatabaseUnavailable, reading, writing
from cloud.histogram import Histogram
from cloud.ingest import gateway_state, receipts
from cloud.ingest.gateway_state import Heard
from cloud.ingest.receipts import ReceiptSchedule
from cloud.ingest.record import Arrival, Outcome, Unstorable, record, refuse
from cloud.ingest.recovery import Recovery
from cloud.ingest.settled import Stream
from cloud.ingest.subscriber import Delivery, Subscriber
from cloud.keys import CloudKey
from cloud.ledger import log
from wire.topics import down_receipt

STATUS_SUFFIX = "/up/status"  # of our two subscriptions, the one that carries no packs
PATIENCE_S = 0.25  # how soon a stop is noticed on a quiet line
FLUSH_S = 3.0  # for the last receipts: beyond a window of them the library waits for the broker's word
PAUSE_MIN_S = 0.01  # never spins, even when the library takes no more receipts
RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
DRAIN_MAX_S, DRAIN_QUIET_S = 10.0, 0.3  # for what the broker has given to a worker that leaves
GROUP_PACKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
COMMIT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_log = logging.getLogger(__name__)


class Counters(msgspec.Struct):
    """What the worker has done since it started. unusable: status messages that told nothing."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    unusable: int = 0
    receipts: int = 0
    commands: int = 0
    retries: int = 0


class IngestWorker:
    """One ingest loop over one subscriber; `run` returns when `stop` is set and the group in hand is done."""

    def __init__(
        self,
        engine: Engine,
        subscriber: Subscriber,
        *,
        key: CloudKey,
        now: Now,
        config: IngestConfig,
        rng: random.Random,
    ) -> None:
        self._engine = engine
        self._subscriber = subscriber
        self._key = key
        self._now = now
        self._config = config
        self._rng = rng
        self._schedule = ReceiptSchedule(config.receipt_every_ms / 1000)
        self._recovery = Recovery(engine, key, now)
        self.counters = Counters()
        self.group_packs = Histogram(GROUP_PACKS)
        self.commit_s = Histogram(COMMIT_S)
        self._in_hand_s: float | None = None
        self.database_ok = True
        self.database_state = "not used yet"

    @property
    def oldest_s(self) -> float:
        """For how long the group in hand has waited for its commit; 0 without one."""
        since_s = self._in_hand_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    @property
    def receipts_owed(self) -> int:
        """How many streams wait for a receipt."""
        return len(self._schedule.all_owed)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then send the receipts that are still owed, and see them off."""
        while not stop.is_set():
            self._take_group(self._patience_s(), stop)
            self._send(self._schedule.due(time.monotonic()))
            self._ask_again()
        if self._subscriber.one_of_several:
            self._leave(stop)
        self._send(self._schedule.all_owed)
        self._subscriber.flush(FLUSH_S)

    def _take_group(self, patience_s: float, stop: threading.Event) -> bool:
        """Wait for a group, commit it and acknowledge it; False when none came, or the stop before its commit."""
        window_s = self._config.group_window_ms / 1000
        group = self._subscriber.collect(most=self._config.group_packs, window_s=window_s, patience_s=patience_s)
        if not group or not self._commit(group, stop):
            return False
        for delivery in group:
            self._subscriber.acknowledge(delivery)
        return True

    def _leave(self, stop: threading.Event) -> None:
        """Leave the line to the others: no more packs, but those that are here or on their way are taken in."""
        self._subscriber.leave()
        ends_s = time.monotonic() + DRAIN_MAX_S
        while time.monotonic() < ends_s and self._take_group(DRAIN_QUIET_S, stop):
            continue

    def _patience_s(self) -> float:
        """How long a quiet line may be listened to: until the next receipt is due, if receipts can go at all."""
        if not (self._subscriber.connected and self.database_ok):
            return PATIENCE_S
        return max(PAUSE_MIN_S, self._schedule.wait_s(time.monotonic(), PATIENCE_S))

    def _commit(self, group: Sequence[Delivery], stop: threading.Event) -> bool:
        """Store a group however long it takes; False when the stop came first."""
        now_ms = self._now()
        heard = [
            Heard(one.topic, one.payload, now_ms, one.retained) for one in group if one.topic.endswith(STATUS_SUFFIX)
        ]
        arrivals = [Arrival(one.topic, one.payload, now_ms) for one in group if not one.topic.endswith(STATUS_SUFFIX)]
        wait_s = RETRY_MIN_S
        self._in_hand_s = time.monotonic()
        while True:
            try:
                self._store(arrivals, heard)
            except DatabaseUnavailable as error:
                self._become(str(error), ok=False)
                self.counters.retries += 1
                if stop.wait(wait_s * self._rng.uniform(0.5, 1.0)):
                    return False
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            else:
                self._become("ok", ok=True)
                if arrivals:
                    self.group_packs.observe(len(arrivals))
                    self.commit_s.observe(self.oldest_s)
                self._in_hand_s = None
                return True

    def _store(self, arrivals: Sequence[Arrival], heard: Sequence[Heard]) -> None:
        if heard:
            with writing(self._engine) as conn:
                self.counters.unusable += gateway_state.record(conn, heard)
            self._recovery.heard(heard)
        if not arrivals:
            return
        try:
            self._note(record(self._engine, arrivals))
        except Unstorable:
            for arrival in arrivals:  # one of them is at fault: find it, keep the others
                self._store_alone(arrival)

    def _store_alone(self, arrival: Arrival) -> None:
        try:
            self._note(record(self._engine, [arrival]))
        except Unstorable as error:
            _log.error("a message cannot be stored and goes to the quarantine: %s", error)
            self._note(refuse(self._engine, arrival, str(error)))

    def _note(self, outcome: Outcome) -> None:
        self.counters.accepted += outcome.accepted
        self.counters.duplicates += outcome.duplicates
        self.counters.conflicts += outcome.conflicts
        self.counters.quarantined += outcome.quarantined
        self._schedule.owe(outcome.owed)

    def _send(self, streams: Sequence[Stream]) -> None:
        """Send receipts from a fresh read; what cannot go now stays owed."""
        if not streams or not self._subscriber.connected:
            return
        try:
            with reading(self._engine) as conn:
                head = log.head(conn)
                fresh = [receipts.build(conn, *stream, issued_at_ms=self._now(), head=head) for stream in streams]
        except DatabaseUnavailable as error:
            self._become(str(error), ok=False)
            return
        self._become("ok", ok=True)
        for stream, receipt in zip(streams, fresh, strict=True):
            if not self._subscriber.publish(down_receipt(receipt.gateway), receipts.seal(receipt, self._key)):
                return
            self._schedule.sent(stream, time.monotonic())
            self.counters.receipts += 1

    def _ask_again(self) -> None:
        """Ask gateways for what a restored database lacks; what cannot go now is asked for later."""
        if not self._subscriber.connected:
            return
        try:
            self.counters.commands += self._recovery.ask(self._subscriber.publish)
            self.counters.commands += self._recovery.outbox.turn(self._subscriber.publish)
        except DatabaseUnavailable as error:
            self._become(str(error), ok=False)

    def _become(self, state: str, *, ok: bool) -> None:
        self.database_ok = ok
        if state != self.database_state:
            self.database_state = state
            _log.info("database: %s", state)
