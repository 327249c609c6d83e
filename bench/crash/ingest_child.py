"""Runs the real ingest worker and the cloud's chores in a fork of itself, and kills it with SIGKILL at a chosen point.

See cloud.py. The chores have threads of their own, as in the cloud, but no rest.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from pathlib import Path

import msgspec
from paho.mqtt.client import Client

from bench.crash.chores import chores
from bench.crash.fuse import Fuse
from bench.crash.nursery import say, serve
from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db.engine import open_engine, sqlite_url
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import load_or_create

ENOUGH_S = 10.0
LAST_ENOUGH_S = 240.0  # of a life that nothing is to end: it takes in all the rest, also on a machine with other work


class IngestLife(msgspec.Struct, frozen=True):
    """One life of an ingest process over the database in `folder`: die at the `count`-th hit of `phase`."""

    folder: str
    port: int
    phase: str
    count: int


def run(life: IngestLife) -> None:
    """Ingest until killed; says `subscribed` with the process id as soon as packs can come."""
    logging.disable(logging.CRITICAL)
    fuse = Fuse(life.phase, life.count, enough_s=LAST_ENOUGH_S if life.phase == "none" else ENOUGH_S)
    fuse.step = "sql"
    fuse.at_statements()
    fuse.at_file_operations()
    fuse.around(Client, "ack", "ack")
    fuse.around(Client, "publish", "receipt")
    folder = Path(life.folder)
    subscriber = Subscriber(Link("127.0.0.1", life.port, "coldproof-ingest-1"))
    engine, key = open_engine(sqlite_url(folder / "cloud.db")), load_or_create(folder / "cloud")
    worker = IngestWorker(
        engine,
        subscriber,
        key=key,
        now=system_now_ms,
        config=IngestConfig(group_packs=7, group_window_ms=5, receipt_every_ms=20),
        rng=random.Random(1),
    )
    for chore in chores(engine, system_now_ms, folder / "cloud"):
        fuse.around(chore, "step", "chore")
        threading.Thread(target=chore.run, args=(threading.Event(),), daemon=True).start()
    subscriber.open()
    threading.Thread(target=_tell, args=(subscriber,), daemon=True).start()
    worker.run(threading.Event())


def _tell(subscriber: Subscriber) -> None:
    while not subscriber.connected:
        threading.Event().wait(0.002)
    say("subscribed", os.getpid())


if __name__ == "__main__":
    serve(IngestLife, run)
