"""The shipped broker, and clients on it that are closed in the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.enrol.secure import SECURE_PATH, Client, Link, SecureBroker


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[SecureBroker]:
    """Mosquitto as shipped. Without mosquitto: a failure in CI, a skip elsewhere."""
    if shutil.which("mosquitto", path=SECURE_PATH) is None:
        missing = "no mosquitto: install Debian's `mosquitto`"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    running = SecureBroker(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def connect(secure: SecureBroker) -> Iterator[Callable[..., Client]]:
    """Connects with a certificate: a name's fresh one, or the one given; on the gateways' listener by default."""
    clients: list[Client] = []

    def to(who: str | Link | None, client_id: str | None = None, *, port: int | None = None, **options: Any) -> Client:
        link = secure.certificate(who) if isinstance(who, str) else who
        name = client_id or (who if isinstance(who, str) else "somebody")
        clients.append(
            Client(
                port or secure.port,
                trust=secure.files.workers[0].trust,
                link=None if link is None else link.path,
                client_id=name,
                **options,
            )
        )
        return clients[-1]

    yield to
    for client in clients:
        client.close()


@pytest.fixture
def worker(secure: SecureBroker, connect: Callable[..., Client]) -> Client:
    """An ingest worker that hears every gateway."""
    link = Link(secure.files.workers[0].link, 0)
    client = connect(link, "ingest.1", port=secure.ingest_port)
    client.subscribe("coldproof/v1/+/up/#")
    return client
