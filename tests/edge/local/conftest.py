"""A gateway with its page, behind a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coldproof.demo.broker import LocalBroker
from edge.local.password import set_password
from tests.edge.test_agent import Site

PASSWORD = "mật khẩu của kho"


class PageSite(Site):
    """The site of the agent's tests, with a page."""

    port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def site(tmp_path: Path, broker: LocalBroker, free_port: Any) -> Iterator[PageSite]:
    site = PageSite(tmp_path, broker)
    site.port = free_port()
    site.configure(more=f"[local]\nport = {site.port}\n")
    site.config_path.write_text(
        site.config_path.read_text() + '[[limit]]\nchannel = "room-1/air"\nabove = -18.0\nbelow = -25.0\n'
    )
    set_password(site.folder / "data", PASSWORD)
    site.cloud.start()
    yield site
    site.cloud.stop()
