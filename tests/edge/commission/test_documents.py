"""What docs/commissioning.md and docs/devices.md show works as it stands there."""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge.drivers
from edge.clock import SystemClock
from edge.commission.installation import NAME, read_installation
from edge.config import parse_config
from edge.drivers import registry
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.links import Links
from tests.docs.markdown import ROOT, fenced

COMMISSIONING, DEVICES = (ROOT / "docs" / name for name in ("commissioning.md", "devices.md"))


@pytest.fixture
def four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The driver of docs/devices.md, where its first lines say."""
    for block in fenced(DEVICES.read_text("utf-8"), "python"):
        path = tmp_path / block.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block, "utf-8")
    monkeypatch.setattr(edge.drivers, "__path__", [*edge.drivers.__path__, str(tmp_path / "edge" / "drivers")])
    entry = registry._Entry("edge.drivers.board_temp.driver:BoardTempDriver", "edge")
    monkeypatch.setitem(registry._TABLE, "board_temp", entry)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("edge.drivers.board_temp")]:
        del sys.modules[name]


async def test_driver_in_four_files_reads_is_checked_and_fails_as_it_should(four_files: Path) -> None:
    text = (
        '[gateway]\nname = "gw"\ndata_dir = "data"\n[uplink]\nhost = "h"\ncloud_key = "k.json"\n'
        '[[device]]\nname = "box"\ndriver = "board_temp"\nfile = "temp"\ninterval_s = 60\n'
    )
    (device,) = parse_config(text, four_files / "gateway.toml").devices
    ctx = DriverContext(SystemClock(), logging.getLogger("test"), random.Random(1), Links())
    driver = device.driver(device.name, device.options, ctx)
    with pytest.raises(DeviceUnavailable):
        await driver.__aenter__()
    (four_files / "temp").write_text("48312\n")
    async with asyncio.timeout(5), driver:
        (reading,) = await driver.poll()  # type: ignore[attr-defined]
        assert (reading.channel, reading.unit, reading.mantissa, reading.exponent) == ("box/board", "CEL", 48312, -3)
        (four_files / "temp").write_text("hot\n")
        with pytest.raises(BadReply, match="no number"):
            await driver.poll()  # type: ignore[attr-defined]


def test_test_of_the_four_files_passes(four_files: Path) -> None:
    found = importlib.import_module("edge.drivers.board_temp.codec")
    assert found.decode("1\n") == 1
    path = four_files / "tests" / "edge" / "drivers" / "board_temp" / "test_driver.py"
    code = textwrap.dedent(
        f"""
        import sys, pytest, edge.drivers
        edge.drivers.__path__.append({str(four_files / "edge" / "drivers")!r})
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", {str(four_files)!r}, {str(path)!r}]))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert b"5 passed" in done.stdout


def test_installation_document_of_the_page_is_read(tmp_path: Path) -> None:
    text = COMMISSIONING.read_text("utf-8")
    block = text[text.index("    # installation.toml\n") :].split("\n\n")[0]
    (tmp_path / NAME).write_text(textwrap.dedent(block), "utf-8")
    found = read_installation(tmp_path / "gateway.toml")
    assert found.calibration[0].certificate == "K-2026-0815"
    assert found.customer
