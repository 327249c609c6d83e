"""Sensors that write lines, on ptys: one that speaks by itself, and two that are asked on one line."""

from __future__ import annotations

import asyncio
import os
import re
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from edge.config import ConfigError, parse_config
from edge.config_table import Document
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.serial_line import driver as driver_module
from edge.drivers.serial_line.config import SerialLineConfig, SerialRequestConfig
from edge.drivers.serial_line.driver import SerialLineDriver, SerialRequestDriver
from edge.drivers.serial_line.layout import Point
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.serial_line import Said, SerialSensor
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, ListenSuite, PollSuite, context
from wire.observation import Observation, Quality, Reading

POINTS = [Point("air", "CEL", field=1), Point("humidity", "P1", field=2, max=Decimal(100))]


class SensorBench(LinkBench):
    expected = (("room/air", "CEL", -2137, -2, Quality.OK), ("room/humidity", "P1", 554, -1, Quality.OK))
    sensor: SerialSensor

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link("sensor", Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.unit, observation.mantissa, observation.exponent, observation.quality


class LineBench(SensorBench):
    def config(self) -> SerialLineConfig:
        return SerialLineConfig(
            port=str(self.folder / "sensor"), point=POINTS, fields=2, checksum="crc16-modbus", timeout_s=TIMEOUT_S
        )

    def driver(self, ctx: DriverContext) -> SerialLineDriver:
        return SerialLineDriver("room", self.config(), ctx)

    async def speak(self) -> None:
        await asyncio.sleep(0.03)  # it speaks by itself, whoever listens
        while not await self.sensor.say():
            await asyncio.sleep(0.02)


class RequestBench(SensorBench):
    def config(self, request: str = "#01\r") -> SerialRequestConfig:
        return SerialRequestConfig(
            port=str(self.folder / "sensor"),
            point=POINTS,
            prefix=">",
            checksum="crc16-modbus",
            request=request,
            timeout_s=TIMEOUT_S,
        )

    def driver(self, ctx: DriverContext) -> SerialRequestDriver:
        return SerialRequestDriver("room", self.config(), ctx)


class TestSerialLine(ListenSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        bench = LineBench(tmp_path)
        log = DeviceLog(tmp_path)
        bench.sensor = SerialSensor(
            tmp_path / "sensor",
            name="s",
            framing=bench.config().framing,
            link=bench.link,
            log=log,
            now_ms=lambda: 0,
            says=lambda _: Said("-21.37,55.4"),
            every_s=60,
        )
        async with bench.running(simulated=bench.sensor, log=log):
            yield bench


class TestSerialRequest(PollSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        bench = RequestBench(tmp_path)
        log = DeviceLog(tmp_path)
        answers = {b"#01\r": lambda _: Said("-21.37,55.4"), b"#02\r": lambda _: Said("4.00,80.1")}
        bench.sensor = SerialSensor(
            tmp_path / "sensor",
            name="s",
            framing=bench.config().framing,
            link=bench.link,
            log=log,
            now_ms=lambda: 0,
            answers=answers,
            echo=True,
        )
        async with bench.running(simulated=bench.sensor, log=log):
            yield bench

    async def test_neighbours_share_the_line_and_never_swap_answers(self, bench: RequestBench) -> None:
        ctx = context()
        second = SerialRequestDriver("other", bench.config("#02\r"), ctx)
        async with bench.driver(ctx) as first, second:
            for _ in range(20):
                one, other = await asyncio.gather(first.poll(), second.poll())
                assert [[reading.mantissa for reading in found] for found in (one, other)] == [[-2137, 554], [400, 801]]  # type: ignore[union-attr]

    async def test_a_late_answer_is_never_taken_for_that_of_the_next_request(self, bench: RequestBench) -> None:
        ctx = context()
        second = SerialRequestDriver("other", bench.config("#02\r"), ctx)
        async with bench.driver(ctx) as first, second:
            await bench.change(Faults(delay_s=TIMEOUT_S * 1.2))
            with pytest.raises((DeviceUnavailable, BadReply)):
                await first.poll()
            await bench.change(Faults())
            (air, _) = await second.poll()  # at once: the answer to the first is still under way
        assert isinstance(air, Reading)
        assert air.mantissa == 400


async def test_the_echo_of_a_request_is_no_damaged_answer(tmp_path: Path) -> None:
    config = SerialRequestConfig(
        port=str(tmp_path / "sensor"), point=POINTS, checksum="crc16-modbus", request="#01\r", timeout_s=1.0
    )
    link, log = Link("sensor", Random(7)), DeviceLog(tmp_path)
    sensor = SerialSensor(
        tmp_path / "sensor",
        name="s",
        framing=config.framing,
        link=link,
        log=log,
        now_ms=lambda: 0,
        answers={b"#01\r": lambda _: Said("-21.37,55.4")},
        echo=True,
    )
    async with sensor:
        serving = asyncio.create_task(sensor.serve())
        async with SerialRequestDriver("room", config, context()) as driver:
            (air, _) = await driver.poll()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert isinstance(air, Reading)
    assert air.mantissa == -2137


class Cable:
    """The other end of a serial port."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.heard: list[Observation] = []

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    async def emit(self, observations: Sequence[Observation]) -> None:
        self.heard += observations


@pytest.fixture
def cable() -> Iterator[Cable]:
    cable = Cable()
    yield cable
    cable.close()


def plain(cable: Cable, **more: object) -> SerialLineConfig:
    return SerialLineConfig(port=cable.port, point=POINTS, **more)  # type: ignore[arg-type]


async def test_the_tail_of_the_first_line_is_never_a_reading(cable: Cable) -> None:
    async with SerialLineDriver("r", plain(cable), context()) as driver:
        listening = asyncio.create_task(driver.listen(cable.emit))
        await asyncio.sleep(0.05)
        cable.say(b"1.37,55.4\r\n-21.38,55.5\r\n")
        await asyncio.sleep(0.1)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert [reading.mantissa for reading in cable.heard] == [-2138, 555]  # type: ignore[union-attr]


async def test_after_a_rest_the_first_line_is_a_whole_one(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "REST_S", 0.05)
    async with SerialLineDriver("r", plain(cable), context()) as driver:
        listening = asyncio.create_task(driver.listen(cable.emit))
        await asyncio.sleep(0.2)
        cable.say(b"-21.37,55.4\r\n")
        await asyncio.sleep(0.1)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert [reading.mantissa for reading in cable.heard] == [-2137, 554]  # type: ignore[union-attr]


async def test_half_a_line_is_dropped_and_told(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "REST_S", 0.1)
    async with SerialLineDriver("r", plain(cable), context()) as driver:
        cable.say(b"\r\n-21.37,5")
        with pytest.raises(BadReply, match="8 bytes came without the end of a line and were dropped; are 9600 8N1"):
            await asyncio.wait_for(driver.listen(cable.emit), 5)
        listening = asyncio.create_task(driver.listen(cable.emit))
        cable.say(b"-4.00,60\r\n")
        await asyncio.sleep(0.1)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert [reading.mantissa for reading in cable.heard] == [-400, 60]  # type: ignore[union-attr]


async def test_good_lines_around_a_bad_one_are_kept(cable: Cable) -> None:
    async with SerialLineDriver("r", plain(cable, line_max=20), context()) as driver:
        cable.say(b"\r\n1.0,50\r\nhello\r\n" + b"x" * 100 + b"\r\n\xff\xfe,1\r\n2.0,51\r\n")
        with pytest.raises(BadReply, match=r"'hello'.*\(and 2 more lines\)"):
            await asyncio.wait_for(driver.listen(cable.emit), 5)
    assert [reading.mantissa for reading in cable.heard] == [10, 50, 20, 51]  # type: ignore[union-attr]


async def test_not_open_is_unavailable(cable: Cable) -> None:
    with pytest.raises(DeviceUnavailable, match="not open"):
        await SerialLineDriver("r", plain(cable), context()).listen(cable.emit)
    with pytest.raises(DeviceUnavailable, match="not open"):
        await SerialRequestDriver(
            "r", SerialRequestConfig(port=cable.port, point=POINTS, request="?"), context()
        ).poll()


async def test_a_serial_server_on_the_network_is_a_port_too() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"tail\r\n-21.37,55.4\r\n")
        await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    heard: list[Observation] = []
    enough, gone = asyncio.Event(), asyncio.Event()

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)
        enough.set()

    async with server:
        url = f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with SerialLineDriver("r", SerialLineConfig(port=url, point=POINTS), context()) as driver:
            listening = asyncio.create_task(driver.listen(emit))
            await asyncio.wait_for(enough.wait(), 5)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        await asyncio.wait_for(gone.wait(), 5)
    assert [reading.mantissa for reading in heard] == [-2137, 554]  # type: ignore[union-attr]


WRONG = {
    "pattern without format": ({"pattern": "x"}, "pattern: belongs to format"),
    "look-around": ({"format": "pattern", "pattern": "(?P<air>x)(?=y)"}, "pattern: .*RE2 syntax"),
    "no such group": ({"format": "pattern", "pattern": "(?P<t>x)"}, r"point\[0\].group: the pattern has no group"),
    "no field": ({"point": [{"name": "air", "unit": "CEL"}]}, r"point\[0\].field: is missing"),
    "field beyond": ({"point": [{"name": "air", "unit": "CEL", "field": 3}], "fields": 2}, "a line has 2 fields"),
    "twice": ({"point": [{"name": "air", "unit": "CEL", "field": 1}] * 2}, "occurs twice"),
    "scale 0": ({"point": [{"name": "air", "unit": "CEL", "field": 1, "scale": 0}]}, "would make every reading 0"),
    "limits": ({"point": [{"name": "air", "unit": "CEL", "field": 1, "min": 2, "max": 1}]}, "is above max"),
    "comma": ({"decimal": ","}, "decimal: is the delimiter as well"),
    "encoding": ({"encoding": "ascii", "end": "°"}, "end: cannot be written in ascii"),
    "unknown key": ({"request": "x"}, "request: unknown key"),
    "port": ({"port": "ttyUSB0"}, "port: expected a port such as"),
}


@pytest.mark.parametrize(("given", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_can_never_work_is_told_before_anything_opens(given: dict[str, object], why: str, tmp_path: Path) -> None:
    table = {"port": "/dev/x", "point": [{"name": "air", "unit": "CEL"}], **given}
    if "format" not in table and "point" not in given:
        table["point"] = [{"name": "air", "unit": "CEL", "field": 1}]
    document = Document("", tmp_path)
    config = document.read(table, SerialLineConfig, "device[0]")
    told = [f"{problem.path}: {problem.what}" for problem in document.problems]
    if config is not None:
        told += [f"{key}: {what}" for key, what in config.problems()]
    assert any(re.search(why, one) for one in told), told


def test_a_line_is_shared_with_its_own_kind_only(tmp_path: Path) -> None:
    point = '[[device.point]]\nname = "air"\nunit = "CEL"\nfield = 1\n'
    asked = [
        f'[[device]]\nname = "{name}"\ndriver = "serial_request"\ninterval_s = 60\nport = "/dev/x"\n'
        f'request = "{name}"\n{point}'
        for name in ("a", "b")
    ]
    modbus = '[[device]]\nname = "m"\ndriver = "modbus"\ninterval_s = 60\nport = "/dev/x"\nprofile = "xy-md02"\n'
    gateway = '[gateway]\nname = "gw"\ndata_dir = "data"\n[uplink]\nhost = "h"\ncloud_key = "k.json"\n'
    assert len(parse_config(gateway + "".join(asked), tmp_path / "g.toml").devices) == 2
    with pytest.raises(ConfigError, match=r"sets serial:/dev/x to 9600 8N1.*lines of text.*speak alike"):
        parse_config(gateway + asked[0] + modbus, tmp_path / "g.toml")
    with pytest.raises(ConfigError, match="serial:/dev/x request 'a' belongs to"):
        parse_config(gateway + asked[0] + asked[0].replace('name = "a"', 'name = "c"'), tmp_path / "g.toml")
