"""Simulated line sensors and 1-wire buses say in their log what they gave, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import random
import tty
from pathlib import Path

from edge.drivers.onewire.codec import Untrue, read_slave
from edge.drivers.serial_line.codec import Framing
from firmware_sim.devices.log import INCIDENTS_NAME, PRODUCED_NAME, DeviceLog, Value
from firmware_sim.devices.onewire import OneWireBus, Sensor
from firmware_sim.devices.serial_line import Said, SerialSensor
from firmware_sim.links import Faults, Link

SENSOR, BROKEN = "28-0000000000aa", "28-0000000000bb"


def logged(folder: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


async def test_a_speaking_sensor_logs_each_line_that_was_out_whole(tmp_path: Path) -> None:
    link = Link("s", random.Random(1))
    said = Said("-21.37", [Value("s", "gw/s/air", -2137, -2)])
    with DeviceLog(tmp_path) as log:
        sensor = SerialSensor(
            tmp_path / "port",
            name="s",
            framing=Framing(),
            link=link,
            log=log,
            now_ms=lambda: 7,
            says=lambda _: said,
            every_s=0.02,
        )
        async with sensor:
            serving = asyncio.create_task(sensor.serve())
            await asyncio.sleep(0.1)
            assert logged(tmp_path, PRODUCED_NAME) == []  # nobody listens
            port = os.open(tmp_path / "port", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(port)
            await asyncio.sleep(0.1)
            heard = os.read(port, 4096)
            await link.change(Faults(half=1))
            await asyncio.sleep(0.1)
            os.close(port)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    produced = logged(tmp_path, PRODUCED_NAME)
    assert heard.startswith(b"-21.37\r\n")
    assert 0 < len(produced) <= 10
    assert {(one["channel"], one["mantissa"], one["at_ms"]) for one in produced} == {("gw/s/air", -2137, 7)}
    assert logged(tmp_path, INCIDENTS_NAME)


async def test_a_thermometer_logs_what_it_gave_and_a_broken_one_no_number(tmp_path: Path) -> None:
    sensors = {SENSOR: Sensor("gw/a/air", lambda _: 64), BROKEN: Sensor("gw/b/air", lambda _: None)}
    with DeviceLog(tmp_path) as log:
        bus = OneWireBus(
            tmp_path / "w1",
            sensors,
            name="w1",
            link=Link("w1", random.Random(1)),
            log=log,
            now_ms=lambda: 7,
            measure_s=0.01,
        )
        async with bus:
            serving = asyncio.create_task(bus.serve())
            texts = [await asyncio.to_thread((tmp_path / "w1" / one / "w1_slave").read_text) for one in sensors]
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert list((tmp_path / "w1").iterdir()) == []
    assert read_slave(texts[0], "28").mantissa == 40_000
    try:
        read_slave(texts[1], "28")
    except Untrue as error:
        assert "before it has measured" in str(error)  # noqa: PT017
    else:
        raise AssertionError("a broken sensor was believed")
    assert [(one["channel"], one["mantissa"]) for one in logged(tmp_path, PRODUCED_NAME)] == [
        ("gw/a/air", 40_000),
        ("gw/b/air", None),
    ]
