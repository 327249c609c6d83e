"""The HID scanner: what it types, its faults, and that it waits until somebody listens."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from edge.drivers.barcode.codec import Code
from edge.drivers.hid.codec import Decoder
from firmware_sim.devices.hid_scanner import READY_S, HidScanner, Typing
from firmware_sim.devices.scanner import Habits
from firmware_sim.links import GOOD, Faults, Link

CARTON = "010893000001001810TOM26-0417\x1d210001"


@pytest.fixture
def scanner(tmp_path: Path, link: Link, logged: Any) -> HidScanner:
    return HidScanner(tmp_path / "event", name="s", channel="gw/s/scan", link=link, log=logged.log, now_ms=lambda: 5.0)


def listen(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def hear(port: int) -> bytes:
    data = b""
    try:
        while more := os.read(port, 65536):
            data += more
    except BlockingIOError:
        pass
    return data


async def test_codes_are_typed_in_order_and_logged(tmp_path: Path, scanner: HidScanner, logged: Any) -> None:
    async with scanner:
        port = listen(tmp_path / "event")
        await asyncio.gather(scanner.send(CARTON, "C1"), scanner.send("00189300000000001013", "C1"))
        assert Decoder().feed(hear(port)) == [Code(CARTON, "C1"), Code("00189300000000001013", "C1")]
        os.close(port)
    assert [(line["code"], line["symbology"], line["at_ms"]) for line in logged.produced] == [
        (CARTON, "C1", 5),
        ("00189300000000001013", "C1", 5),
    ]


async def test_a_scan_waits_until_somebody_listens_and_nobody_gets_old_keys(
    tmp_path: Path, scanner: HidScanner, logged: Any
) -> None:
    async with scanner:
        sending = asyncio.create_task(scanner.send("A", "C0"))
        await asyncio.sleep(READY_S * 2)
        assert not sending.done()
        port = listen(tmp_path / "event")
        async with asyncio.timeout(READY_S + 2):
            await sending
        os.close(port)  # without having read
        await asyncio.sleep(0.1)
        port = listen(tmp_path / "event")
        await scanner.send("B", "C0")
        assert Decoder().feed(hear(port)) == [Code("B", "C0")]
        os.close(port)
    assert [line["code"] for line in logged.produced] == ["A", "B"]


async def test_unplugged_it_is_gone_and_scans_when_it_is_back(
    tmp_path: Path, scanner: HidScanner, link: Link, logged: Any
) -> None:
    async with scanner:
        port = listen(tmp_path / "event")
        await link.change(Faults(unplugged=True))
        assert not (tmp_path / "event").exists()
        assert os.read(port, 10) == b""
        os.close(port)
        sending = asyncio.create_task(scanner.send("A", "C0"))
        await link.change(GOOD)
        port = listen(tmp_path / "event")
        async with asyncio.timeout(READY_S + 2):
            await sending
        os.close(port)
    assert [line["code"] for line in logged.produced] == ["A"]


async def test_longest_code_goes_through_a_reader_that_is_slow(tmp_path: Path, scanner: HidScanner) -> None:
    async with scanner:
        port = listen(tmp_path / "event")
        sending = asyncio.create_task(scanner.send("X" * 4096, "C0"))
        data = b""
        async with asyncio.timeout(20):
            while not sending.done():
                await asyncio.sleep(0.01)
                data += hear(port)
        assert Decoder().feed(data + hear(port)) == [Code("X" * 4096, "C0")]
        os.close(port)


@pytest.mark.parametrize(
    ("typing", "habits", "faults", "found"),
    [
        (Typing(), Habits(double=1.0, double_after_s=0.01), GOOD, [Code("A-1", "C0")] * 2),
        (Typing(), Habits(no_suffix=1.0), GOOD, []),
        (Typing(), Habits(), Faults(half=1.0), []),
        (Typing(layout="de"), Habits(), GOOD, [Code("9C0A/1", "")]),
        (Typing(caps_lock=True), Habits(), GOOD, [Code("a-1", "c0")]),
        (Typing(aim=False, suffix="tab"), Habits(), GOOD, []),
    ],
    ids=str,
)
async def test_faults_are_those_of_real_scanners(
    tmp_path: Path,
    scanner: HidScanner,
    link: Link,
    logged: Any,
    typing: Typing,
    habits: Habits,
    faults: Faults,
    found: list[Code],
) -> None:
    async with scanner:
        port = listen(tmp_path / "event")
        scanner.typing, scanner.habits = typing, habits
        await link.change(faults)
        await scanner.send("A-1", "C0")
        heard = Decoder().feed(hear(port))
        os.close(port)
    assert [Code(item.text, item.symbology) for item in heard if isinstance(item, Code)] == found
    whole = not habits.no_suffix and faults == GOOD
    assert len(logged.produced) == (1 + int(habits.double) if whole else 0)
    assert len(logged.incidents) == (0 if whole else 1)


async def test_what_is_on_no_key_cannot_be_scanned(scanner: HidScanner) -> None:
    with pytest.raises(ValueError, match="on no key of a US keyboard"):
        await scanner.send("lô-7", "C0")
