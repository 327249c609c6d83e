"""`coldproof edge devices …` as an installer types it, against a running gateway and simulated devices."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cloud.registry.load import read_file
from coldproof.demo.broker import LocalBroker
from edge.commission import letters
from tests.edge.test_agent import Site, until
from wire.observation import Quality

PLACE, PARTY = "8930000000125", "8930000000019"


class Result(NamedTuple):
    code: int
    out: str
    err: str


async def devices(*words: object) -> Result:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coldproof.main", "edge", "devices", *map(str, words),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@pytest.fixture
def site(tmp_path: Path, broker: LocalBroker) -> Iterator[Site]:
    """A site whose devices nobody has configured yet."""
    site = Site(tmp_path, broker)
    site.configure()
    text = site.config_path.read_text()
    site.config_path.write_text(text[: text.index("[[device]]")])
    site.cloud.start()
    yield site
    site.cloud.stop()


async def ready(site: Site) -> None:
    await until((site.folder / "data" / letters.SOCKET_NAME).exists)


async def test_from_scan_to_first_readings_in_the_cloud(site: Site) -> None:
    config = site.config_path
    async with site.devices(), site.gateway():
        await ready(site)
        scanning = asyncio.create_task(
            devices("scan", config, "--ports-in", site.folder, "--units", "1-3", "--listen", "8")
        )
        for number in range(40):  # somebody scans until the scan has heard it
            if scanning.done():
                break
            await asyncio.wait([scanning, asyncio.create_task(site.scanner.send(f"CODE{number}", "C1"))], timeout=1)
        found = await scanning
        assert found.code == 0, found.err
        assert "XY-MD02 temperature and humidity transmitter (most likely)" in found.out
        assert "now: air -21.3 °C, humidity 55.4 %" in found.out
        assert "barcode scanner" in found.out
        number = next(int(line[:3]) for line in found.out.splitlines() if "unit 1, 9600 8N1" in line)

        new = ["--place-name", "Kho lạnh số 1", "--place-name-en", "Cold room 1", "--party", PARTY]
        bound = await devices(
            "bind", config, number, "--name", "room-1", "--place", PLACE, "--interval", "1", "--above", "-18", *new
        )
        assert bound.code == 0, bound.err
        scanner = next(int(line[:3]) for line in found.out.splitlines() if line.endswith("/scanner"))
        bound = await devices("bind", config, scanner, "--name", "scanner-1", "--place", PLACE, "--step", "store")
        assert bound.code == 0, bound.err
        document = read_file(site.folder / "registry.toml")
        assert [(one.channel, one.measurement) for one in document.sensor_binding] == [
            ("room-1/air", "Temperature"),
            ("room-1/humidity", "RelativeHumidity"),
        ]
        assert [(one.channel, one.step) for one in document.read_point] == [("scanner-1/scan", "store")]
        assert [one.name for one in document.place] == ["Kho lạnh số 1"]

        applied = await devices("apply", config, "--within", "10")
        assert applied.code == 0, applied.err
        assert "room-1: air -21.3 °C, humidity 55.4 %" in applied.out
        assert "kept as the last good configuration" in applied.out
        await until(lambda: any(reading.channel == "room-1/air" for reading in site.readings))

        tail = await devices("tail", config, "room-1", "--count", "3", "--json")
        assert {json.loads(line)["value"] for line in tail.out.splitlines()} <= {"-21.3", "55.4"}
        tested = await devices("test", config, "alarm", "room-1/air")
        assert tested.code == 0
        assert "room-1/air" in tested.out
        await until(lambda: any(each.quality is Quality.TEST for each in site.cloud.observations))

        pdf = site.folder / "report.pdf"
        reported = await devices("report", config, "-o", pdf)
        assert reported.code == 0, reported.err
        assert pdf.read_bytes().startswith(b"%PDF-")
        again = await devices("scan", config, "--ports-in", site.folder, "--units", "1-3")
        assert "room-1, in the running gateway: up" in again.out
        lent = await devices("scan", config, "--ports-in", site.folder, "--units", "1-2", "--lend", "--only", "modbus")
        assert "XY-MD02" in lent.out
        assert "room-1 pause while it is looked at" in lent.err


async def test_apply_that_is_rolled_back_exits_1_and_says_why(site: Site) -> None:
    async with site.devices(), site.gateway():
        await ready(site)
        good = site.config_path.read_text()
        wrong = f'[[device]]\nname = "x"\ndriver = "modbus"\nprofile = "xy-md02"\nport = "{site.folder / "bus"}"\n'
        site.config_path.write_text(good + wrong + "unit_id = 9\ninterval_s = 1\ntimeout_s = 0.2\n")
        result = await devices("apply", site.config_path, "--within", "1")
        assert result.code == 1
        assert "unit 9: no answer within 0.2 s" in result.err
        assert site.config_path.read_text() == good


async def test_without_a_gateway_it_says_so(site: Site) -> None:
    for words in (("apply",), ("tail",)):
        result = await devices(*words, site.config_path)
        assert result.code == 2
        assert "no gateway runs on" in result.err


async def test_bind_refuses_what_cannot_be_right_and_writes_nothing(site: Site) -> None:
    before = site.config_path.read_text()
    result = await devices("bind", site.config_path, 1, "--name", "room-1", "--place", PLACE)
    assert result.code == 2
    assert "nothing was scanned yet" in result.err
    async with site.devices():
        await devices("scan", site.config_path, "--port", site.folder / "bus", "--units", "1", "--only", "modbus")
        for words, why in (
            (("--name", "room-1", "--place", "8930000000126"), "not a GLN"),
            (("--name", "Room 1", "--place", PLACE), "device[0].name"),
            (("--name", "room-1", "--place", PLACE, "--above", "-30", "--below", "-20"), "nothing would be within"),
        ):
            result = await devices("bind", site.config_path, 1, *words)
            assert result.code == 2
            assert why in result.err
    assert site.config_path.read_text() == before
    assert not (site.folder / "registry.toml").exists()
