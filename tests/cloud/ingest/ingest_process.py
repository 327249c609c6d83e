"""An ingest worker as a process of its own, so that it can be killed."""

from __future__ import annotations

import random
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db.engine import open_engine, sqlite_url
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import load_or_create


def work(folder: Path, port: int, subscribed: Event) -> None:
    """Ingest until killed; says when packs can come."""
    subscriber = Subscriber(Link("127.0.0.1", port, "coldproof-ingest-1"))
    worker = IngestWorker(
        open_engine(sqlite_url(folder / "cloud.db")),
        subscriber,
        key=load_or_create(folder / "cloud"),
        now=system_now_ms,
        config=IngestConfig(group_packs=7, group_window_ms=5, receipt_every_ms=20),
        rng=random.Random(1),
    )
    subscriber.open()
    threading.Thread(target=_tell, args=(subscriber, subscribed), daemon=True).start()
    worker.run(threading.Event())


def _tell(subscriber: Subscriber, subscribed: Event) -> None:
    while not subscriber.connected:
        threading.Event().wait(0.005)
    subscribed.set()
