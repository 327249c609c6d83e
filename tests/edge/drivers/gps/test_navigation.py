"""Where a receiver is: own vectors, real captures, and a real drive told as NMEA."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.gps.codec import DEGREE, LINE_MAX, Damaged, Decoder, Position, encode_gga, encode_rmc
from edge.drivers.gps.decode import decode_line
from edge.drivers.gps.navigation import Navigator, Solution
from edge.drivers.gps.readings import POINTS, values

CASES = json.loads((Path(__file__).parents[3] / "vectors" / "gps" / "positions.json").read_text())["cases"]
NMEA = re.compile(rb"\$..RMC,[\d.]+,A,(\d\d)([\d.]+),([NS]),(\d{3})([\d.]+),([EW])")
START_MS = 1_790_000_000_000


def solutions(data: bytes) -> tuple[list[Solution[None]], int]:
    """The solutions that a stream of bytes gives, and how many lines were damaged."""
    navigator: Navigator[None] = Navigator()
    found, damaged = [], 0
    for item in Decoder().feed(b"\r\n" + data):
        if isinstance(item, Damaged):
            damaged += 1
        else:
            found += navigator.take(item, None)
    return found + navigator.finish(), damaged


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_sentences_say_what_the_vectors_say(case: dict[str, Any]) -> None:
    found, damaged = solutions("".join(f"{line}\r\n" for line in case["lines"]).encode())
    expected = [{point: Decimal(number) for point, number in says.items()} for says in case["says"]]
    assert [{one.point: one.number for one in values(solution)} for solution in found] == expected
    assert damaged == 0


def test_a_receiver_that_sends_gga_now_and_then_tells_its_satellites_too() -> None:
    place = Position(210_283_333, 1_058_533_333)
    sent = b""
    for second in range(10):
        sent += encode_rmc(START_MS + second * 1000, position=place)
        if second % 5 == 4:
            sent += encode_gga(START_MS + second * 1000, satellites=9, position=place)
    found, _ = solutions(sent)
    assert [solution.satellites for solution in found] == [None] * 5 + [9] + [None] * 5 + [9]
    assert {solution.position for solution in found} == {place}


@given(st.integers(-90 * DEGREE, 90 * DEGREE), st.integers(-180 * DEGREE, 180 * DEGREE))
def test_every_place_survives(latitude: int, longitude: int) -> None:
    place = Position(latitude, longitude)
    sent = encode_gga(START_MS, satellites=9, position=place) + encode_rmc(START_MS, position=place)
    (solution,), damaged = solutions(sent)
    assert damaged == 0
    assert solution.position == (None if latitude == longitude == 0 else place)


@given(st.data())
def test_a_flipped_bit_never_makes_another_place(data: st.DataObject) -> None:
    place = Position(210_283_333, 1_058_533_333)
    sent = bytearray(encode_rmc(START_MS, position=place, speed_knots=Decimal("0.1")))
    at = data.draw(st.integers(0, len(sent) - 3))
    sent[at] ^= 1 << data.draw(st.integers(0, 7))
    found, _ = solutions(bytes(sent))
    assert {solution.position for solution in found} <= {place}


@given(st.lists(st.binary(max_size=200) | st.from_regex(rb"\$G[PN](RMC|GGA|ZDA)[,.0-9AVNSEW]{0,80}", fullmatch=True)))
def test_whatever_comes_little_is_held(chunks: list[bytes]) -> None:
    decoder = Decoder()
    navigator: Navigator[None] = Navigator()
    for chunk in chunks:
        for item in decoder.feed(chunk):
            if not isinstance(item, Damaged):
                for solution in navigator.take(item, None):
                    assert {one.point for one in values(solution)} <= POINTS.keys()
        assert len(decoder._held) <= LINE_MAX


@given(st.from_regex(r"\$G[PN](RMC|GGA|ZDA)(,[.0-9AVNSEW]{0,12}){0,16}", fullmatch=True))
def test_whatever_the_fields_hold_the_filter_answers(body: str) -> None:
    checksum = 0
    for byte in body[1:].encode():
        checksum ^= byte
    for line in (f"{body}*{checksum:02X}", body):
        try:
            decode_line(line)
        except ValueError as error:
            assert "no NMEA 0183 sentence" in str(error)  # noqa: PT017


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("name", "moments", "fixed", "near"),
    [
        ("gpsd_mt3339.log", 30, 30, ("44.0688", "-121.3142")),
        ("gpsd_bu353s4.log", 25, 25, ("-37.7848", "175.3149")),  # header: 37.8S 175.3E
        ("gpsd_nmea-fuzzy-cases.log", 14, 14, ("41.5750", "-93.7506")),
        ("gpsd_quectel-eg25-g.log", 60, 23, ("36.763804", "31.410876")),  # header: 36.763803983N 31.410876250E
    ],
)
def test_real_captures_tell_where_they_were_made(
    shared_data: Path, name: str, moments: int, fixed: int, near: tuple[str, str]
) -> None:
    lines = (shared_data / "real" / "gps" / name).read_bytes().splitlines(keepends=True)
    sent = b"".join(line for line in lines if line.startswith(b"$"))
    found, damaged = solutions(sent)
    places = [solution.position for solution in found if solution.position is not None]
    assert (len(found), len(places), damaged) == (moments, fixed, 0)
    assert all(solution.satellites == 0 for solution in found if solution.position is None)
    last = places[-1]
    for value, text in zip((last.latitude, last.longitude), near, strict=True):
        assert abs(Decimal(value) / DEGREE - Decimal(text)) < Decimal("0.0001")
    witness = [  # an own reading of the same bytes, in floating point
        (_float(match, 1) * (-1 if match[3] == b"S" else 1), _float(match, 4) * (-1 if match[6] == b"W" else 1))
        for match in NMEA.finditer(sent)
    ]
    assert len(witness) == fixed
    for place, (latitude, longitude) in zip(places, witness, strict=True):
        assert abs(place.latitude / DEGREE - latitude) < 1e-7
        assert abs(place.longitude / DEGREE - longitude) < 1e-7


def _float(match: re.Match[bytes], group: int) -> float:
    return int(match[group]) + float(match[group + 1]) / 60


@pytest.mark.conformance
def test_a_real_drive_told_as_nmea_is_the_same_drive(shared_data: Path) -> None:
    track = ElementTree.parse(shared_data / "real" / "gps" / "around-visnjan-with-car.gpx")
    points = [
        Position(round(Decimal(point.attrib["lat"]) * DEGREE), round(Decimal(point.attrib["lon"]) * DEGREE))
        for point in track.iter("{http://www.topografix.com/GPX/1/1}trkpt")
    ]
    assert len(points) > 100
    sent = b"".join(
        encode_rmc(START_MS + at * 1000, position=place)
        + encode_gga(START_MS + at * 1000, satellites=7, position=place)
        for at, place in enumerate(points)
    )
    found, _ = solutions(sent)
    assert [solution.position for solution in found] == points
    assert any(one != other for one, other in pairwise(points))
