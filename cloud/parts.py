"""What every process that ingests consists of, and how those who watch it see that."""

from __future__ import annotations

import random
from importlib import metadata

import msgspec
from fastapi import FastAPI
from sqlalchemy import Engine

from cloud.chore import Chore
from cloud.clock import Now
from cloud.config import BrokerConfig, CloudConfig
from cloud.db.engine import is_one_file, sqlite_file
from cloud.enrol.probe import BrokerProbe
from cloud.health import Health, PartHealth
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import CloudKey
from cloud.watch import vitals
from cloud.watch.gauges import Gauges
from cloud.watch.process import ProcessMetrics
from cloud.watch.vitals import Vitals


class Parts:
    """The ingest worker with its line to the broker, and the chores beside it; what one process adds, it adds here.

    statuses: whether this is the process that hears what gateways say of themselves.
    """

    def __init__(self, config: CloudConfig, engine: Engine, *, now: Now, key: CloudKey, statuses: bool) -> None:
        several = not is_one_file(engine)
        self.subscriber = Subscriber(_link(config.broker, one_of_several=several, statuses=statuses))
        self.worker = IngestWorker(
            engine, self.subscriber, key=key, now=now, config=config.ingest, rng=random.SystemRandom()
        )
        file = sqlite_file(config.database_url)
        disk = config.data_dir if file is None else file.parent
        self._vitals = Vitals(engine, disk, config.watch, oldest_s=lambda: self.worker.oldest_s)
        self.chores: list[Chore] = []
        self.probe: BrokerProbe | None = None

    def health(self) -> Health:
        """How each of them is, and what ingest and chores have counted."""
        parts = {
            "broker": PartHealth(self.subscriber.connected, self.subscriber.state),
            "ingest": PartHealth(self.worker.database_ok, self.worker.database_state),
        }
        if self.probe is not None:
            parts["broker rules"] = self.probe.state
        parts |= {chore.name: chore.health for chore in self.chores} | self._vitals.parts
        counters = msgspec.structs.asdict(self.worker.counters)
        return Health(parts, counters | {name: count for one in self.chores for name, count in one.counters.items()})

    def shown_by(self, web: FastAPI, gauges: Gauges | None = None) -> FastAPI:
        """The application, which tells of them from now on; with `gauges` of the database as well.

        Disk and clock are looked at from here on: nobody would be told before.
        """
        self.chores.append(Chore("vitals", self._vitals.run_once, rest_s=vitals.LOOK_EVERY_S))
        web.state.health = self.health
        web.state.metrics = ProcessMetrics(
            gauges,
            health=self.health,
            worker=self.worker,
            subscriber=self.subscriber,
            chores=self.chores,
            vitals=self._vitals,
            version=_version(),
        )
        return web


def _version() -> str:
    try:
        return metadata.version("coldproof")
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return "unknown"


def _link(broker: BrokerConfig, *, one_of_several: bool, statuses: bool) -> Link:
    tls = broker.tls
    return Link(
        host=broker.host,
        port=broker.port,
        client_id=broker.client_id,
        username=broker.username,
        password=broker.password,
        ca=None if tls is None else tls.ca,
        certificate=None if tls is None else tls.certificate,
        key=None if tls is None else tls.key,
        one_of_several=one_of_several,
        statuses=statuses,
    )
