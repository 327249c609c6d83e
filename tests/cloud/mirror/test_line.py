"""Line protocol: every reading one line, nothing in a name breaks out of its tag, nothing without a time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.mirror.line import lines_of, tag_value
from tests.cloud.field import BOOT, START_MS, Gateway, reading
from wire.course import Course, TimeCorrection, Told
from wire.observation import ClockState, Observation, Quality

DAY_MS = 86_400_000
GATEWAY = Gateway("gw-kho-01")
CORRECTED = {BOOT: Course([Told((0, b"", 1, 0), 0, 5_000, TimeCorrection(DAY_MS, 20, "ntp"))])}
HEAD = "coldproof_reading,channel=room-1/air,gateway=gw-kho-01,quality=ok,unit=CEL"
UNSYNCED = ClockState.UNSYNCED


def _lines(*observed: Observation, received_ms: int = START_MS + DAY_MS) -> list[str]:
    return lines_of(GATEWAY.pack(1, observed), {}, received_ms=received_ms).lines


def test_a_reading_is_a_line_with_its_float_and_ms():
    assert _lines(reading(at_s=1, mantissa=-1837)) == [f"{HEAD} value=-18.37 {START_MS + 1000}"]


@pytest.mark.parametrize(
    ("mantissa", "exponent", "written"),
    [
        (1, -9, "1e-09"),
        (3, 9, "3000000000.0"),
        (2**63 - 1, 9, "9.223372036854776e+27"),
        (0, 0, "0.0"),
        (-5, -1, "-0.5"),
    ],
)
def test_numbers_of_every_size(mantissa: int, exponent: int, written: str):
    (line,) = _lines(reading(mantissa=mantissa, exponent=exponent))
    assert line.split(" ")[1] == f"value={written}"


def test_quality_is_a_tag_and_a_missing_number_a_field_of_its_own():
    rows = [reading(at_s=at, quality=quality, mantissa=None) for at, quality in enumerate(Quality)]
    written = [re.sub(r".*quality=(\w+),.* (\S+) \d+", r"\1 \2", line) for line in _lines(*rows)]
    names = ["ok", "sensor_error", "out_of_range", "stale", "test"]
    assert written == [f"{name} no_value=1i" for name in names]


def test_corrected_times_are_written_where_a_correction_holds():
    rows = [reading(at_s=at, clock=UNSYNCED) for at in (0, 5, 6)]
    found = lines_of(GATEWAY.pack(1, rows), CORRECTED, received_ms=START_MS + 2 * DAY_MS)
    assert [int(line.split(" ")[2]) - START_MS for line in found.lines] == [DAY_MS, DAY_MS + 5_000]
    assert found.held_back == 1


def test_what_has_no_time_is_held_back_and_counted():
    rows = [reading(at_s=0, clock=UNSYNCED), reading(at_s=1, clock=ClockState.HOLDOVER), reading(at_s=302)]
    found = lines_of(GATEWAY.pack(1, rows), {}, received_ms=START_MS + 1_000)
    assert [line.split(" ")[2] for line in found.lines] == [str(START_MS + 1_000)]
    assert found.held_back == 2


def test_copies_are_left_out():
    rows = [reading(at_s=at) for at in range(4)]
    found = lines_of(GATEWAY.pack(1, rows), {}, received_ms=START_MS, without=[(1, 3)])
    assert [int(line.split(" ")[2]) - START_MS for line in found.lines] == [0, 3_000]


def test_only_what_was_held_back_comes_when_its_correction_is_there():
    rows = [reading(at_s=0, clock=UNSYNCED), reading(at_s=1), reading(at_s=2, channel="room-2/air")]
    asked = {"received_ms": START_MS + 2 * DAY_MS, "unset_of": {BOOT}}
    assert lines_of(GATEWAY.pack(1, rows), {}, **asked).lines == []
    (line,) = lines_of(GATEWAY.pack(1, rows), CORRECTED, **asked).lines
    assert line == f"{HEAD} value=-18.0 {START_MS + DAY_MS}"
    assert lines_of(GATEWAY.pack(1, rows), CORRECTED, **(asked | {"unset_of": {b"another"}})).lines == []


@given(st.text(max_size=40))
def test_no_text_breaks_out_of_its_tag(text: str):
    written = tag_value(text)
    assert written
    assert not re.search(r"(?<!\\)[,= ]", written)
    assert not re.search(r"[\n\r\x00-\x1f]", written)
    assert not written.endswith("\\")
    assert written.splitlines() == [written]
    plain = re.sub(r"\\([,= ])", r"\1", written)
    assert "\\" not in plain
    assert len(plain) == max(1, len(text))
