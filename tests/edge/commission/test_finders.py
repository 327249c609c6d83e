"""Sensors that write lines, scanners while somebody scans, and what is done at a place that several finders share."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.commission.bind import Wish, bind
from edge.commission.finder import Asked, Finding
from edge.commission.ports import Port, inputs_in, ports_in
from edge.commission.scan import scan
from edge.drivers.serial_line.codec import Framing
from firmware_sim.devices.hid_scanner import HidScanner
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.serial_line import Said, SerialSensor
from firmware_sim.links import Link

HEAD = """
[gateway]
name = "gw"
data_dir = "data"
[uplink]
host = "127.0.0.1"
cloud_key = "cloud.json"
"""


async def look(**asked: Any) -> tuple[list[Finding], list[str]]:
    said: list[str] = []
    return await scan(Asked(**asked), said.append, lambda _: None), said


@asynccontextmanager
async def serving(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def log(tmp_path: Path) -> Any:
    with DeviceLog(tmp_path) as log:
        yield log


def lent(log: DeviceLog) -> dict[str, Any]:
    return {"link": Link("x", random.Random(1)), "log": log, "now_ms": lambda: 1_790_000_000_000.0}


def binds(finding: Finding, *, step: str | None = None) -> str:
    """What it adds to the registry; its table must pass the check."""
    wish = {"name": "x", "place": "8930000000125", "step": step, "valid_from": "2026-11-24T08:00:00+07:00"}
    import msgspec

    bound = bind(Path("gateway.toml"), HEAD, "", gateway="gw", finding=finding, wish=msgspec.convert(wish, Wish))
    return bound.added_registry


@pytest.mark.parametrize(
    ("text", "form", "channels"),
    [
        ('{"id": "A7", "temp": 4.1, "hum": 81.25}', "json", [("temperature", "CEL"), ("humidity", "P1")]),
        ('{"probe": {"temp_c": -20.5}, "bat": 88}', "json", [("temperature", "CEL"), ("battery", "P1")]),
        ("21.3;55;OK", "delimited", [("field-1", "C62"), ("field-2", "C62")]),
        ("-4.50", "delimited", [("field-1", "C62")]),
    ],
)
async def test_sensor_that_writes_lines(
    tmp_path: Path, log: DeviceLog, text: str, form: str, channels: list[tuple[str, str]]
) -> None:
    path = tmp_path / "sensor"
    sensor = SerialSensor(path, name="s", framing=Framing(), says=lambda _: Said(text), every_s=0.3, **lent(log))
    async with sensor, serving(sensor.serve):
        (found,), _ = await look(ports=[Port(str(path))], families=["serial_line"])
    assert (found.table["driver"], found.table["format"]) == ("serial_line", form)
    assert found.channels == channels
    assert ("Temperature" in binds(found)) == (("temperature", "CEL") in channels)


async def test_lines_that_no_layout_reads_are_shown_and_not_proposed(tmp_path: Path, log: DeviceLog) -> None:
    path = tmp_path / "sensor"
    for text in ("8930000000125", "hello, world", "[1, 2]"):
        sensor = SerialSensor(
            path, name="s", framing=Framing(), says=lambda _, t=text: Said(t), every_s=0.3, **lent(log)
        )  # type: ignore[misc]
        async with sensor, serving(sensor.serve):
            found, _ = await look(ports=[Port(str(path))], families=["serial_line"])
        assert [one.table for one in found] == [{}], text
        assert found[0].live[0] == text


async def test_keyboard_scanner_is_found_while_somebody_scans(tmp_path: Path, log: DeviceLog) -> None:
    async with HidScanner(tmp_path / "keys", name="s", channel="gw/s/scan", **lent(log)) as scanner:
        (path,) = inputs_in(tmp_path)
        assert ports_in(tmp_path) == []
        assert (await look(inputs=[path]))[0] == []
        async with serving(lambda: scanner.send("00189300000000001013", "C1")):
            (found,), said = await look(inputs=[path], listen_s=5)
    assert found.table == {"driver": "hid", "path": path}
    assert found.live == ["read 00189300000000001013"]
    assert any("scan something" in line for line in said)
    assert 'step = "store"' in binds(found, step="store")
