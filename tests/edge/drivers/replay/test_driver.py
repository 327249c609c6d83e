"""A recorded log that plays as a device."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.clock import SteppedClock
from edge.drivers.base import BadReply, DriverContext, DriverMisconfigured
from edge.drivers.replay.codec import Column
from edge.drivers.replay.config import ReplayConfig, Zone
from edge.drivers.replay.driver import ReplayDriver
from tests.edge.drivers.suite import Bench, DriverSuite, context
from wire.observation import Observation, Quality, Reading
from wire.pack import build_blocks, expand

HEADER = "time,a,b\n"
ROWS = "".join(f"2021-06-24 16:{minute:02}:00,{minute}.5,-{minute}\n" for minute in range(10, 60))
START_MS = 1624550400_000  # 2021-06-24 16:00 UTC
MINUTE_MS = 60_000


def config(file: Path, **more: object) -> ReplayConfig:
    columns = [Column("a", "air", "CEL"), Column("b", "rh", "P1")]
    given = {"file": file, "column": columns, "time_columns": ["time"], "time_zone": Zone(ZoneInfo("UTC")), **more}
    return ReplayConfig(**given)  # type: ignore[arg-type]


class ReplayBench(Bench):
    expected = tuple(
        (channel, mantissa, exponent)
        for minute in range(10, 60)
        for channel, mantissa, exponent in (("log/air", minute * 10 + 5, -1), ("log/rh", -minute, 0))
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "log.csv"
        self.file.write_text(HEADER + ROWS)

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.mantissa, observation.exponent

    def driver(self, ctx: DriverContext) -> ReplayDriver:
        return ReplayDriver("log", config(self.file, pace="fast"), ctx)

    async def remove(self) -> None:
        self.file.unlink()


class TestReplay(DriverSuite):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        return ReplayBench(tmp_path)


async def play(driver: ReplayDriver, count: int) -> list[Reading]:
    """Listen until `count` readings came; bad rows are passed over as the supervisor does."""
    heard: list[Reading] = []
    enough = asyncio.Event()

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(o for o in observations if isinstance(o, Reading))
        if len(heard) >= count:
            enough.set()

    async def listen() -> None:
        while True:
            try:
                await driver.listen(emit)
            except BadReply:
                continue

    listening = asyncio.create_task(listen())
    try:
        await asyncio.wait_for(enough.wait(), 20)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return heard


async def test_recorded_pace_follows_the_clock_and_keeps_the_rows_own_times(tmp_path: Path) -> None:
    bench, clock = ReplayBench(tmp_path), SteppedClock(START_MS)
    heard: list[Observation] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    async with ReplayDriver("log", config(bench.file), context(clock)) as driver:
        listening = asyncio.create_task(driver.listen(emit))
        await asyncio.sleep(0.02)
        assert heard == []
        clock.move_to(START_MS + 10 * MINUTE_MS + 1234)
        await asyncio.sleep(0.02)
        assert [(o.stamp.observed_at_ms - START_MS) // MINUTE_MS for o in heard] == [10, 10]
        clock.move_to(START_MS + 12 * MINUTE_MS)
        await asyncio.sleep(0.02)
        assert [(o.stamp.observed_at_ms - START_MS) / MINUTE_MS for o in heard] == [10, 10, 11, 11, 12, 12]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_device_does_not_repeat_the_past(tmp_path: Path) -> None:
    bench, clock = ReplayBench(tmp_path), SteppedClock(START_MS + 58 * MINUTE_MS)
    async with ReplayDriver("log", config(bench.file), context(clock)) as driver:
        heard = asyncio.create_task(play(driver, 4))
        await asyncio.sleep(0.02)
        clock.move_to(START_MS + 70 * MINUTE_MS)
        assert [str(reading.value) for reading in await heard] == ["58.5", "-58", "59.5", "-59"]


async def test_rows_that_were_not_accepted_come_again_after_reopening(tmp_path: Path) -> None:
    bench = ReplayBench(tmp_path)
    driver = ReplayDriver("log", config(bench.file, pace="fast"), context())

    async def refuse(_: Sequence[Observation]) -> None:
        raise OSError("full")

    async with driver:
        with pytest.raises(OSError, match="full"):
            await driver.listen(refuse)
    async with driver:
        assert [bench.key(o) for o in await play(driver, 100)] == list(bench.expected)
    async with driver:  # and accepted ones do not
        listening = asyncio.create_task(play(driver, 1))
        await asyncio.sleep(0.05)
        assert not listening.done()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_bad_cell_is_told_with_file_line_and_column_and_the_rest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(
        HEADER + "2021-06-24 16:00:00,1,2\n2021-06-24 16:01:00,x,3\n\nnever,1,1\n2021-06-24 16:02\n"
        '2021-06-24 16:03:00,"1,4\n2021-06-24 16:04:00,5,###\n' + "y" * 70_000 + "\n2021-06-24 16:05:00,6,7\n"
    )
    driver = ReplayDriver("log", config(file, pace="fast"), context())
    errors: list[str] = []
    heard: list[Observation] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    async with driver:
        for _ in range(5):
            with pytest.raises(BadReply) as caught:
                await asyncio.wait_for(driver.listen(emit), 1)
            errors.append(str(caught.value).removeprefix(f"{file}: "))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(driver.listen(emit), 0.1)
    assert [error[:34] for error in errors] == [
        "line 3: column 'a': 'x' is neither",
        "line 5: column 'time': 'never' is ",
        "line 6: 1 cells, the header has 3",
        "line 7: not a line of a CSV (unexp",
        "line 9: longer than 65536 characte",
    ]
    assert [reading.mantissa for reading in heard if isinstance(reading, Reading)] == [1, 2, 3, 5, None, 6, 7]


@pytest.mark.parametrize(
    ("content", "more", "why"),
    [
        (b"", {}, "line 1: column 'time' occurs 0 times"),
        (b"time,a\n", {}, "column 'b' occurs 0 times"),
        (b"time,a,b\n", {"delimiter": ";"}, "column 'time' occurs 0 times"),
        (b"time,a,\xe9b\n", {}, "encoding must name"),
    ],
)
async def test_log_that_does_not_fit_the_configuration(
    tmp_path: Path, content: bytes, more: dict[str, object], why: str
) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes(content)
    with pytest.raises(DriverMisconfigured, match=why):
        async with ReplayDriver("log", config(file, **more), context()):
            pass


async def test_own_clock_makes_its_own_boot(tmp_path: Path) -> None:
    bench, ctx = ReplayBench(tmp_path), context()
    async with bench.driver(ctx) as driver:
        readings = await play(driver, 100)
    boots = {reading.stamp.boot_id for reading in readings}
    assert len(boots) == 1
    assert boots != {ctx.clock.stamp().boot_id}
    assert readings[0].stamp.monotonic_ms == 0


@pytest.mark.conformance
async def test_real_cold_store_log_is_played_whole_and_exact(shared_data: Path) -> None:
    """Ten probes, five months at 15 min, the end of daylight saving within; against a plain reading of the file."""
    [file] = (shared_data / "real" / "coldstore_saveris").glob("values_*.csv")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = [name for name in rows[0] if name != "date"]
    columns = [Column(name, name.replace("_", "-"), "CEL") for name in names]
    saveris = config(
        file, column=columns, time_columns=["date"], time_zone=Zone(ZoneInfo("America/Chicago")), pace="fast"
    )
    plain = [Decimal(row[name]) for row in rows for name in names if row[name]]
    async with ReplayDriver("store", saveris, context()) as driver:
        readings = await play(driver, len(plain))
    assert [reading.value for reading in readings] == plain
    monotonic = [reading.stamp.monotonic_ms for reading in readings]
    assert monotonic == sorted(monotonic)
    one = [reading for reading in readings if reading.channel == "store/freezer-1"]
    assert len({reading.stamp.observed_at_ms for reading in one}) == len(one)  # the doubled hour is two hours
    assert [row for block in build_blocks(one) for row in expand(block)] == one


@pytest.mark.conformance
async def test_marks_of_a_real_raw_export_are_sensor_errors(shared_data: Path) -> None:
    file = shared_data / "real" / "coldstore_saveris" / "raw_export_head_values.csv"
    columns = [Column(name, name, "CEL") for name in "abcdefghi"]
    raw = config(
        file, column=columns, time_columns=["date", "hour"], time_format="%d/%m/%y %H:%M:%S", pace="fast",
        time_zone=Zone(ZoneInfo("America/Chicago")),
    )  # fmt: skip
    with file.open(newline="") as lines:
        cells = [row[name] for row in csv.DictReader(lines) for name in "abcdefghi" if row[name]]
    async with ReplayDriver("raw", raw, context()) as driver:
        readings = await play(driver, len(cells))
    assert [reading.quality is Quality.SENSOR_ERROR for reading in readings] == [cell == "###" for cell in cells]
    assert [reading.value for reading in readings] == [None if c == "###" else Decimal(c) for c in cells]
