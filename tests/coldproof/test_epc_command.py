"""`coldproof epc decode`: a line in, a line out."""

from __future__ import annotations

import io
import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from coldproof.epc_command import LINE_MAX_CHARACTERS, decode_line
from coldproof.filter_lines import decoded

SSCC = "3114257BF4499602D2000000"


def run(data: bytes) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "coldproof.main", "epc", "decode"], input=data, capture_output=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def answers(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in decoded(io.BytesIO(text.encode()), decode_line)]


def test_lines_come_out_in_the_order_they_went_in() -> None:
    told = run(
        b"3034257BF7194E4000001A85\n"
        b'{"epc": "3114257bf4499602d2000000", "antenna": 2}\r\n'
        b"\n"
        b'"F90095201234567891235"\n'
        b"E28011606000020000000000\n"
        b'{"rssi": -40}\n'
        b"{broken\n"
        b"\xff\xfe\n" + b"3" * 50_000 + b"\n" + b"3114257BF4499602D2000000"  # without its line end
    )
    assert [sorted(line) == sorted(set(line) - {"error"}) for line in told] == [
        True, True, True, False, False, False, False, False, True,
    ]  # fmt: skip
    assert told[0]["uri"] == "urn:epc:id:sgtin:0614141.812345.6789"
    assert told[1]["elements"] == {"00": "106141412345678908"}
    assert told[2]["digital_link"] == "https://id.gs1.org/00/095201234567891235"
    assert "tag_uri" not in told[2]
    assert told[3]["epc"] == "E28011606000020000000000"
    assert told[3]["rule"] == "header"
    assert "a string in hex" in str(told[4]["error"])
    assert "no JSON" in str(told[5]["error"])
    assert "not an EPC in hex" in str(told[6]["error"])
    assert "more than 10000 characters" in str(told[7]["error"])
    assert told[8]["scheme"] == "sscc-96"


def test_needs_no_library_of_gateway_or_cloud() -> None:
    program = (
        "import sys; from coldproof.epc_command import decode_line; decode_line('3114257BF4499602D2000000');"
        "print([name for name in ('biip', 'asyncio', 'sqlalchemy', 'serialx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_hostile_json_is_an_error() -> None:
    for line in ("[" * (LINE_MAX_CHARACTERS - 1), '"\\ud800"', '{"epc": 5}', '{"epc": "\\u0000"}'):
        assert "error" in answers(line)[0]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=80)))
def test_every_line_gets_its_answer(lines: list[str]) -> None:
    told = answers("\n".join(lines))
    assert len(told) == sum(bool(line.strip(" \t\r")) for line in lines)
    assert all(("error" in one) != ("uri" in one) for one in told)
