"""`coldproof edge decode`: lines in, JSON lines out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from coldproof.edge_command import app
from coldproof.edge_decode_command import DecoderUnusable, load
from coldproof.filter_lines import LINE_MAX_BYTES
from coldproof.filter_lines import decoded as answers

GGA = "$GPGGA,202640.000,4404.1306,N,12118.8515,W,2,10,0.98,1127.7,M,-19.6,M,0000,0000*6C"
RMC = "$GPRMC,202709.000,A,4404.1297,N,12118.8513,W,0.03,188.44,130415,,,D*7A"
SCANS = json.loads((Path(__file__).parents[1] / "vectors" / "gs1" / "scans.json").read_text())


def decoded(kind: str, data: bytes) -> list[Any]:
    return [json.loads(line, parse_float=Decimal) for line in answers(io.BytesIO(data), load(kind))]


def test_one_line_out_for_each_line_in_and_in_its_order() -> None:
    text = f"{RMC}\n\nnonsense\r\n{json.dumps(GGA)}\n{json.dumps({'line': '$GPZDA,202709.000,13,04,2015,,*58'})}\n"
    result = CliRunner().invoke(app, ["decode", "nmea"], input=text)
    assert result.exit_code == 0
    rmc, wrong, gga, zda = (json.loads(line) for line in result.stdout.splitlines())
    assert rmc["sentence"] == "GPRMC"
    assert {one["point"]: one["value"] for one in rmc["observations"]} == {
        "fix": True,
        "latitude": 44.0688283,
        "longitude": -121.3141883,
        "speed": 0.03,
        "time": "2015-04-13T20:27:09.000Z",
    }
    assert "'nonsense' is no NMEA 0183 sentence" in wrong["error"]
    assert {one["point"] for one in gga["observations"]} == {"fix", "satellites", "hdop", "latitude", "longitude"}
    assert zda["observations"] == [
        {"point": "fix", "value": None},
        {"point": "time", "value": "2015-04-13T20:27:09.000Z"},
    ]


def test_numbers_are_exact() -> None:
    (found,) = decoded("nmea", GGA.encode())
    assert {str(one["value"]) for one in found["observations"] if one["point"] == "hdop"} == {"0.98"}


def test_an_overlong_line_is_an_error_and_the_next_is_read() -> None:
    data = b"x" * (3 * LINE_MAX_BYTES + 5) + b"\n" + GGA.encode() + b"\n" + b"y" * (LINE_MAX_BYTES + 1)
    first, second, third = decoded("nmea", data)
    assert first == {"error": f"a line of {3 * LINE_MAX_BYTES + 5} bytes, the limit is {LINE_MAX_BYTES}"}
    assert second["sentence"] == "GPGGA"
    assert third == {"error": f"a line of {LINE_MAX_BYTES + 1} bytes, the limit is {LINE_MAX_BYTES}"}


@pytest.mark.parametrize("row", SCANS["accepted"], ids=lambda row: row["about"])
def test_scans_say_what_the_vectors_say(row: dict[str, Any]) -> None:
    given = json.dumps(row["scan"]).encode()
    bare = row["scan"].encode()
    for found in decoded("scan", given + b"\n" + bare):
        assert [[one["ai"], one["value"]] for one in found["elements"]] == row["values"]


@pytest.mark.parametrize("row", SCANS["refused"], ids=lambda row: row["about"])
def test_refused_scans_say_why(row: dict[str, Any]) -> None:
    (found,) = decoded("scan", json.dumps(row["scan"]).encode())
    assert found["ai"] == row["ai"]
    assert found["error"]


def test_a_scan_as_a_gateway_keeps_it() -> None:
    (found,) = decoded("scan", b'{"code": "10LOT-7A", "symbology": "C1"}')
    assert found == {"code": "10LOT-7A", "symbology": "C1", "elements": [{"ai": "10", "value": "LOT-7A"}]}


@given(st.sampled_from(["nmea", "scan"]), st.lists(st.binary(max_size=200).filter(lambda line: b"\n" not in line)))
def test_whatever_comes_each_line_has_its_answer(kind: str, lines: list[bytes]) -> None:
    told = decoded(kind, b"\n".join(lines))
    full = [line for line in lines if line.decode("utf-8", "replace").strip("\r\n").strip(" \t")]
    assert len(told) == len(full)
    assert all(isinstance(one, dict) for one in told)


def test_an_unknown_kind_is_told_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["decode", "semaphore"])
    assert result.exit_code == 2
    assert "unknown kind 'semaphore', known: ble, epc, nmea, scan" in result.stderr


def test_a_decoder_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edge.drivers.gps.decode", None)
    with pytest.raises(DecoderUnusable, match=r"nmea: cannot be decoded here .*pip install 'coldproof\[edge\]'"):
        load("nmea")


def test_whoever_stops_reading_ends_it_without_a_word() -> None:
    run = subprocess.run(
        ["sh", "-c", f"yes '{GGA}' | head -2000 | \"{sys.executable}\" -m coldproof.main edge decode nmea | head -1"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.count(b"\n") == 1
    assert run.stderr == b""


@pytest.mark.conformance
def test_real_captures_are_answered_line_by_line(shared_data: Path) -> None:
    for path in sorted((shared_data / "real" / "gps").glob("*.log")):
        lines = [line for line in path.read_bytes().splitlines() if line]
        told = decoded("nmea", path.read_bytes())
        assert len(told) == len(lines)
        for line, found in zip(lines, told, strict=True):
            assert ("error" in found) == (not line.startswith(b"$")), line
