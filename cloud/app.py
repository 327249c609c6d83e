"""The composition root: one process with ingest, scan follower and pages, and any number that only ingest.

A part that fails ends the whole process with its error, so that whoever supervises it sees it. SIGTERM and SIGINT
drain: the group in hand is committed and acknowledged, owed receipts go out, open requests get GRACE_S, and after
DRAIN_S it is over whatever hangs; a second signal ends at once, which costs nothing but a repetition.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import partial
from types import FrameType

import msgspec
import uvicorn
from fastapi import FastAPI

from cloud.chores import chores_of
from cloud.clock import Now, simulated_now, system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import migrate, open_engine, reading, require_durable, sqlite_file
from cloud.enrol.probe import BrokerProbe
from cloud.errors import Fatal
from cloud.garbage import calm
from cloud.ingest.subscriber import Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import load, load_or_create
from cloud.ledger.epoch import require_origin
from cloud.parts import Parts
from cloud.sole import sole
from cloud.watch.gauges import Gauges
from cloud.web.app import create_app
from cloud.web.watch import create_watch
from wire.simtime import SimTimeError

GRACE_S = 5
DRAIN_S = 25  # the longest a stop takes: a database that is locked keeps a group for 10 s, a worker leaves in 10
LOOK_EVERY_S = 0.2  # how soon a stop is noticed
BACKLOG = 128
REPORT_EVERY_S = 60.0  # a worker without pages says in the log what it does

Address = tuple[str, int]
_Run = Callable[[threading.Event], None]  # works until the stop

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
                parts = Parts(config, engine, now=now, key=key, statuses=True)
                parts.chores += chores_of(config, engine, now)
                parts.probe = BrokerProbe(config)
                web = parts.shown_by(create_app(engine, now, config), Gauges(engine, config.mirror))
                _run(parts, {"broker probe": parts.probe.run}, (web, listener))
        finally:
            engine.dispose()


def ingest(config: CloudConfig, watch: Address | None = None) -> None:
    """Run one more ingest worker, and nothing else, until SIGTERM or SIGINT, from the main thread.

    It keeps nothing but what is in the database, and hears packs only: what gateways say of themselves, and what is
    asked of them, is `serve`'s. watch: where `/healthz` and `/metrics` are served. Raises CloudError.
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
        with nullcontext() if watch is None else _listening(*watch) as listener:
            parts = Parts(config, engine, now=now, key=key, statuses=False)
            web = None if listener is None else (parts.shown_by(create_watch(engine, config.watch)), listener)
            _run(parts, {"report": partial(_report, parts.worker)}, web)
        _log.info("ended: %s", _counted(parts.worker))
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


def _run(parts: Parts, others: dict[str, _Run], web: tuple[FastAPI, socket.socket] | None) -> None:
    """Run all of them, each in a thread of its own, until the stop. web: an application and where it listens."""
    stop, server = threading.Event(), None
    runs = {"ingest": parts.worker.run, **others, **{chore.name: chore.run for chore in parts.chores}}
    if web is not None:
        app, listener = web
        settings = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S)
        server = uvicorn.Server(settings)
        runs["web server"] = partial(_answer, server, listener)
    calm()
    parts.subscriber.open()
    with _signals_set(stop), ThreadPoolExecutor(len(runs), "cloud") as pool:
        _attend({pool.submit(run, stop): name for name, run in runs.items()}, stop, parts.subscriber, server)


def _answer(server: uvicorn.Server, listener: socket.socket, _stop: threading.Event) -> None:
    server.run([listener])


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
