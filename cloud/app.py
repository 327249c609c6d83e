"""The composition root: one process with ingest, scan follower and pages, and any number that only ingest.

A part that fails ends the whole process with its error, so that whoever supervises it sees it. SIGTERM and SIGINT
drain: the group in hand is committed and acknowledged, owed receipts go out, open requests get GRACE_S, and after
DRAIN_S it is over whatever hangs; a second signal ends at once, which costs nothing but a repetition.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib import metadata
from types import FrameType

import msgspec
import uvicorn
from sqlalchemy import Engine

from cloud.chore import Chore
from cloud.chores import chores_of
from cloud.clock import Now, simulated_now, system_now_ms
from cloud.config import BrokerConfig, CloudConfig
from cloud.db.engine import is_one_file, migrate, open_engine, reading, require_durable, sqlite_file
from cloud.enrol.probe import BrokerProbe
from cloud.errors import Fatal
from cloud.garbage import calm
from cloud.health import Health, PartHealth
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import CloudKey, load, load_or_create
from cloud.ledger.epoch import require_origin
from cloud.sole import sole
from cloud.watch import vitals as vitals_module
from cloud.watch.gauges import Gauges
from cloud.watch.process import ProcessMetrics
from cloud.watch.vitals import Vitals
from cloud.web.app import create_app
from wire.simtime import SimTimeError

GRACE_S = 5
DRAIN_S = 25  # the longest a stop takes: a database that is locked keeps a group for 10 s, a worker leaves in 10
LOOK_EVERY_S = 0.2  # how soon a stop is noticed
BACKLOG = 128
REPORT_EVERY_S = 60.0  # a worker without pages says in the log what it does
PARTS = 3  # that are no chores: ingest, web server, broker probe

_log = logging.getLogger(__name__)


def open_clock(config: CloudConfig) -> Now:
    """The clock the configuration asks for. Raises Fatal when simulated time is not there."""
    if config.simulated_time is None:
        return system_now_ms
    try:
        return simulated_now(config.simulated_time)
    except SimTimeError as error:
        raise Fatal(f"{error}; start the simulation first, or remove [clock] simulated") from error


def serve(config: CloudConfig) -> None:
    """Run until SIGTERM or SIGINT, from the main thread. Raises CloudError, or whatever a part failed with."""
    now = open_clock(config)
    key = load_or_create(config.data_dir)
    with sole(config.data_dir):
        engine = open_engine(config.database_url)
        try:
            migrate(engine)
            require_durable(engine)
            with reading(engine) as conn:
                require_origin(conn, config.ledger.origin)
            with _listening(config.web.host, config.web.port) as listener:
                _run(config, engine=engine, now=now, key=key, listener=listener)
        finally:
            engine.dispose()


def ingest(config: CloudConfig) -> None:
    """Run one more ingest worker, and nothing else, until SIGTERM or SIGINT, from the main thread.

    It keeps nothing but what is in the database, and hears packs only: what gateways say of themselves, and what is
    asked of them, is `serve`'s. Raises CloudError.
    """
    if sqlite_file(config.database_url) is not None:
        raise Fatal(
            "cloud ingest: the database is an SQLite file, which one process owns, and `cloud serve` ingests already; "
            "for more workers move to PostgreSQL (database_url)"
        )
    now = open_clock(config)
    key = load(config.data_dir)
    engine = open_engine(config.database_url)
    try:
        migrate(engine)
        require_durable(engine)
        subscriber = Subscriber(_link(config.broker, one_of_several=True, statuses=False))
        worker = IngestWorker(engine, subscriber, key=key, now=now, config=config.ingest, rng=random.SystemRandom())
        stop = threading.Event()
        calm()
        subscriber.open()
        with _signals_set(stop), ThreadPoolExecutor(2, "ingest") as pool:
            parts = {pool.submit(worker.run, stop): "ingest", pool.submit(_report, worker, stop): "report"}
            _attend(parts, stop, subscriber)
        _log.info("ended: %s", _counted(worker))
    finally:
        engine.dispose()


def _report(worker: IngestWorker, stop: threading.Event) -> None:
    """Say in the log what a worker without pages has done, whenever it has done something."""
    before = ""
    while not stop.wait(REPORT_EVERY_S):
        if (done := _counted(worker)) != before:
            _log.info("ingest: %s", done)
            before = done


def _counted(worker: IngestWorker) -> str:
    return " ".join(f"{name}={count}" for name, count in msgspec.structs.asdict(worker.counters).items())


def _run(config: CloudConfig, *, engine: Engine, now: Now, key: CloudKey, listener: socket.socket) -> None:
    stop = threading.Event()
    subscriber = Subscriber(_link(config.broker, one_of_several=not is_one_file(engine)))
    worker = IngestWorker(engine, subscriber, key=key, now=now, config=config.ingest, rng=random.SystemRandom())
    chores = chores_of(config, engine, now)
    file = sqlite_file(config.database_url)
    disk = config.data_dir if file is None else file.parent
    vitals = Vitals(engine, disk, config.watch, oldest_s=lambda: worker.oldest_s)
    chores.append(Chore("vitals", vitals.run_once, rest_s=vitals_module.LOOK_EVERY_S))
    web = create_app(engine, now, config)
    probe = BrokerProbe(config)
    web.state.health = health = lambda: _health(subscriber, worker, chores, probe, vitals)
    web.state.metrics = ProcessMetrics(
        Gauges(engine, config.mirror),
        health=health,
        worker=worker,
        subscriber=subscriber,
        chores=chores,
        vitals=vitals,
        version=_version(),
    )
    server = uvicorn.Server(uvicorn.Config(web, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S))
    calm()
    subscriber.open()
    with _signals_set(stop), ThreadPoolExecutor(PARTS + len(chores), "cloud") as pool:
        parts: dict[Future[None], str] = {
            pool.submit(worker.run, stop): "ingest",
            pool.submit(server.run, [listener]): "web server",
            pool.submit(probe.run, stop): "broker probe",
            **{pool.submit(chore.run, stop): chore.name for chore in chores},
        }
        _attend(parts, stop, subscriber, server)


def _attend(
    parts: dict[Future[None], str], stop: threading.Event, subscriber: Subscriber, server: uvicorn.Server | None = None
) -> None:
    """Wait for the stop or a part's end, then drain. Raises what a part failed with."""
    try:
        _watch(parts, stop)
    finally:
        stop.set()
        if server is not None:
            server.should_exit = True
        _drain(parts)
        subscriber.close()
    for part in parts:
        part.result()


def _watch(parts: dict[Future[None], str], stop: threading.Event) -> None:
    """Return when a stop was asked for or a part has ended by itself."""
    while not stop.is_set():
        ended, _ = wait(parts, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
        for part in ended:
            if part.exception() is None and not stop.is_set():
                raise Fatal(f"the {parts[part]} ended by itself; see the log for its last words")
        if ended:
            return


def _drain(parts: dict[Future[None], str]) -> None:
    """Wait for the parts to end; a process that can't is ended: that costs a repetition, waiting costs the service."""
    stuck = wait(parts, timeout=DRAIN_S).not_done
    if stuck:
        _log.error("not drained within %d s, ending anyway: parts=%s", DRAIN_S, ", ".join(parts[one] for one in stuck))
        logging.shutdown()
        os._exit(1)


def _health(
    subscriber: Subscriber, worker: IngestWorker, chores: Sequence[Chore], probe: BrokerProbe, vitals: Vitals
) -> Health:
    return Health(
        parts={
            "broker": PartHealth(subscriber.connected, subscriber.state),
            "ingest": PartHealth(worker.database_ok, worker.database_state),
            "broker rules": probe.state,
            **{chore.name: chore.health for chore in chores},
            **vitals.parts,
        },
        counters=msgspec.structs.asdict(worker.counters)
        | {name: count for chore in chores for name, count in chore.counters.items()},
    )


def _version() -> str:
    try:
        return metadata.version("coldproof")
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return "unknown"


def _link(broker: BrokerConfig, *, one_of_several: bool, statuses: bool = True) -> Link:
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


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, so that a taken port is known before anything starts. Raises Fatal."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Fatal(f"web {host}:{port}: cannot listen there ({error.strerror}); choose another with --web") from error
    with listener:
        yield listener


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT sets `stop`, the second one acts as it always does."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in signals}

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for number in signals:
            signal.signal(number, before[number])

    for number in signals:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, before[number])
