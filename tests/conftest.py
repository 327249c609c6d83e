"""Fixtures every room may use: free ports, a real broker, the public test material."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coldproof.demo.broker import LocalBroker
from coldproof.demo.broker import free_port as local_port

ROOT = Path(__file__).parent.parent
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that names a free loopback port."""
    return local_port


@pytest.fixture
def shared_data() -> Path:
    """The public test material beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public test material (../shared/data beside the project) is not here")
    return folder


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """A running broker on loopback with `.host`, `.port`, `.start()`, `.stop()` and `.kill()`."""
    running = LocalBroker(tmp_path, local_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running Chromium: the distribution's, or playwright's own. Without one: a failure in CI, a skip elsewhere."""
    from playwright.sync_api import sync_playwright

    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    with sync_playwright() as playwright:
        program = next(filter(None, found), None) or playwright.chromium.executable_path
        if not Path(program).exists():
            missing = "no browser: install Debian's `chromium`, or run `playwright install chromium`"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        browser = playwright.chromium.launch(executable_path=program, args=_CHROMIUM_FLAGS)
        yield browser
        browser.close()
