"""The serial scanner: what it sends, in which order, and that it waits until somebody listens."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.devices.scanner import READY_S, Habits, SerialScanner
from firmware_sim.links import GOOD, Faults, Link

CARTON = "010893000001001810TOM26-0417\x1d210001"


@pytest.fixture
def scanner(tmp_path: Path, link: Link, logged: Any) -> SerialScanner:
    return SerialScanner(tmp_path / "tty", name="s", channel="gw/s/scan", link=link, log=logged.log, now_ms=lambda: 5.0)


def listen(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


def hear(port: int, *, ends: int = 1) -> bytes:
    """What has come, up to so many ends of line; the kernel may hand it over in pieces."""
    data = b""
    while data.count(b"\n") < ends:
        ready, _, _ = select.select([port], [], [], 5)
        assert ready, data
        data += os.read(port, 200)
    return data


async def test_codes_come_with_aim_identifier_and_suffix_in_order(
    tmp_path: Path, scanner: SerialScanner, logged: Any
) -> None:
    async with scanner:
        port = listen(tmp_path / "tty")
        await asyncio.gather(scanner.send(CARTON, "C1"), scanner.send("00189300000000001013", "C1"))
        assert hear(port, ends=2) == b"]C1" + CARTON.encode() + b"\r\n]C100189300000000001013\r\n"
        os.close(port)
    assert [(line["channel"], line["code"], line["symbology"], line["at_ms"]) for line in logged.produced] == [
        ("gw/s/scan", CARTON, "C1", 5),
        ("gw/s/scan", "00189300000000001013", "C1", 5),
    ]


async def test_a_scan_waits_until_somebody_listens(tmp_path: Path, scanner: SerialScanner, logged: Any) -> None:
    async with scanner:
        sending = asyncio.create_task(scanner.send("A", "C0"))
        await asyncio.sleep(0.1)
        assert logged.produced == []
        port = listen(tmp_path / "tty")
        async with asyncio.timeout(READY_S + 2):
            await sending
        assert hear(port) == b"]C0A\r\n"
        os.close(port)
        again = asyncio.create_task(scanner.send("B", "C0"))  # the gateway was killed: it waits again
        await asyncio.sleep(0.1)
        assert not again.done()
        port = listen(tmp_path / "tty")
        async with asyncio.timeout(READY_S + 2):
            await again
        assert hear(port) == b"]C0B\r\n"
        os.close(port)
    assert [line["code"] for line in logged.produced] == ["A", "B"]


async def test_a_confirmation_is_heard(tmp_path: Path, scanner: SerialScanner, logged: Any) -> None:
    async with scanner:
        port = listen(tmp_path / "tty")
        await scanner.send("A", "C0")
        os.write(port, b"\x06")
        await asyncio.sleep(0.05)
        os.close(port)
    assert [line["feedback"] for line in logged.incidents] == ["06"]


async def test_an_unplugged_scanner_scans_when_it_is_back(
    tmp_path: Path, scanner: SerialScanner, link: Link, logged: Any
) -> None:
    async with scanner:
        await link.change(Faults(unplugged=True))
        assert not (tmp_path / "tty").is_symlink()
        sending = asyncio.create_task(scanner.send("A", "C0"))
        await link.change(GOOD)
        port = listen(tmp_path / "tty")
        async with asyncio.timeout(READY_S + 2):
            await sending
        os.close(port)
    assert [line["code"] for line in logged.produced] == ["A"]


async def test_a_garbled_scan_is_not_produced(tmp_path: Path, scanner: SerialScanner, link: Link, logged: Any) -> None:
    async with scanner:
        port = listen(tmp_path / "tty")
        await link.change(Faults(garble=1.0))
        await scanner.send("A", "C0")
        assert os.read(port, 20) != b"]C0A\r\n"
        os.close(port)
    assert logged.produced == []
    assert logged.incidents[0]["damaged"] is True


async def test_a_code_that_holds_its_own_end_is_refused(scanner: SerialScanner) -> None:
    with pytest.raises(ValueError, match="suffix"):
        await scanner.send("A\r\nB", "C0")


async def test_habits_of_bad_scanners(tmp_path: Path, scanner: SerialScanner, logged: Any) -> None:
    async with scanner:
        port = listen(tmp_path / "tty")
        scanner.habits = Habits(double=1.0, double_after_s=0.01)
        await scanner.send("A", "C0")
        assert hear(port, ends=2) == b"]C0A\r\n" * 2
        scanner.habits = Habits(no_suffix=1.0)
        await scanner.send("B", "C0")
        scanner.habits = Habits(noise=1.0)
        await scanner.send("C", "C0")
        data = hear(port)
        assert data.startswith(b"]C0B")
        assert data.endswith(b"]C0C\r\n")
        assert len(data) > len(b"]C0B]C0C\r\n")
        os.close(port)
    assert [line["code"] for line in logged.produced] == ["A", "A"]
    assert [line["damaged"] for line in logged.incidents] == [True, True]


async def test_separator_is_sent_as_it_is_set(tmp_path: Path, link: Link, logged: Any) -> None:
    scanner = SerialScanner(
        tmp_path / "tty", name="s", channel="gw/s/scan", link=link, log=logged.log, now_ms=lambda: 5.0, fnc1="#"
    )
    async with scanner:
        port = listen(tmp_path / "tty")
        await scanner.send(CARTON, "C1")
        assert hear(port) == b"]C1" + CARTON.replace("\x1d", "#").encode() + b"\r\n"
        os.close(port)
    assert [line["code"] for line in logged.produced] == [CARTON]
