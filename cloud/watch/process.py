"""The figures of a process that ingests: `serve` with its chores and pages, or a worker beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from cloud.chore import Chore
from cloud.health import HealthOf
from cloud.ingest.subscriber import Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.watch.exposition import Family, by, of_histogram, one
from cloud.watch.gauges import Gauges, of_counters, of_process
from cloud.watch.vitals import Vitals

VERDICTS = ("accepted", "duplicates", "conflicts", "quarantined")


class ProcessMetrics:
    """Gathers them when they are asked for. gauges: of the database; one process for a database tells them."""

    def __init__(
        self,
        gauges: Gauges | None,
        *,
        health: HealthOf,
        worker: IngestWorker,
        subscriber: Subscriber,
        chores: Sequence[Chore],
        vitals: Vitals,
        version: str,
    ) -> None:
        self._gauges, self._health, self._vitals, self._version = gauges, health, vitals, version
        self._worker, self._subscriber, self._chores = worker, subscriber, chores
        self._started_s = time.time()

    def __call__(self) -> list[Family]:
        """All families. Raises DatabaseUnavailable."""
        return [
            *of_process(self._health(), self._started_s, self._version),
            *self._of_ingest(),
            *self._of_vitals(),
            *(family for chore in self._chores for family in _of_chore(chore)),
            *([] if self._gauges is None else self._gauges.families()),
        ]

    def _of_ingest(self) -> list[Family]:
        counts = msgspec.structs.asdict(self._worker.counters)
        verdicts = {name.rstrip("s"): counts.pop(name) for name in VERDICTS}
        return [
            by("ingest_packs_total", "counter", "Packs by verdict, since the start.", "verdict", verdicts),
            *of_counters("ingest", counts, "What ingest has done since the start."),
            of_histogram("ingest_group_packs", "Packs in one transaction.", self._worker.group_packs),
            of_histogram("ingest_commit_seconds", "From a group in hand to its commit.", self._worker.commit_s),
            one("ingest_queue_messages", "gauge", "Messages that came and are not in hand.", self._subscriber.waiting),
            one("ingest_oldest_seconds", "gauge", "How long the group in hand has waited.", self._worker.oldest_s),
            one("ingest_receipts_owed", "gauge", "Streams that wait for a receipt.", self._worker.receipts_owed),
            one("broker_connected", "gauge", "Whether the broker is connected.", self._subscriber.connected),
        ]

    def _of_vitals(self) -> list[Family]:
        free, synchronised = self._vitals.disk_free_bytes, self._vitals.clock_synchronised
        return [
            one("disk_free_bytes", "gauge", "Free on the disk of the database.", free),
            one("clock_synchronized", "gauge", "Whether the clock is synchronised.", synchronised),
        ]


def _of_chore(chore: Chore) -> list[Family]:
    counts = {name.removeprefix(f"{chore.name}_"): value for name, value in chore.counters.items()}
    return of_counters(chore.name.replace(" ", "_"), counts, f"What the chore {chore.name} has done since the start.")
