"""The driver of scanners that play keyboards, behind a FIFO: without uinput there is nothing that could be grabbed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured
from edge.drivers.hid import driver as driver_module
from edge.drivers.hid.config import HidConfig, Match
from edge.drivers.hid.device import find, input_devices, open_events
from edge.drivers.hid.driver import HidDriver
from firmware_sim.devices.hid_scanner import HidScanner, Typing
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.scanner import Habits
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import Bench, LinkBench, LinkSuite, context, open_files
from wire.observation import Observation, Scan

CODE = "010893000000012510LOT-7\x1d21yZ"


class HidBench(LinkBench):
    expected = (("packing/scan", CODE, "C1"),)
    scanner: HidScanner

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link("scanner", random.Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Scan)
        return observation.channel, observation.code, observation.symbology

    def driver(self, ctx: DriverContext, **more: object) -> HidDriver:
        return HidDriver("packing", HidConfig(path=str(self.folder / "event0"), **more), ctx)  # type: ignore[arg-type]

    async def speak(self) -> None:
        await self.scanner.send(CODE, "C1")


@asynccontextmanager
async def scanner_at(folder: Path) -> AsyncIterator[HidBench]:
    bench = HidBench(folder)
    log = DeviceLog(folder)
    bench.scanner = HidScanner(
        folder / "event0", name="s", channel="gw/packing/scan", link=bench.link, log=log, now_ms=lambda: 0
    )
    async with bench.running(simulated=bench.scanner, log=log):
        yield bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with scanner_at(tmp_path) as bench:
        yield bench


class Heard:
    """What a listening driver hands on, and what it complains of."""

    def __init__(self, driver: HidDriver) -> None:
        self.scans: list[Scan] = []
        self.troubles: list[str] = []
        self._driver = driver

    async def __aenter__(self) -> Heard:
        self._task = asyncio.create_task(self._listen())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def count(self, scans: int, troubles: int = 0) -> None:
        async with asyncio.timeout(5):
            while len(self.scans) < scans or len(self.troubles) < troubles:
                await asyncio.sleep(0.01)

    async def _emit(self, observations: Sequence[Observation]) -> None:
        self.scans += [one for one in observations if isinstance(one, Scan)]

    async def _listen(self) -> None:
        while True:
            try:
                await self._driver.listen(self._emit)
            except BadReply as error:
                self.troubles.append(str(error))


class TestHidScanner(LinkSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        async with scanner_at(tmp_path) as bench:
            yield bench

    async def test_unplugged_while_it_listens_is_told_at_once(self, bench: HidBench) -> None:
        async with bench.driver(context()) as driver:
            listening = asyncio.create_task(driver.listen(asyncio.Queue().put))
            await asyncio.sleep(0.05)
            await bench.change(Faults(unplugged=True))
            with pytest.raises(DeviceUnavailable, match="still plugged in"):
                await asyncio.wait_for(listening, 1)


async def test_lost_and_wrong_keys_are_told_and_do_not_stop_the_scanner(bench: HidBench) -> None:
    async with bench.driver(context(), require_aim=True) as driver, Heard(driver) as heard:
        await bench.change(Faults(drop=0.02, garble=0.02))
        for _ in range(20):
            await bench.scanner.send(CODE, "C1")
        await bench.change(Faults())
        await bench.scanner.send(CODE, "C1")
        async with asyncio.timeout(5):
            while not heard.scans or (heard.scans[-1].code, heard.scans[-1].symbology) != (CODE, "C1"):
                await asyncio.sleep(0.01)
    assert heard.troubles


async def test_two_scanners_on_one_gateway_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    async with scanner_at(folders[0]) as one, scanner_at(folders[1]) as other:
        first = HidDriver("one", HidConfig(path=str(folders[0] / "event0")), context())
        second = HidDriver("two", HidConfig(path=str(folders[1] / "event0")), context())
        async with first, second, Heard(first) as at_one, Heard(second) as at_two:
            one.scanner.typing = other.scanner.typing = Typing(key_s=0.0005)  # their keys interleave
            await asyncio.gather(one.scanner.send("FIRST", "C0"), other.scanner.send("SECOND", "C0"))
            await at_one.count(1)
            await at_two.count(1)
    assert [(scan.channel, scan.code) for scan in at_one.scans] == [("one/scan", "FIRST")]
    assert [(scan.channel, scan.code) for scan in at_two.scans] == [("two/scan", "SECOND")]


@pytest.mark.parametrize(
    ("typing", "config", "raw", "why"),
    [
        (
            Typing(layout="de"),
            {},
            "9C1010893000000012510LOT/7\x1d21zY",
            "typed on a German keyboard and read as a US one",
        ),
        (
            Typing(),
            {"layout": "de"},
            "+C1010893000000012510LOTß7\x1d21zY",
            "typed on a US keyboard and read as a German one",
        ),
        (Typing(), {"layout": "fr"}, None, "typed on a US keyboard and read as a French one"),
        (Typing(layout="fr"), {}, None, "typed on a French keyboard and read as a US one"),
        (Typing(caps_lock=True), {}, "010893000000012510lot-7\x1d21Yz", "Caps Lock"),
        (Typing(separator="#"), {}, "010893000000012510LOT-7#21yZ", "FNC1 comes as '#'"),
        (Typing(dropped=1.0), {}, None, "SYN_DROPPED"),
        (Typing(aim=False), {"require_aim": True}, CODE, "no AIM identifier"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_damage_is_named_and_the_code_kept_as_it_came(
    bench: HidBench, typing: Typing, config: dict[str, object], raw: str | None, why: str
) -> None:
    async with bench.driver(context(), **config) as driver, Heard(driver) as heard:
        bench.scanner.typing = typing
        await bench.scanner.send(CODE, "C1")
        await heard.count(1, troubles=1)
    assert why in heard.troubles[0]
    assert "is recorded but refused" in heard.troubles[0]
    if raw is not None:
        assert heard.scans[0].code == raw


async def test_scanner_and_configuration_set_alike_agree(bench: HidBench) -> None:
    for layout in ("de", "fr", "us"):
        async with bench.driver(context(), layout=layout) as driver, Heard(driver) as heard:
            bench.scanner.typing = Typing(layout=layout)  # type: ignore[arg-type]
            await bench.scanner.send(CODE, "C1")
            await heard.count(1)
        assert [(scan.code, scan.symbology) for scan in heard.scans] == [(CODE, "C1")]
        assert heard.troubles == []


async def test_half_a_code_is_never_joined_to_the_next(bench: HidBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "REST_S", 0.1)
    async with bench.driver(context()) as driver, Heard(driver) as heard:
        bench.scanner.habits = Habits(no_suffix=1.0)
        await bench.scanner.send("HALF", "C0")
        await heard.count(0, troubles=1)
        bench.scanner.habits = Habits()
        await bench.scanner.send("WHOLE", "C0")
        await heard.count(1)
    assert [scan.code for scan in heard.scans] == ["WHOLE"]
    assert "7 characters came without the suffix 'enter' and were dropped (']C0HALF')" in heard.troubles[0]


#: As the kernel writes them: of a power button, of volume keys, and of a keyboard.
POWER_KEY, VOLUME_KEYS, ALL_KEYS = (
    "10000000000000 0",
    "1f 0 0 e000000000000 0",
    "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe",
)


def sysfs(folder: Path, devices: dict[str, tuple[str, str, str, str]]) -> Path:
    for event, words in devices.items():
        (folder / event / "device" / "capabilities").mkdir(parents=True)
        for name, word in zip(("name", "phys", "uniq", "capabilities/key"), words, strict=True):
            (folder / event / "device" / name).write_text(word + "\n")
    return folder


def test_scanner_is_found_by_what_the_kernel_says_of_it(tmp_path: Path) -> None:
    devices = {
        "event0": ("Power Button", "PNP0C0C/button/input0", "", POWER_KEY),
        "event2": ("Honeywell 1900", "usb-3f980000.usb-1.2/input0", "15043B0A22", ALL_KEYS),
        "event3": ("Honeywell 1900 Consumer Control", "usb-3f980000.usb-1.2/input1", "15043B0A22", VOLUME_KEYS),
        "event10": ("Honeywell 1900", "usb-3f980000.usb-1.3/input0", "15043B0A23", ALL_KEYS),
    }
    root = sysfs(tmp_path, devices)
    dev = Path("/dev/input")
    assert [device.path.name for device in input_devices(root, dev)] == ["event0", "event2", "event3", "event10"]
    assert [device.is_keyboard for device in input_devices(root, dev)] == [False, True, False, True]
    assert find(Match(uniq="15043B0A22"), sysfs=root, dev=dev) == dev / "event2"
    assert find(Match(name="Honeywell 1900", phys="usb-3f980000.usb-1.3/input0"), sysfs=root) == dev / "event10"
    with pytest.raises(DeviceUnavailable, match=r"several.*event2.*event10.*tell them apart by phys or uniq"):
        find(Match(name="Honeywell 1900"), sysfs=root)
    with pytest.raises(DeviceUnavailable, match=r"no keyboard with name = \"Datalogic\".*event2 \(name 'Honeywell"):
        find(Match(name="Datalogic"), sysfs=root)
    with pytest.raises(DeviceUnavailable, match="none at all"):
        find(Match(name="x"), sysfs=tmp_path / "absent")


def test_what_is_no_input_device_is_told(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(DriverMisconfigured, match="/dev/null is no input device"):
        open_events(Path("/dev/null"))
    (tmp_path / "file").touch()
    with pytest.raises(DriverMisconfigured, match="is no input device"):
        open_events(tmp_path / "file")
    with pytest.raises(DeviceUnavailable, match=r"absent: No such file.*is the scanner plugged in"):
        open_events(tmp_path / "absent")
    assert open_files() == before


def test_permission_problem_names_the_command_that_fixes_it(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may open everything
    try:
        with pytest.raises(DeviceUnavailable, match="sudo usermod -aG input"):
            open_events(tmp_path / "event0")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        tmp_path.chmod(0o700)


async def test_not_open_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="not open"):
        await HidDriver("s", HidConfig(path=str(tmp_path)), context()).listen(asyncio.Queue().put)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (HidConfig(), "path"),
        (HidConfig(path="/dev/input/event0", match=Match(name="x")), "path"),
        (HidConfig(path="/x", fnc1="%"), "fnc1"),
        (HidConfig(path="/x", aim=False, require_aim=True), "require_aim"),
    ],
)
def test_configuration_that_cannot_be_meant_is_refused(config: HidConfig, key: str) -> None:
    assert [name for name, _ in config.problems()] == [key]
