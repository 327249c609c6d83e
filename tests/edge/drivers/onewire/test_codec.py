"""Files of the 1-wire driver ↔ temperatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.onewire.codec import Untrue, encode_slave, read_milli, read_slave
from wire.observation import Quality

VECTORS = Path(__file__).parents[3] / "vectors" / "onewire" / "w1_slave.json"
CASES = json.loads(VECTORS.read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_files_say_what_the_vectors_say(case: dict[str, object]) -> None:
    text, family = str(case["text"]), str(case.get("family", "28"))
    if "error" in case:
        with pytest.raises(Untrue, match=str(case["error"])):
            read_slave(text, family)
    else:
        found = read_slave(text, family)
        assert [found.mantissa, found.exponent, found.quality.name] == case["says"]


@given(st.integers(-55 * 16, 125 * 16).filter(lambda raw: raw != 85 * 16))
def test_every_temperature_survives(sixteenths: int) -> None:
    found = read_slave(encode_slave(sixteenths), "28")
    assert (found.mantissa, found.exponent, found.quality) == (sixteenths * 625, -4, Quality.OK)


@given(st.data())
def test_a_flipped_bit_never_makes_another_temperature(data: st.DataObject) -> None:
    sent = bytearray(encode_slave(-341).encode())
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_slave(sent.decode("latin-1"), "28")
    except Untrue:
        return
    assert found.mantissa == -341 * 625


@given(st.text(max_size=300), st.sampled_from(["10", "22", "28", "3b", "42"]))
def test_whatever_a_file_says_it_is_a_temperature_or_an_error(text: str, family: str) -> None:
    for read in (lambda: read_slave(text, family), lambda: read_milli(text)):
        try:
            found = read()
        except Untrue as error:
            assert len(str(error)) < 300  # noqa: PT017
        else:
            assert abs(found.mantissa) < 10**9


@pytest.mark.parametrize(
    ("text", "why"), [("85000\n", "before it has measured"), ("127937\n", "power"), ("", "nothing")]
)
def test_the_kernels_number_is_refused_where_it_cannot_be_one(text: str, why: str) -> None:
    with pytest.raises(Untrue, match=why):
        read_milli(text)
