"""Bytes of a satellite receiver ↔ sentences and time: own vectors, real captures, and whatever a cable does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.gps.codec import LINE_MAX, Damaged, Decoder, FixTime, Gga, Rmc, Zda, encode_gga, encode_rmc

VECTORS = Path(__file__).parents[3] / "vectors" / "gps" / "sentences.json"
CASES = json.loads(VECTORS.read_text())["cases"]
START_MS = 1_790_000_000_000


def times(data: bytes) -> tuple[list[int], int]:
    """The times that a stream of bytes proves, and how many lines were damaged."""
    fix, found, damaged = FixTime(), [], 0
    for item in Decoder().feed(b"\r\n" + data):
        if isinstance(item, Damaged):
            damaged += 1
        elif (at_ms := fix.take(item)) is not None:
            found.append(at_ms)
    return found, damaged


def iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_sentences_prove_what_the_vectors_say(case: dict[str, object]) -> None:
    found, damaged = times("".join(f"{line}\r\n" for line in case["lines"]).encode())  # type: ignore[attr-defined]
    expected = case["times"]
    assert [iso(at_ms) for at_ms in found] == (expected or [])
    assert damaged == (1 if expected is None else 0)


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 99), st.lists(st.integers(1, 9), max_size=40))
def test_what_is_encoded_is_read_however_the_bytes_arrive(at_ms: int, satellites: int, cuts: list[int]) -> None:
    at_ms = START_MS + at_ms % 1_000_000_000_000
    data = b"\n" + encode_gga(at_ms, satellites=satellites) + encode_rmc(at_ms)
    decoder, found = Decoder(), []
    for size in cuts:
        found += decoder.feed(data[:size])
        data = data[size:]
    found += decoder.feed(data)
    gga, rmc = found
    assert isinstance(gga, Gga)
    assert gga.satellites == satellites
    assert isinstance(rmc, Rmc)
    assert FixTime().take(rmc) == at_ms


@given(st.data())
def test_a_flipped_bit_never_makes_another_time(data: st.DataObject) -> None:
    sent = bytearray(encode_rmc(START_MS))
    at = data.draw(st.integers(0, len(sent) - 3))
    sent[at] ^= 1 << data.draw(st.integers(0, 7))
    assert times(bytes(sent))[0] in ([], [START_MS])


def test_the_tail_of_a_first_line_is_no_damage() -> None:
    assert Decoder().feed(b"112.5,A,,,,*00\r\n" + encode_rmc(START_MS)) == [
        Rmc(START_MS % 86_400_000, (2026, 9, 21), valid=True)
    ]


@pytest.mark.parametrize("date", ["21,09," + "9" * 20, "9" * 20 + ",09,2026", "21,09,99999", "31,02,2026"])
def test_a_date_that_the_calendar_lacks_is_none_however_long_it_is(date: str) -> None:
    body = f"GPZDA,120000.00,{date},00,00"
    checksum = reduce(xor, body.encode())
    assert Decoder().feed(f"\r\n${body}*{checksum:02X}\r\n".encode()) == [Zda(43_200_000, None)]


def test_endless_bytes_are_dropped_and_told() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\xff" * (LINE_MAX + 1)) == [Damaged(LINE_MAX + 1)]
    assert decoder.feed(b"\xff\n" + encode_rmc(START_MS)) != []


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("gpsd_mt3339.log", "2015-04-13T20:26:40.000Z", "2015-04-13T20:27:09.000Z", 30),
        ("gpsd_bu353s4.log", "2014-12-31T03:07:19.000Z", "2014-12-31T03:07:43.000Z", 25),
        ("gpsd_nmea-fuzzy-cases.log", "2020-03-18T13:28:20.600Z", "2020-03-18T13:39:00.900Z", 14),
    ],
)
def test_real_captures_tell_the_time_they_were_made(
    shared_data: Path, name: str, first: str, last: str, count: int
) -> None:
    lines = (shared_data / "real" / "gps" / name).read_bytes().splitlines(keepends=True)
    found, damaged = times(b"".join(line for line in lines if line.startswith(b"$")))
    told = [iso(at_ms) for at_ms in found]
    assert (told[0], told[-1], len(told), damaged) == (first, last, count, 0)
    assert told == sorted(set(told))


@pytest.mark.conformance
def test_a_real_receiver_without_a_fix_proves_no_time(shared_data: Path) -> None:
    lines = (shared_data / "real" / "gps" / "gpsd_quectel-eg25-g.log").read_bytes().splitlines(keepends=True)
    until = next(at for at, line in enumerate(lines) if line.startswith((b"$GPRMC", b"$GNRMC")) and b",A," in line)
    assert until > 20
    assert times(b"".join(line for line in lines[:until] if line.startswith(b"$")))[0] == []
    whole, _ = times(b"".join(line for line in lines if line.startswith(b"$")))
    assert {iso(at_ms)[:10] for at_ms in whole} == {"2022-09-11"}
