"""Where a port is now, and why it cannot be had: on real folder trees, ptys and processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import serialx

from edge.drivers import port_trouble, usb_port
from edge.drivers.base import DeviceUnavailable, DriverMisconfigured
from edge.drivers.ports import find_port, keep_to_ourselves, let_go, look_for, open_trouble
from edge.drivers.serial_line.config import SerialLineConfig
from edge.drivers.serial_line.driver import SerialLineDriver
from edge.drivers.serial_line.layout import Point
from edge.drivers.serial_port import open_port
from edge.drivers.usb_port import parse_name, usb_ports
from tests.edge.drivers.suite import context
from wire.observation import Observation, Reading


class Machine:
    """A machine's /sys and /dev, as far as USB serial adapters go; each port is a pty."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.dev = folder / "sys", folder / "dev"
        self.dev.mkdir()
        (self.sys / "class" / "tty" / "tty0").mkdir(parents=True)  # a virtual console
        self.masters: list[int] = []

    def plug(self, port: str, place: str, *, vid: str, pid: str, serial: str = "", interface: str = "00") -> str:
        """Plug an adapter (or one more port of it) in; the pty behind it."""
        device = self.sys / "devices" / "pci0" / "usb1" / place
        leaf = device / f"{place}:1.{int(interface, 16)}"
        leaf.mkdir(parents=True)
        texts = {"idVendor": vid, "idProduct": pid, "serial": serial, "product": "Adapter\n"}
        for name, text in texts.items():
            if text:
                (device / name).write_text(f"{text}\n")
        (leaf / "bInterfaceNumber").write_text(f"{interface}\n")
        if port.startswith("ttyUSB"):  # a USB serial driver has a folder of its own between interface and tty
            leaf = leaf / port
            leaf.mkdir()
        entry = self.sys / "class" / "tty" / port
        entry.mkdir()
        (entry / "device").symlink_to(leaf)
        master, slave = os.openpty()
        tty.setraw(slave)
        name = os.ttyname(slave)
        os.close(slave)
        self.masters.append(master)
        (self.dev / port).symlink_to(name)
        return name

    def unplug(self, port: str) -> None:
        (self.sys / "class" / "tty" / port / "device").unlink()
        (self.sys / "class" / "tty" / port).rmdir()
        (self.dev / port).unlink()

    def close(self) -> None:
        for master in self.masters:
            os.close(master)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    monkeypatch.setattr(usb_port, "SYS", machine.sys)
    monkeypatch.setattr(usb_port, "DEV", machine.dev)
    yield machine
    machine.close()


@pytest.mark.parametrize("name", ["usb:FT4X1ABC", "usb:0403:6001", "usb:0403:6001:FT4X1ABC", "usb:FT4X1ABC@00"])
def test_an_adapter_is_found_by_each_of_its_names(machine: Machine, name: str) -> None:
    machine.plug("ttyUSB0", "1-1", vid="0403", pid="6001", serial="FT4X1ABC")
    machine.plug("ttyUSB1", "1-2", vid="1a86", pid="7523")
    assert look_for(name) == str(machine.dev / "ttyUSB0")


def test_an_adapter_that_comes_back_as_another_number_is_found_again(machine: Machine) -> None:
    machine.plug("ttyUSB0", "1-1", vid="0403", pid="6001", serial="A1")
    assert look_for("usb:A1") == str(machine.dev / "ttyUSB0")
    machine.unplug("ttyUSB0")
    with pytest.raises(DeviceUnavailable, match=r"usb:A1: no such port.*no USB serial adapter is plugged in"):
        look_for("usb:A1")
    machine.plug("ttyUSB3", "1-4", vid="0403", pid="6001", serial="A1")
    assert look_for("usb:A1") == str(machine.dev / "ttyUSB3")


def test_an_absent_adapter_is_told_with_those_that_are_there(machine: Machine) -> None:
    machine.plug("ttyACM0", "1-1", vid="0C2E", pid="0206", serial="34:85:18:AA:BB:CC")
    with pytest.raises(DeviceUnavailable, match=r"is the scanner plugged in\?.*usb:0c2e:0206:34:85:18:AA:BB:CC@00 = "):
        look_for("usb:OTHER", "scanner")
    assert look_for("usb:34:85:18:AA:BB:CC") == str(machine.dev / "ttyACM0")


def test_two_adapters_of_one_name_are_never_guessed_between(machine: Machine) -> None:
    machine.plug("ttyUSB0", "1-1", vid="1a86", pid="7523")
    machine.plug("ttyUSB1", "1-2", vid="1a86", pid="7523")
    with pytest.raises(DeviceUnavailable, match=r"2 ports answer to this name.*ttyUSB0.*ttyUSB1.*by-path"):
        look_for("usb:1a86:7523")


def test_the_ports_of_one_adapter_are_told_apart_by_interface(machine: Machine) -> None:
    machine.plug("ttyUSB0", "1-1", vid="0403", pid="6011", serial="Q4")
    machine.plug("ttyUSB1", "1-1", vid="0403", pid="6011", serial="Q4", interface="01")
    assert look_for("usb:Q4@01") == str(machine.dev / "ttyUSB1")
    assert [port.interface for port in usb_ports()] == ["00", "01"]
    with pytest.raises(DeviceUnavailable, match="add @IF"):
        look_for("usb:Q4")


async def test_a_driver_reads_again_after_its_adapter_came_back_as_another_number(machine: Machine) -> None:
    config = SerialLineConfig(port="usb:A1", point=[Point("air", "CEL", field=1)])
    driver = SerialLineDriver("room", config, context())
    heard: list[Observation] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    for port, line in (("ttyUSB0", b"\r\n-21.3\r\n"), ("ttyUSB3", b"\r\n-21.4\r\n")):
        machine.plug(port, f"1-{port[-1]}", vid="0403", pid="6001", serial="A1")
        async with driver:
            listening = asyncio.create_task(driver.listen(emit))
            await asyncio.sleep(0.05)
            os.write(machine.masters[-1], line)
            await asyncio.sleep(0.1)
            os.close(machine.masters.pop())
            with pytest.raises(DeviceUnavailable, match=r"usb:A1: .*still plugged in"):
                await asyncio.wait_for(listening, 5)
        machine.unplug(port)
        with pytest.raises(DeviceUnavailable, match="usb:A1: no such port; is the sensor plugged in"):
            await driver.__aenter__()
    assert [one.mantissa for one in heard if isinstance(one, Reading)] == [-213, -214]


@pytest.mark.parametrize("name", ["usb:", "usb:@00", "usb:A@1", "usb: A", "usb:A@00@01"])
def test_a_name_that_can_never_be_one_is_misconfigured(machine: Machine, name: str) -> None:
    with pytest.raises(DriverMisconfigured, match="expected usb:SERIAL"):
        look_for(name)


def test_a_serial_number_with_colons_is_no_vendor() -> None:
    wanted = parse_name("usb:34:85:18:AA:BB:CC@0A")
    assert (wanted.vid, wanted.serial, wanted.interface) == ("", "34:85:18:AA:BB:CC", "0a")


def test_a_link_of_udev_is_followed_at_each_opening(machine: Machine) -> None:
    machine.plug("ttyUSB0", "1-1", vid="0403", pid="6001", serial="A1")
    by_id = machine.dev / "usb-FTDI_A1-if00-port0"
    by_id.symlink_to(machine.dev / "ttyUSB0")
    assert look_for(str(by_id)) == str(by_id)
    machine.unplug("ttyUSB0")
    with pytest.raises(DeviceUnavailable, match="no such port"):
        look_for(str(by_id))


async def test_a_url_is_left_as_it_is() -> None:
    assert await find_port("socket://192.0.2.1:4001") == "socket://192.0.2.1:4001"


async def test_what_is_no_device_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceUnavailable, match="this is no serial port"):
        await find_port(str(tmp_path / "file"))
    with pytest.raises(DeviceUnavailable, match="cannot be looked at"):
        await find_port("/dev/\0")


@pytest.fixture
def pty_path() -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    os.close(slave)
    yield path
    os.close(master)


HOLD = "import os, sys, time; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print('open', flush=True); time.sleep(60)"


def test_a_busy_port_is_told_with_the_process_that_holds_it(pty_path: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, pty_path], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(DeviceUnavailable, match=rf"{pty_path}: busy, held by .*python.*\(process {holder.pid}\)"):
            look_for(pty_path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert look_for(pty_path) == pty_path


async def test_a_port_locked_by_somebody_whom_we_do_not_see_is_busy(pty_path: str) -> None:
    other = os.open(pty_path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX)
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    try:
        for _ in range(5):
            port = serialx.async_serial_for_url(pty_path, baudrate=9600)
            with pytest.raises(DeviceUnavailable, match=r"busy, held by a process that we may not see.*fuser -v"):
                await open_port(port, pty_path, timeout_s=1, advice="")
        await asyncio.sleep(0.1)
        assert len(os.listdir("/proc/self/fd")) <= files + 2  # noqa: PTH208 - the loop's own
    finally:
        os.close(other)


def test_a_port_that_is_not_ours_is_told_with_the_command_that_makes_it_so(
    pty_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_root = os.geteuid() == 0
    os.chmod(pty_path, 0)  # noqa: PTH101
    if was_root:
        os.seteuid(65534)
    try:
        with pytest.raises(DeviceUnavailable, match=r"not ours to open.*(udev/rules\.d|usermod -aG)"):
            look_for(pty_path)
    finally:
        if was_root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("mode", "group", "members", "told"),
    [
        (0o660, "dialout", "", "run `sudo usermod -aG dialout pi` and log in again"),
        (0o660, "dialout", "pi", "although pi is in the group dialout: this process began before"),
        (0o600, "dialout", "", 'GROUP="dialout", MODE="0660"'),
        (0o660, "root", "", "60-coldproof.rules"),
    ],
)
def test_permissions_are_explained_by_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str, members: str, told: str
) -> None:
    port = tmp_path / "ttyUSB0"
    port.write_text("")
    port.chmod(mode)
    gids = {"dialout": 20, "root": 0}
    real = port.stat()
    status = os.stat_result((real.st_mode, *real[1:5], gids[group], *real[6:]))
    monkeypatch.setattr(port_trouble.os, "stat", lambda *_args, **_more: status)
    monkeypatch.setattr(port_trouble, "_user", lambda _: "pi")
    monkeypatch.setattr(port_trouble, "_group", lambda gid: {20: "dialout", 0: "root"}[gid])
    monkeypatch.setattr(port_trouble, "_is_member", lambda user, _: user == members)
    assert told in port_trouble.permission_trouble(str(port))


def test_a_device_that_vanished_behind_its_node_is_told() -> None:
    assert "is gone" in open_trouble("/dev/x", OSError(6, "No such device or address"))
    assert "no serial port" in open_trouble("/dev/x", termios.error(25, "Inappropriate ioctl for device"))
    assert open_trouble("/dev/x", ValueError("anything else")) == ""


def test_a_pty_is_never_kept_to_ourselves_and_letting_go_unlocks(pty_path: str) -> None:
    descriptor = os.open(pty_path, os.O_RDWR | os.O_NOCTTY)
    try:
        keep_to_ourselves(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        let_go(descriptor)
        other = os.open(pty_path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    finally:
        os.close(descriptor)
