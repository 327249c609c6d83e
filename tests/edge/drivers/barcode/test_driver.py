"""The scanner driver on a pty."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tty
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from edge.drivers.barcode import driver as driver_module
from edge.drivers.barcode.config import BarcodeConfig
from edge.drivers.barcode.driver import BarcodeDriver
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.scanner import Habits, SerialScanner
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, LinkSuite, context
from wire.observation import Observation, Scan

CODE = "010893000000012510LOT-7\x1d21S1"
WRONG = "0108930000000126"
PALLET = "00189300000000001013"


class ScannerBench(LinkBench):
    expected = (("packing/scan", CODE, "C1"),)
    scanner: SerialScanner

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link("scanner", random.Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Scan)
        return observation.channel, observation.code, observation.symbology

    def driver(self, ctx: DriverContext, **more: object) -> BarcodeDriver:
        config = BarcodeConfig(port=str(self.folder / "scanner"), timeout_s=TIMEOUT_S, **more)  # type: ignore[arg-type]
        return BarcodeDriver("packing", config, ctx)

    async def speak(self) -> None:
        await self.scanner.send(CODE, "C1")


class TestScanner(LinkSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[Bench]:
        bench = ScannerBench(tmp_path)
        log = DeviceLog(tmp_path)
        bench.scanner = SerialScanner(
            tmp_path / "scanner", name="s", channel="gw/packing/scan", link=bench.link, log=log, now_ms=lambda: 0
        )
        async with bench.running(simulated=bench.scanner, log=log):
            yield bench

    async def test_unplugged_while_it_listens_is_told_at_once(self, bench: ScannerBench) -> None:
        async with bench.driver(context()) as driver:
            listening = asyncio.create_task(driver.listen(asyncio.Queue().put))
            await asyncio.sleep(0.05)
            await bench.change(Faults(unplugged=True))
            with pytest.raises(DeviceUnavailable, match="still plugged in"):
                await asyncio.wait_for(listening, 1)

    async def test_bad_scanner_gives_no_wrong_code_and_a_good_one_again_afterwards(
        self, bench: ScannerBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Noise, missing suffixes and double scans: whatever is accepted is what was scanned."""
        monkeypatch.setattr(driver_module, "REST_S", 0.05)
        heard: list[Scan] = []
        troubles: list[str] = []

        async def emit(observations: Sequence[Observation]) -> None:
            heard.extend(one for one in observations if isinstance(one, Scan))

        async def listen() -> None:
            while True:
                try:
                    await driver.listen(emit)
                except BadReply as error:
                    troubles.append(str(error))

        driver = bench.driver(context(), require_aim=True, double_scan_s=30.0)
        bench.scanner.habits = Habits(double=0.5, double_after_s=0.02, no_suffix=0.3, noise=0.3)
        async with driver:
            listening = asyncio.create_task(listen())
            for _ in range(30):
                await bench.scanner.send(CODE, "C1")
                await asyncio.sleep(0.01)
            bench.scanner.habits = Habits()
            await asyncio.sleep(0.2)
            await bench.scanner.send(PALLET, "C1")
            async with asyncio.timeout(5):
                while heard[-1].code != PALLET:
                    await asyncio.sleep(0.01)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        accepted = [scan for scan in heard if scan.channel == "packing/scan"]
        assert [(scan.code, scan.symbology) for scan in accepted] == [(CODE, "C1"), (PALLET, "C1")]
        assert {scan.code for scan in heard if scan.channel == "packing/scan.repeats" and scan.code == CODE}
        assert troubles


class Line:
    """The other end of a serial port."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(slave)
        self._slave = slave
        self.heard: list[Observation] = []

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)

    def config(self, **more: object) -> BarcodeConfig:
        return BarcodeConfig(port=self.port, **more)  # type: ignore[arg-type]

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    async def answer(self) -> bytes:
        for _ in range(100):
            try:
                return os.read(self.master, 100)
            except BlockingIOError:
                await asyncio.sleep(0.01)
        return b""

    async def emit(self, observations: Sequence[Observation]) -> None:
        self.heard += observations


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.close()


async def test_scanner_is_answered_only_when_the_scan_is_safe(line: Line) -> None:
    safe = asyncio.Event()

    async def commit(observations: Sequence[Observation]) -> None:
        await safe.wait()
        line.heard += observations

    async with BarcodeDriver("s", line.config(ack="\x06"), context()) as driver:
        listening = asyncio.create_task(driver.listen(commit))
        await asyncio.sleep(0.05)
        line.say(b"one\rtwo\r")
        await asyncio.sleep(0.1)
        with pytest.raises(BlockingIOError):
            os.read(line.master, 10)
        safe.set()
        assert await line.answer() == b"\x06\x06"
        assert [scan.code for scan in line.heard] == ["one", "two"]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_refused_code_is_recorded_and_answered_with_nak(line: Line) -> None:
    async with BarcodeDriver("s", line.config(ack="\x06", nak="\x15\u00ff"), context()) as driver:
        listening = asyncio.create_task(driver.listen(line.emit))
        await asyncio.sleep(0.05)
        line.say(f"]C1{CODE}\r]C1{WRONG}\r]C0OWN\r".encode())
        with pytest.raises(BadReply, match=r"'0108930000000126' is recorded but refused: \(01\) the check digit"):
            await asyncio.wait_for(listening, 1)
        assert await line.answer() == b"\x06\x15\xff\x06"
        assert [scan.code for scan in line.heard] == [CODE, WRONG, "OWN"]


async def test_double_scan_is_answered_and_counted(line: Line) -> None:
    async with BarcodeDriver("s", line.config(ack="\x06", double_scan_s=5.0), context()) as driver:
        listening = asyncio.create_task(driver.listen(line.emit))
        await asyncio.sleep(0.05)
        for _ in range(3):
            line.say(f"]C1{CODE}\r".encode())
            assert await line.answer() == b"\x06"
        assert [(scan.channel, scan.count) for scan in line.heard] == [
            ("s/scan", 1),
            ("s/scan.repeats", 2),
            ("s/scan.repeats", 3),
        ]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_substitute_for_fnc1_becomes_gs(line: Line) -> None:
    async with BarcodeDriver("s", line.config(fnc1="#"), context()) as driver:
        listening = asyncio.create_task(driver.listen(line.emit))
        await asyncio.sleep(0.05)
        line.say(b"]C1010893000000012510LOT-7#21S1\r]Q1https://example.vn/#7\r")
        await asyncio.sleep(0.1)
        assert [scan.code for scan in line.heard] == [CODE, "https://example.vn/#7"]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_scan_that_is_not_safe_gets_no_answer(line: Line) -> None:
    async def refuse(_: Sequence[Observation]) -> None:
        raise OSError("disk full")

    async with BarcodeDriver("s", line.config(ack="\x06"), context()) as driver:
        listening = asyncio.create_task(driver.listen(refuse))
        await asyncio.sleep(0.05)
        line.say(b"one\r")
        with pytest.raises(OSError, match="disk full"):
            await asyncio.wait_for(listening, 1)
        with pytest.raises(BlockingIOError):
            os.read(line.master, 10)


async def test_half_a_code_is_never_joined_to_the_next(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "REST_S", 0.1)
    async with BarcodeDriver("s", line.config(), context()) as driver:
        listening = asyncio.create_task(driver.listen(line.emit))
        await asyncio.sleep(0.05)
        line.say(b"01089360")
        with pytest.raises(BadReply, match=r"8 bytes came without the suffix.*\('01089360'\)"):
            await asyncio.wait_for(listening, 1)
        again = asyncio.create_task(driver.listen(line.emit))
        line.say(b"whole\r")
        await asyncio.sleep(0.1)
        assert [scan.code for scan in line.heard] == ["whole"]
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_endless_bytes_are_a_bad_reply_and_good_codes_around_them_are_kept(line: Line) -> None:
    async with BarcodeDriver("s", line.config(), context()) as driver:
        listening = asyncio.create_task(driver.listen(line.emit))
        await asyncio.sleep(0.05)
        line.say(b"before\r")
        for _ in range(3):
            line.say(b"x" * 2000)
            await asyncio.sleep(0.02)
        line.say(b"\rafter\r")
        with pytest.raises(BadReply, match="6000 bytes without the suffix"):
            await asyncio.wait_for(listening, 1)
        assert [scan.code for scan in line.heard] == ["before", "after"]


async def test_absent_port_is_named() -> None:
    with pytest.raises(DeviceUnavailable, match=r"/dev/absent-scanner.*is the scanner plugged in"):
        async with BarcodeDriver("s", BarcodeConfig(port="/dev/absent-scanner"), context()):
            pass


async def test_what_judges_codes_is_loaded_when_a_scanner_opens_and_not_before(line: Line) -> None:
    code = "import sys; import edge.drivers.barcode.driver, edge.drivers.hid.driver; sys.exit('biip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    async with BarcodeDriver("s", line.config(), context()):
        assert "biip" in sys.modules


async def test_without_what_judges_codes_the_cure_is_named(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "biip", None)
    with pytest.raises(DriverMisconfigured, match=r"pip install 'coldproof\[edge\]'"):
        async with BarcodeDriver("s", line.config(), context()):
            pass


async def test_not_open_is_unavailable(line: Line) -> None:
    with pytest.raises(DeviceUnavailable, match="not open"):
        await BarcodeDriver("s", line.config(), context()).listen(line.emit)
