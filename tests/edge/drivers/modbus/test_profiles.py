"""Every profile that is shipped: against published frames, and read from a simulated device of its kind."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from edge.drivers.modbus.codec import Point, Profile, decode_block, plan, profile_names, shipped_profile
from edge.drivers.modbus.config import ModbusConfig, ProfileChoice
from edge.drivers.modbus.driver import ModbusDriver
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Unit, rtu_payload
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.links import Link
from standards.units import is_unit
from tests.edge.drivers.modbus.test_driver import RtuBench
from tests.edge.drivers.suite import context
from wire.observation import Quality, Reading

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "modbus" / "frames.json").read_text("utf-8"))["cases"]
NAMES = profile_names()


def told(point: Point) -> Decimal:
    """A value that the point can say, and that no other point of its profile is likely to say."""
    number = zlib.crc32(point.name.encode())
    if point.type == "bit":
        return Decimal(0 if any(word in point.name for word in ("fault", "alarm")) else number % 2)
    low = Decimal(-20) if point.unit == "CEL" else Decimal(4)
    return low + Decimal(number % 40).scaleb(point.exponent)


def unit(profile: Profile, **sources: Decimal | None) -> Unit:
    values = {point.name: told(point) for point in profile.points} | sources
    return Unit(1, "dev", "gw", profile, {name: lambda _, v=v: v for name, v in values.items()})


@asynccontextmanager
async def polled(folder: Path, simulated: Unit, *, tcp: bool = False) -> AsyncIterator[dict[str, Reading]]:
    """What the driver makes of one look at a device."""
    log, link = DeviceLog(folder), Link("line", random.Random(1))
    choice = ProfileChoice(simulated.profile)
    device: TcpProbe | RtuBus
    if tcp:
        device = TcpProbe(simulated, link=link, log=log, now_ms=lambda: 0)
    else:
        device = RtuBus(folder / "bus", [simulated], link=link, log=log, now_ms=lambda: 0, paced=False)
    async with RtuBench(folder, link).running(simulated=device, log=log):
        if isinstance(device, TcpProbe):
            config = ModbusConfig(profile=choice, host=device.host, tcp_port=device.port, timeout_s=1)
        else:
            config = ModbusConfig(profile=choice, port=str(folder / "bus"), timeout_s=1)
        async with ModbusDriver("dev", config, context()) as driver:
            readings = await driver.poll()
    found = {r.channel.removeprefix("dev/"): r for r in readings if isinstance(r, Reading)}
    assert len(found) == len(readings)
    yield found


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: f"{case['profile']} {case['answer']}")
def test_published_frames_say_what_their_publishers_say(case: dict) -> None:
    profile = shipped_profile(case["profile"])
    request, answer = (rtu_payload(bytes.fromhex(case[key])) for key in ("request", "answer"))
    assert request is not None
    assert answer is not None
    (block,) = plan(profile)
    function, address, count = request[1][0], *(int.from_bytes(request[1][at : at + 2]) for at in (1, 3))
    assert (function, address, count) == (block.function, block.address, block.count)
    data = answer[1][2:]
    registers = [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]
    assert {value.point.name: value.mantissa for value in decode_block(block, registers)} == case["says"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tcp", [False, True], ids=["rtu", "tcp"])
async def test_every_profile_is_read_as_its_device_says(tmp_path: Path, name: str, tcp: bool) -> None:
    profile = shipped_profile(name)
    async with polled(tmp_path, unit(profile), tcp=tcp) as found:
        assert {one: reading.value for one, reading in found.items()} == {p.name: told(p) for p in profile.points}
        assert {reading.quality for reading in found.values()} == {Quality.OK}


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_complete(name: str) -> None:
    profile = shipped_profile(name)
    assert len(profile.source) > 60
    for point in profile.points:
        assert is_unit(point.unit), point.name
        assert (point.min is None) == (point.max is None)
        assert point.type != "bit" or point.unit == "C62"


@pytest.mark.parametrize(
    ("name", "probe", "flag"),
    [
        ("carel-ir33", "probe-1", "probe-1-fault"),
        ("danfoss-ekc-202b", "air", "air-fault"),
        ("eliwell-idplus", "probe-2", "probe-2-fault"),
    ],
)
async def test_probe_that_the_controller_calls_faulty_gives_no_number(
    tmp_path: Path, name: str, probe: str, flag: str
) -> None:
    profile = shipped_profile(name)
    async with polled(tmp_path, unit(profile, **{probe: None})) as found:
        assert (found[probe].mantissa, found[probe].quality) == (None, Quality.SENSOR_ERROR)
        assert found[flag].value == 1
        others = [reading for one, reading in found.items() if one not in (probe, flag)]
        assert {reading.quality for reading in others} == {Quality.OK}


def test_clones_of_the_xy_md02_are_told_apart_by_scale_and_settings() -> None:
    tenths, hundredths = shipped_profile("xy-md02"), shipped_profile("md02")
    assert [p.exponent for p in tenths.points] == [-1, -1]
    assert [p.exponent for p in hundredths.points] == [-2, -2]
    assert [(p.settings.unit_id, p.settings.baudrate) for p in (tenths, hundredths)] == [(257, 258), (256, 257)]
    (block,) = plan(hundredths)
    assert [(v.mantissa, v.point.exponent) for v in decode_block(block, [2350, 5530])] == [(2350, -2), (5530, -2)]
    (block,) = plan(tenths)  # hundredths taken for tenths: 235.0 °C and 553 %, marked, never used
    assert {v.quality for v in decode_block(block, [2350, 5530])} == {Quality.OUT_OF_RANGE}


def test_weather_station_is_not_asked_for_what_it_refuses() -> None:
    spans = [(block.address, block.count) for block in plan(shipped_profile("weather-7in1"))]
    assert spans == [(500, 1), (503, 3), (509, 3), (513, 1)]
