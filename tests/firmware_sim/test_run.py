"""A whole scenario in fast simulated time: scans in order and once, faults on time, commands, and a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient

from edge.drivers.barcode.codec import Code
from edge.drivers.hid.codec import Decoder
from firmware_sim.control import MAX_SOCKET_PATH, Control, ControlError
from firmware_sim.gateway_config import gateway_configs
from firmware_sim.machinery import DEVICES_NAME, running
from firmware_sim.parts import DevicePlace
from firmware_sim.run import CONTROL_NAME, run, timeline
from firmware_sim.scenario import find, load
from wire.simtime import Segment, SimTime, write

SCENARIO = """
name = "small"
title = "nhỏ"
title_en = "small"
duration = "+2h"
ambient = { mean_c = 28, swing_c = 4 }
[[place]]
name = "room"
start_c = -20
set_c = -20
cooling_c_per_h = 14
leak_per_h = 0.06
[[gateway]]
name = "gw"
[[bus]]
name = "line"
paced = false
[[device]]
kind = "modbus-rtu"
name = "made-up"
gateway = "gw"
bus = "line"
unit_id = 1
profile = "pt100"
interval_s = 60
points = { air = { source = "world", place = "room", measurement = "temperature", noise = 0.05 } }
[[device]]
kind = "modbus-rtu"
name = "replayed"
gateway = "gw"
bus = "line"
unit_id = 2
profile = "pt100"
interval_s = 60
[device.points.air]
source = "recorded"
file = "log.csv"
column = "t"
time_columns = ["when"]
zone = "UTC"
[[device]]
kind = "scanner"
name = "scanner"
gateway = "gw"
[[scan]]
at = "+30m"
scanner = "scanner"
every_s = 1
codes = ["A", "B", "C"]
[[scan]]
at = "+40m"
scanner = "scanner"
codes = ["D"]
[[fault]]
link = "line"
from = "+50m"
until = "+70m"
faults = { unplugged = true }
"""
LOG = "when,t\n2021-07-01 00:00:00,-18.5\n2021-07-01 00:15:00,###\n"
ORIGIN_MS = 1_625_097_600_000  # 2021-07-01T00:00:00Z


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.toml").write_text(SCENARIO)
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path


def start_time(folder: Path, factor: float) -> Path:
    path = folder / "time.json"
    write(path, SimTime([Segment(time.monotonic(), ORIGIN_MS, factor)]))
    return path


def play(folder: Path, factor: float) -> Any:
    return run(load(folder / "small.toml"), folder / "sim", start_time(folder, factor), 1, files=folder)


async def appeared(path: Path) -> Path:
    async with asyncio.timeout(5):
        while not path.exists():
            await asyncio.sleep(0.01)
    return path


async def command(folder: Path, line: str) -> str:
    reader, writer = await asyncio.open_unix_connection(folder / "sim" / CONTROL_NAME)
    writer.write(line.encode() + b"\n")
    async with asyncio.timeout(5):
        reply = (await reader.readline()).decode().rstrip("\n")
    writer.close()
    await writer.wait_closed()
    return reply


async def read_air(folder: Path, unit_id: int) -> list[int]:
    client = AsyncModbusSerialClient(
        str(folder / "sim/dev/line"), framer=FramerType.RTU, baudrate=9600, timeout=0.3, retries=0
    )
    assert await client.connect()
    try:
        reply = await client.read_holding_registers(0, count=1, device_id=unit_id)
        return list(reply.registers)
    finally:
        client.close()


async def test_scans_are_sent_once_and_in_order_however_fast_time_runs(small: Path, serve: Callable[..., Any]) -> None:
    serve(play(small, 36_000.0))  # an hour in a tenth of a second: all scans are overdue at once
    port = os.open(await appeared(small / "sim/dev/scanner"), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    heard = b""
    async with asyncio.timeout(5):
        while b"D" not in heard:
            await asyncio.sleep(0.05)
            with suppress(BlockingIOError):
                heard += os.read(port, 200)
    os.close(port)
    assert heard == b"]C1A\r\n]C1B\r\n]C1C\r\n]C1D\r\n"


async def test_faults_come_and_go_on_time(small: Path, serve: Callable[..., Any]) -> None:
    serve(play(small, 4_000.0))  # unplugged from 0.75 s to 1.05 s
    await appeared(small / "sim/dev/line")
    seen = []
    for _ in range(75):
        seen.append((small / "sim/dev/line").is_symlink())
        await asyncio.sleep(0.02)
    changes = [plugged for index, plugged in enumerate(seen) if index == 0 or seen[index - 1] != plugged]
    assert changes == [True, False, True]


async def test_made_up_and_recorded_devices_answer_side_by_side(small: Path, serve: Callable[..., Any]) -> None:
    serve(play(small, 1.0))
    await appeared(small / "sim" / DEVICES_NAME)
    assert -21 < (await read_air(small, 1))[0] / 10 - 6553.6 < -19
    assert await read_air(small, 2) == [0x10000 - 185]


async def test_commands_change_links_and_scan(small: Path, serve: Callable[..., Any]) -> None:
    serve(play(small, 1.0))
    await appeared(small / "sim" / CONTROL_NAME)
    assert await command(small, "link line unplug") == "ok"
    assert not (small / "sim/dev/line").is_symlink()
    assert '"line":{"delay_s":0.0' in await command(small, "links")
    assert await command(small, "link line clear") == "ok"
    assert await read_air(small, 2) == [0x10000 - 185]
    port = os.open(small / "sim/dev/scanner", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    assert await command(small, "scan scanner C1 an unknown code") == "ok"
    assert os.read(port, 100) == b"]C1an unknown code\r\n"
    os.close(port)


@pytest.mark.parametrize(
    "line", ["", "jump", "link", "link moon hang", "link line", "link line garble=7", "scan", "scan scanner C1", "\xff"]
)
async def test_wrong_commands_are_answered_with_an_error(small: Path, serve: Callable[..., Any], line: str) -> None:
    serve(play(small, 1.0))
    await appeared(small / "sim" / CONTROL_NAME)
    assert (await command(small, line)).startswith("error: ")


async def test_an_endless_command_is_hung_up_on(small: Path, serve: Callable[..., Any]) -> None:
    serve(play(small, 1.0))
    await appeared(small / "sim" / CONTROL_NAME)
    reader, writer = await asyncio.open_unix_connection(small / "sim" / CONTROL_NAME)
    writer.write(b"x" * 100_000)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    assert (await command(small, "links")).startswith("ok")


async def test_a_folder_too_deep_for_a_socket_is_named(small: Path) -> None:
    deep = small / ("d" * MAX_SOCKET_PATH)
    with pytest.raises(ControlError, match="shorter folder"):
        await run(load(small / "small.toml"), deep, start_time(small, 1.0), 1, files=small)


def test_the_gateways_tables_name_where_the_devices_are(small: Path) -> None:
    scenario = load(small / "small.toml")
    places = {
        "made-up": DevicePlace("modbus-rtu", "gw", port="/dev/a"),
        "replayed": DevicePlace("modbus-rtu", "gw", port="/dev/a"),
        "scanner": DevicePlace("scanner", "gw", port="/dev/b"),
    }
    tables = gateway_configs(scenario, places)["gw"]
    assert tables[0] == {
        "name": "made-up",
        "driver": "modbus",
        "interval_s": 60.0,
        "timeout_s": 1.0,
        "profile": "pt100",
        "unit_id": 1,
        "port": "/dev/a",
        "baudrate": 9600,
    }
    assert tables[2] == {
        "name": "scanner",
        "driver": "barcode",
        "port": "/dev/b",
        "point": "scan",
        "suffix": "crlf",
        "aim": True,
    }


async def test_a_keyboard_scanner_types_into_the_gateway_that_its_table_describes(tmp_path: Path) -> None:
    text = (
        'name = "k"\ntitle = "k"\ntitle_en = "k"\nduration = "+1h"\nambient = { mean_c = 28, swing_c = 4 }\n'
        'place = []\n[[gateway]]\nname = "gw"\n'
        '[[device]]\nkind = "hid-scanner"\nname = "typist"\ngateway = "gw"\nlayout = "de"\n'
        'typing = { layout = "de", suffix = "tab" }\nhabits = { double = 1.0, double_after_s = 0.01 }\n'
    )
    (tmp_path / "k.toml").write_text(text)
    scenario = load(tmp_path / "k.toml")
    async with running(scenario, tmp_path, files=tmp_path, now_ms=lambda: 5.0, origin_ms=0, seed=1) as machinery:
        [table] = gateway_configs(scenario, machinery.places)["gw"]
        path = table["path"]
        assert table == {
            "name": "typist",
            "driver": "hid",
            "path": path,
            "point": "scan",
            "layout": "de",
            "suffix": "tab",
            "aim": True,
        }
        port = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        answer = await Control(machinery.links, machinery.scanners).execute("scan typist C0 Zy-7")
        found = Decoder(table["layout"], table["suffix"]).feed(os.read(port, 65536))
        os.close(port)
    assert answer == ""
    assert found == [Code("Zy-7", "C0")] * 2


def test_the_timeline_is_in_order() -> None:
    due = [at for at, *_ in timeline(load(find("demo")))]
    assert due == sorted(due)


def test_the_command_runs_until_terminated_and_leaves_no_ports(small: Path) -> None:
    words = ["sim", "run", str(small / "small.toml"), "--dir", str(small / "sim"), "--seed", "3"]
    process = subprocess.Popen([sys.executable, "-m", "coldproof.main", *words], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 15
        while not (small / "sim" / CONTROL_NAME).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        devices = msgspec.json.decode((small / "sim" / DEVICES_NAME).read_bytes(), type=dict[str, DevicePlace])
        assert (small / "sim/dev/line").resolve().is_char_device()
        assert devices["made-up"].port == str(small / "sim/dev/line")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "small" in output
    assert list((small / "sim/dev").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"), [(["nowhere"], "no scenario 'nowhere'"), (["demo", "--time", "x.json"], "x.json")]
)
def test_the_command_says_what_is_wrong(tmp_path: Path, words: list[str], message: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "coldproof.main", "sim", "run", *words, "--dir", str(tmp_path / "sim")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 1
    assert message in process.stderr
    assert "Traceback" not in process.stderr
