"""The Modbus driver against simulated slaves that share no protocol code with it, on a pty and over TCP."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.modbus.codec import Profile, parse_profile, shipped_profile
from edge.drivers.modbus.config import ModbusConfig, ProfileChoice
from edge.drivers.modbus.driver import ModbusDriver
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Unit, rtu_frame
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, PollSuite, context
from wire.observation import Observation, Quality, Reading

XY = shipped_profile("xy-md02")
AIR, HUMIDITY = Decimal("-21.3"), Decimal("55.4")


def unit(unit_id: int = 1, profile: Profile = XY, **sources: Decimal | None) -> Unit:
    values = sources or {"air": AIR, "humidity": HUMIDITY}
    return Unit(unit_id, f"room-{unit_id}", "gw", profile, {name: lambda _, v=v: v for name, v in values.items()})


class ModbusBench(LinkBench):
    expected = (("room-1/air", "CEL", -213, -1, Quality.OK), ("room-1/humidity", "P1", 554, -1, Quality.OK))

    def __init__(self, folder: Path, link: Link) -> None:
        self.folder = folder
        self.link = link

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.unit, observation.mantissa, observation.exponent, observation.quality

    def config(self) -> ModbusConfig:
        raise NotImplementedError

    def driver(self, ctx: DriverContext) -> ModbusDriver:
        return ModbusDriver("room-1", self.config(), ctx)


class RtuBench(ModbusBench):
    def config(self, unit_id: int = 1) -> ModbusConfig:
        port = str(self.folder / "bus")
        return ModbusConfig(profile=ProfileChoice(XY), port=port, timeout_s=TIMEOUT_S, unit_id=unit_id)


class TcpBench(ModbusBench):
    probe: TcpProbe

    def config(self) -> ModbusConfig:
        probe = self.probe
        return ModbusConfig(profile=ProfileChoice(XY), host=probe.host, tcp_port=probe.port, timeout_s=TIMEOUT_S)


class TestRtu(PollSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        bench = RtuBench(tmp_path, Link("bus", random.Random(7)))
        log = DeviceLog(tmp_path)
        units = [unit(1), unit(3, air=Decimal(4), humidity=Decimal(80))]
        bus = RtuBus(tmp_path / "bus", units, link=bench.link, log=log, now_ms=lambda: 0, paced=False)
        async with bench.running(simulated=bus, log=log):
            yield bench

    async def test_neighbours_share_the_line(self, bench: RtuBench) -> None:
        ctx = context()
        third = ModbusDriver("room-3", bench.config(3), ctx)
        async with bench.driver(ctx) as first, third:
            for _ in range(20):
                answers = await asyncio.gather(first.poll(), third.poll())
                assert [[reading.mantissa for reading in answer] for answer in answers] == [[-213, 554], [40, 800]]

    async def test_dead_neighbour_costs_its_own_timeout_and_no_more(self, bench: RtuBench) -> None:
        ctx = context()
        dead = ModbusDriver("room-2", bench.config(2), ctx)
        async with bench.driver(ctx) as alive, dead:
            waiting = asyncio.create_task(dead.poll())
            await asyncio.sleep(0)  # the dead one has the line
            began_s = time.monotonic()
            assert len(await alive.poll()) == 2
            assert time.monotonic() - began_s < TIMEOUT_S + 0.2
            with pytest.raises(DeviceUnavailable, match="unit 2: no answer within"):
                await waiting

    async def test_garbled_answer_is_told_from_none(self, bench: RtuBench) -> None:
        async with bench.driver(context()) as driver:
            await bench.change(Faults(half=1))
            with pytest.raises(BadReply, match="no valid frame for us"):
                await driver.poll()

    async def test_line_lost_by_one_is_opened_again_for_all(self, bench: RtuBench) -> None:
        ctx = context()
        third = ModbusDriver("room-3", bench.config(3), ctx)
        async with third:  # holds its share of the line throughout
            async with bench.driver(ctx) as first:
                await bench.remove()
                with pytest.raises(DeviceUnavailable):
                    await first.poll()
            await bench.change(Faults())
            async with bench.driver(ctx) as first:
                assert await first.poll()
            assert await third.poll()

    async def test_absent_port_is_named_with_a_cure(self, bench: RtuBench) -> None:
        await bench.remove()
        with pytest.raises(DeviceUnavailable, match=r"no such port; is the adapter plugged in"):
            async with bench.driver(context()):
                pass

    async def test_port_that_is_no_terminal_is_unavailable(self, bench: RtuBench) -> None:
        await bench.remove()
        (bench.folder / "bus").write_text("not a port")
        with pytest.raises(DeviceUnavailable):
            async with bench.driver(context()):
                pass


class TestTcp(PollSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        bench = TcpBench(tmp_path, Link("probe", random.Random(7)))
        log = DeviceLog(tmp_path)
        bench.probe = TcpProbe(unit(), link=bench.link, log=log, now_ms=lambda: 0)
        async with bench.running(simulated=bench.probe, log=log):
            yield bench


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Path]:
    """A line with two failing probes: 1 says so by its sentinel, 2 by an exception."""
    log, link = DeviceLog(tmp_path), Link("bus", random.Random(1))
    units = [unit(1, air=None, humidity=Decimal(0)), unit(2, air=None, humidity=None)._replace(failure="exception")]
    bus = RtuBus(tmp_path / "bus", units, link=link, log=log, now_ms=lambda: 0, paced=False)
    bench = RtuBench(tmp_path, link)
    async with bench.running(simulated=bus, log=log):
        yield tmp_path / "bus"


async def test_sentinel_is_a_sensor_error_without_a_number(line: Path) -> None:
    config = ModbusConfig(profile=ProfileChoice(XY), port=str(line), timeout_s=1)
    async with ModbusDriver("room", config, context()) as driver:
        air, humidity = await driver.poll()
    assert (air.mantissa, air.quality) == (None, Quality.SENSOR_ERROR)
    assert (humidity.mantissa, humidity.quality) == (0, Quality.OK)


async def test_exception_answer_is_explained(line: Path) -> None:
    config = ModbusConfig(profile=ProfileChoice(XY), port=str(line), timeout_s=1, unit_id=2)
    async with ModbusDriver("room", config, context()) as driver:
        with pytest.raises(BadReply, match="exception 4, server device failure"):
            await driver.poll()


async def test_wrong_profile_is_an_illegal_address(line: Path) -> None:
    profile = parse_profile(
        'name = "other"\ntitle = "t"\nsource = "s"\n[[block]]\nfunction = 3\naddress = 500\ncount = 1\n'
        '[[block.point]]\nname = "air"\nunit = "CEL"\nregister = 500\n'
    )
    config = ModbusConfig(profile=ProfileChoice(profile), port=str(line), timeout_s=1)
    async with ModbusDriver("room", config, context()) as driver:
        with pytest.raises(BadReply, match="is this the right profile"):
            await driver.poll()


async def test_block_of_ten_is_one_request(tmp_path: Path) -> None:
    profile = shipped_profile("pt100-10")
    asked = 0

    def source(number: int) -> object:
        def value(_: int) -> Decimal:
            nonlocal asked
            asked += 1
            return Decimal(-number)

        return value

    sources = {point.name: source(at) for at, point in enumerate(profile.points)}
    log, link = DeviceLog(tmp_path), Link("bus", random.Random(1))
    ten = Unit(1, "room", "gw", profile, sources)  # type: ignore[arg-type]
    bus = RtuBus(tmp_path / "bus", [ten], link=link, log=log, now_ms=lambda: 0, paced=False)
    async with RtuBench(tmp_path, link).running(simulated=bus, log=log):
        config = ModbusConfig(profile=ProfileChoice(profile), port=str(tmp_path / "bus"), timeout_s=1)
        async with ModbusDriver("room", config, context()) as driver:
            readings = await driver.poll()
    assert [reading.value for reading in readings] == [Decimal(-number) for number in range(10)]
    assert len({reading.stamp for reading in readings}) == 1
    assert asked == 10


LOOSE = """
name = "loose"
title = "t"
source = "s"
[requests]
max_gap = 4
[[point]]
name = "air"
unit = "CEL"
function = 3
register = 10
exponent = -1
[[point]]
name = "dew"
unit = "CEL"
function = 3
register = 15
exponent = -1
[[point]]
name = "door"
unit = "C62"
function = 1
register = 7
type = "bit"
"""
LOOSE_VALUES = {"air": Decimal("4.5"), "dew": Decimal("-2.0"), "door": Decimal(1)}


class Counting(RtuBus):
    """Counts what it is asked."""

    asked: list[bytes]

    async def _answer(self, request) -> None:
        self.asked.append(request.frame)
        await super()._answer(request)


@pytest.fixture
async def loose(tmp_path: Path) -> AsyncIterator[Counting]:
    log, link = DeviceLog(tmp_path), Link("bus", random.Random(1))
    units = [unit(1, parse_profile(LOOSE), **LOOSE_VALUES)]
    bus = Counting(tmp_path / "bus", units, link=link, log=log, now_ms=lambda: 0, paced=False)
    bus.asked = []
    async with RtuBench(tmp_path, link).running(simulated=bus, log=log):
        yield bus


@pytest.mark.parametrize(
    ("keys", "requests"),
    [({}, 2), ({"max_gap": 3}, 3), ({"one_by_one": True}, 3), ({"max_registers": 5}, 3), ({"max_gap": 4}, 2)],
    ids=str,
)
async def test_points_are_merged_as_the_profile_and_the_configuration_say(
    loose: Counting, tmp_path: Path, keys: dict, requests: int
) -> None:
    choice = ProfileChoice(parse_profile(LOOSE))
    config = ModbusConfig(profile=choice, port=str(tmp_path / "bus"), timeout_s=1, **keys)
    async with ModbusDriver("dev", config, context()) as driver:
        found = {reading.channel: reading.value for reading in await driver.poll() if isinstance(reading, Reading)}
    assert found == {f"dev/{name}": value for name, value in LOOSE_VALUES.items()}
    assert len(loose.asked) == requests


async def test_device_gets_its_pause_between_requests_and_the_line_is_free_meanwhile(
    loose: Counting, tmp_path: Path
) -> None:
    choice, ctx = ProfileChoice(parse_profile(LOOSE)), context()
    slow = ModbusConfig(profile=choice, port=str(tmp_path / "bus"), timeout_s=1, one_by_one=True, pause_s=1)
    quick = ModbusConfig(profile=choice, port=str(tmp_path / "bus"), timeout_s=1)
    async with ModbusDriver("slow", slow, ctx) as patient, ModbusDriver("quick", quick, ctx) as neighbour:
        began_s = time.monotonic()
        looking = asyncio.create_task(patient.poll())
        await asyncio.sleep(0.05)
        await neighbour.poll()
        assert not looking.done()
        await looking
        assert time.monotonic() - began_s >= 2


async def test_dead_neighbours_cost_a_live_device_one_timeout_at_most(tmp_path: Path) -> None:
    """Five dead slaves and a live one on a line, all asked again and again."""
    log, link, ctx = DeviceLog(tmp_path), Link("bus", random.Random(1)), context()
    bus = RtuBus(tmp_path / "bus", [unit(1)], link=link, log=log, now_ms=lambda: 0, paced=False)
    timeout_s, until_s = 0.2, time.monotonic() + 4
    waited: list[float] = []

    def driver(unit_id: int) -> ModbusDriver:
        config = ModbusConfig(
            profile=ProfileChoice(XY), port=str(tmp_path / "bus"), timeout_s=timeout_s, unit_id=unit_id
        )
        return ModbusDriver(f"room-{unit_id}", config, ctx)

    async def keep_asking(unit_id: int) -> None:
        async with driver(unit_id) as asked:
            while time.monotonic() < until_s:
                began_s = time.monotonic()
                try:
                    await asked.poll()
                except DeviceUnavailable:
                    continue
                waited.append(time.monotonic() - began_s)
                await asyncio.sleep(0.02)

    async with RtuBench(tmp_path, link).running(simulated=bus, log=log), asyncio.timeout(30):
        async with asyncio.TaskGroup() as group:
            for unit_id in (1, 2, 3, 4, 5, 6):
                group.create_task(keep_asking(unit_id))
    after_the_first_round = waited[2:]  # in which it shows who is dead
    assert max(after_the_first_round) < timeout_s + 0.15
    assert len(waited) > 40, "four fifths of the line's time are for those who answer"


@pytest.mark.parametrize(
    ("keys", "key", "why"),
    [
        ({"port": "p", "framing": "tcp"}, "framing", "a serial line carries RTU frames"),
        ({"host": "h", "max_registers": 1}, "max_registers", "point wide alone takes 2 registers"),
        ({"host": "h", "one_by_one": True, "pause_s": 2.0}, "pause_s", "pauses of 2 s are more than the 50 s"),
    ],
)
def test_settings_that_cannot_work_are_named_before_anything_opens(keys: dict, key: str, why: str) -> None:
    many = "".join(f'[[point]]\nname = "p-{at}"\nunit = "C62"\nfunction = 3\nregister = {at}\n' for at in range(30))
    wide = '[[point]]\nname = "wide"\nunit = "C62"\nfunction = 3\nregister = 100\ntype = "int32"\n'
    profile = parse_profile('name = "x"\ntitle = "t"\nsource = "s"\n' + many + wide)
    problems = list(ModbusConfig(profile=ProfileChoice(profile), **keys).problems())
    assert [found for found, _ in problems] == [key]
    assert why in problems[0][1]


async def test_rtu_frames_over_tcp_are_a_setting(tmp_path: Path, free_port) -> None:
    config = ModbusConfig(profile=ProfileChoice(XY), host="127.0.0.1", tcp_port=free_port(), framing="rtu")
    assert list(config.problems()) == []
    with pytest.raises(DeviceUnavailable):
        async with ModbusDriver("room", config, context()):
            pass


@asynccontextmanager
async def slow_once(delay_s: float) -> AsyncIterator[int]:
    """A converter before a slave that takes its time for its first answer; every register holds its own number."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wait_s = delay_s
        while request := await reader.read(8):
            await asyncio.sleep(wait_s)
            wait_s = 0.05
            writer.write(rtu_frame(request[0], request[1:2] + b"\x02" + request[2:4]))
        writer.close()
        await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await gone.wait()


async def test_a_late_answer_is_never_taken_for_that_of_the_next_request() -> None:
    profile = parse_profile(
        LOOSE.replace("max_gap = 4", "one_by_one = true")
        .replace("exponent = -1\n", "")
        .partition('[[point]]\nname = "door"')[0]
    )
    timeout_s = 1.0
    async with slow_once(timeout_s * 1.4) as port:
        config = ModbusConfig(
            profile=ProfileChoice(profile), host="127.0.0.1", tcp_port=port, framing="rtu", timeout_s=timeout_s
        )
        async with ModbusDriver("room", config, context()) as driver:
            with pytest.raises(DeviceUnavailable):
                await driver.poll()
            assert [reading.mantissa for reading in await driver.poll()] == [10, 15]  # type: ignore[union-attr]
