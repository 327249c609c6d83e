"""Recorded logs: exact decimals at exact instants, the repeated hour kept whole, and nothing doubtful accepted."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from edge.drivers.modbus.codec import shipped_profile
from firmware_sim.devices.modbus import Source, Unit, answer
from firmware_sim.devices.recorded import RecordedError, RecordedLog, load

# The store stands near Mexico City (UTC−5 in summer), but its recorder's clock follows the United States' rule: it
# repeats 2021-11-07 01:00–01:45 and, in the log's longer public edition, skips 2022-03-13 02:00–02:45, while Mexico
# turned its clocks on 2021-10-31 and 2022-04-03. The zone with that rule and that summer offset is US Central Time.
# The rule is certain; the offset rests on the place alone: daily patterns of the rooms are too loose to tell it.
ZONE = "America/Chicago"
QUARTER_MS = 900_000


def read(
    path: Path, *columns: str, zone: str = ZONE, times: tuple[str, ...] = ("date",), form: str = "%Y-%m-%d %H:%M"
) -> RecordedLog:
    return load(path, columns=columns, time_columns=times, zone=zone, time_format=form)


def write(folder: Path, *rows: str) -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join(("date,a,b", *rows)) + "\n")
    return path


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_the_value_is_that_of_the_last_row_at_or_before(tmp_path: Path) -> None:
    log = read(
        write(tmp_path, "2021-07-01 00:00,1.1,-20", "2021-07-01 00:15,1.20,###", "2021-07-01 00:30,,5"), "a", "b"
    )
    start = ms("2021-07-01T00:00-05:00")
    assert log.at("a", start - 1) is None
    assert log.at("a", start) == Decimal("1.1")
    assert log.at("a", start + QUARTER_MS - 1) == Decimal("1.1")
    assert log.at("a", start + QUARTER_MS) == Decimal("1.2")
    assert log.at("b", start + QUARTER_MS) is None
    assert log.at("a", start + 99 * QUARTER_MS) is None
    assert log.at("b", start + 99 * QUARTER_MS) == 5


def test_the_repeated_hour_keeps_its_rows_in_order(tmp_path: Path) -> None:
    rows = ["2021-11-07 01:00,1,0", "2021-11-07 01:30,2,0", "2021-11-07 01:00,3,0", "2021-11-07 01:30,4,0"]
    log = read(write(tmp_path, *rows, "2021-11-07 02:00,5,0"), "a")
    start = ms("2021-11-07T01:00-05:00")
    assert [log.at("a", start + step * 2 * QUARTER_MS) for step in range(5)] == [1, 2, 3, 4, 5]


def test_the_same_rows_in_a_zone_that_repeats_another_hour_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "2021-11-07 01:00,1,0", "2021-11-07 01:45,1,0", "2021-11-07 01:00,1,0")
    with pytest.raises(RecordedError, match=r"line 4: 2021-11-07 01:00 is not after the row before"):
        read(path, "a", zone="America/Mexico_City")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2022-03-13 02:15,1,1", "does not exist in America/Chicago"),
        ("2021-13-01 00:00,1,1", "line 2"),
        ("9999-12-31 23:59,1,1", "line 2"),
        (",1,1", "line 2"),
        ("2022-01-01 00:00,1.2.3,1", r"line 2, a: '1\.2\.3' is no number"),
        ("2022-01-01 00:00,1e5,1", "is no number"),
        ("2022-01-01 00:00,NaN,1", "is no number"),
    ],
)
def test_doubtful_rows_are_refused(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(RecordedError, match=words):
        read(write(tmp_path, row), "a")


def test_unreadable_logs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordedError, match="no rows"):
        read(write(tmp_path), "a")
    with pytest.raises(RecordedError, match="no column c"):
        read(write(tmp_path), "c")
    with pytest.raises(RecordedError, match="no time zone"):
        read(write(tmp_path), "a", zone="Mars/Olympus")
    with pytest.raises(RecordedError, match="cannot be read"):
        read(tmp_path / "missing.csv", "a")
    (tmp_path / "binary.csv").write_bytes(b"date,a\n\xff\xfe,1\n")
    with pytest.raises(RecordedError, match="cannot be read"):
        read(tmp_path / "binary.csv", "a")


@pytest.mark.conformance
def test_a_real_log_comes_out_of_the_registers_exactly(shared_data: Path) -> None:
    path = shared_data / "real/coldstore_saveris/values_2021-06-24_2021-11-30.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "date"]
    log = read(path, *names, form="%Y-%m-%d %H:%M:%S")
    assert len(log.times_ms) == len(rows)
    steps = {after - before for before, after in zip(log.times_ms, log.times_ms[1:], strict=False)}
    assert steps == {QUARTER_MS}  # whole and even through the repeated hour
    sources: dict[str, Source] = {
        f"probe-{number}": lambda at_ms, name=name: log.at(name, at_ms) for number, name in enumerate(names, 1)
    }
    unit = Unit(1, "store", "gw", shipped_profile("pt100-10"), sources)
    for row, at_ms in zip(rows, log.times_ms, strict=True):
        pdu = answer(unit, bytes.fromhex("040000000a"), at_ms).pdu
        got = [int.from_bytes(pdu[at : at + 2], "big", signed=True) for at in range(2, 22, 2)]
        assert got == [int(Decimal(row[name]) * 10) for name in names]


@pytest.mark.conformance
def test_the_real_logs_repeated_hour_is_kept_whole_in_order(shared_data: Path) -> None:
    path = shared_data / "real/coldstore_saveris/values_2021-06-24_2021-11-30.csv"
    log = read(path, "cooling_1", form="%Y-%m-%d %H:%M:%S")
    start = int(datetime(2021, 11, 7, 6, 0, tzinfo=UTC).timestamp() * 1000)
    values = [log.at("cooling_1", start + step * QUARTER_MS) for step in range(9)]
    assert values == [Decimal(text) for text in ["3.1", "2.3", "2.2", "2.8", "1.9", "2.6", "2.6", "2.4", "2.9"]]


@pytest.mark.conformance
def test_the_vendors_raw_error_marks_are_sensor_errors(shared_data: Path) -> None:
    path = shared_data / "real/coldstore_saveris/raw_export_head_values.csv"
    log = load(path, columns=["a", "c", "j"], time_columns=["date", "hour"], zone=ZONE, time_format="%d/%m/%y %H:%M:%S")
    at = ms("2021-06-24T15:00:00-05:00")
    assert [log.at(name, at) for name in ("a", "c", "j")] == [None, None, None]
    assert log.at("c", ms("2021-06-24T16:27:52-05:00")) == -11
    assert log.at("j", ms("2021-06-24T16:45:00-05:00")) == Decimal("3.9")
