"""What an installer is told of a line: who is there, and what is wrong with it, by the right name."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from edge.commission.finder import Asked, Cause, Finding, families
from edge.commission.ports import Port
from edge.commission.scan import Held, scan
from edge.drivers.gps.codec import encode_rmc
from edge.drivers.modbus import find
from edge.drivers.modbus.codec import shipped_profile
from edge.drivers.modbus.fingerprint import Fit, _judge
from firmware_sim.devices.modbus import Unit, answer, rtu_frame, rtu_payload
from tests.edge.commission.line import Line
from wire.observation import ClockState, Quality, Reading, Stamp


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "ANSWER_S", 0.02)
    monkeypatch.setattr(find, "SETTINGS", [one for one in find.SETTINGS if one.parity == "N"][:4])


def slaves(*units: tuple[int, str, dict[str, str | None]], baudrate: int = 9600) -> Callable[[bytes, int], bytes]:
    made = {
        number: Unit(
            number,
            "dev",
            "gw",
            shipped_profile(profile),
            {
                point: (lambda _, v=value: None if v is None else Decimal(v))  # type: ignore[misc]
                for point, value in values.items()
            },
        )
        for number, profile, values in units
    }

    def reply(frame: bytes, line_baudrate: int) -> bytes:
        payload = rtu_payload(frame)
        if payload is None or payload[0] not in made or line_baudrate != baudrate:
            return b""
        return rtu_frame(payload[0], answer(made[payload[0]], payload[1], 0).pdu)

    return reply


ROOM = {"air": "-21.3", "humidity": "55.4"}


async def look(path: Path, *, units: range = range(1, 6), listen_s: float = 0.0) -> tuple[list[Finding], list[str]]:
    said: list[str] = []
    asked = Asked(ports=[Port(str(path))], units=list(units), listen_s=listen_s)
    return await scan(asked, said.append, lambda _: None), said


async def test_device_is_named_with_its_values_and_the_table_to_use(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, slaves((3, "xy-md02", ROOM))):
        (found,), said = await look(path)
    assert found.what == "XY-MD02 temperature and humidity transmitter"
    assert found.where == f"{path} unit 3, 9600 8N1"
    assert found.live == ["air -21.3 °C", "humidity 55.4 %"]
    assert found.table == {"driver": "modbus", "profile": "xy-md02", "port": str(path), "unit_id": 3}
    assert (found.fault, found.cause) == ("", None)
    assert any("unit 3 answers" in line for line in said)


async def test_line_settings_are_found_and_named_in_the_table(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, slaves((1, "xy-md02", ROOM), baudrate=19200)):
        (found,), _ = await look(path)
    assert found.table["baudrate"] == 19200


async def test_two_devices_with_one_address_are_named(tmp_path: Path) -> None:
    """One after the other, or into each other: the frames of both, or rubble."""
    path = tmp_path / "port"
    one, other = slaves((1, "xy-md02", ROOM), (2, "xy-md02", ROOM)), slaves((2, "xy-md02", {**ROOM, "air": "4.5"}))

    def both(frame: bytes, baudrate: int) -> bytes:
        return one(frame, baudrate) + other(frame, baudrate)

    def at_once(frame: bytes, baudrate: int) -> bytes:
        first, second = one(frame, baudrate), other(frame, baudrate)
        return bytes(a & b for a, b in zip(first, second, strict=False)) if second else first

    for kind in (both, at_once):
        async with Line(path, kind):
            found, _ = await look(path)
        assert [one.cause for one in found] == [None, Cause.DUPLICATE_ADDRESS], kind
        assert "unit 2" in found[1].where
        assert not found[1].table


async def test_broken_probe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, slaves((1, "pt100", {"air": None}))):
        found, _ = await look(path)
    (pt100,) = found
    assert pt100.cause is Cause.PROBE_FAULT
    assert "probe is broken (air)" in pt100.fault
    assert pt100.table["profile"] == "pt100"


async def test_nobody_there_is_said_with_what_to_check(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, lambda *_: b""):
        (found,), _ = await look(path)
    assert found.cause is Cause.NO_ANSWER
    assert "no answer at any of 4 line settings from units 1 to 5" in found.fault


async def test_device_set_otherwise_than_its_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "port"
    usual = slaves((1, "xy-md02", ROOM), (2, "xy-md02", ROOM))
    other = slaves((3, "xy-md02", ROOM), baudrate=19200)
    async with Line(path, lambda *asked: usual(*asked) or other(*asked)):
        found, _ = await look(path)
    assert [one.cause for one in found] == [None, None, Cause.OTHER_SETTINGS]
    assert "it speaks 19200 8N1, its neighbours on this line 9600 8N1" in found[2].fault


async def test_device_that_thinks_long_is_found_by_its_late_answer(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, slaves((2, "xy-md02", ROOM)), think_s=0.15):
        found, _ = await look(path)
    assert [one.table.get("unit_id") for one in found] == [2]


async def test_noise_is_no_device(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, lambda *_: b"", talk=b"\x00\xfe\x81"):
        found, _ = await look(path)
    assert {one.cause for one in found} == {Cause.NOISE}


async def test_device_no_profile_fits_is_told_with_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "port"

    def stubborn(frame: bytes, _baudrate: int) -> bytes:
        payload = rtu_payload(frame)
        return rtu_frame(5, bytes([payload[1][0] | 0x80, 2])) if payload and payload[0] == 5 else b""

    async with Line(path, stubborn):
        (found,), _ = await look(path)
    assert found.what == "a Modbus device that no profile fits"
    assert found.live == ["it says exception 2"]
    assert "write a profile" in found.fault


async def test_satellite_receiver_is_found_and_not_asked_as_a_modbus_line(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, lambda *_: b"", talk=encode_rmc(1_790_000_000_000)) as line:
        (found,), _ = await look(path)
        assert not line.asked
    assert found.table == {"driver": "gps", "port": str(path), "baudrate": 9600}
    assert found.certainty == "sure"


async def test_scanner_is_found_while_somebody_scans(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, lambda *_: b"", talk=b"]C1(01)08936\r\n"):
        (found,), _ = await look(path, listen_s=2)
    assert found.table == {"driver": "barcode", "port": str(path)}
    assert found.live[-1] == "read (01)08936 (]C1)"


async def test_port_of_another_program_is_named_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, slaves((1, "xy-md02", ROOM))):
        child = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", f"exec sleep 30 < {path}")
        try:
            import time

            time.sleep(0.3)
            (found,), _ = await look(path)
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert found.cause is Cause.BUSY
    assert f"sleep (process {child})" in found.fault


async def test_missing_port_is_one_finding(tmp_path: Path) -> None:
    (found,), _ = await look(tmp_path / "nowhere")
    assert found.cause is Cause.UNUSABLE
    assert "nowhere" in found.fault


def test_tenths_are_told_from_hundredths_by_what_is_usual() -> None:
    stamp = Stamp(0, 0, bytes(16), ClockState.SYNCED)

    def fit(exponent: int) -> Fit:
        air = Reading("found/air", "CEL", -213, exponent, stamp)
        found = _judge("p", "P", [air, Reading("found/humidity", "P1", 554, exponent, stamp)])
        assert found is not None
        return found

    assert fit(-1).rank > fit(-2).rank
    assert _judge("p", "P", [Reading("found/air", "CEL", -213, -1, stamp, Quality.OUT_OF_RANGE)]) is None


def test_every_family_loads_here() -> None:
    assert {"gps", "barcode", "modbus"} <= {family.name for family in families([])}
    assert not [family.missing for family in families([]) if family.missing]
    assert Held().devices_on("serial:/dev/ttyUSB0") == []
