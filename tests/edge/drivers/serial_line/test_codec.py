"""Lines of sensors ↔ exact numbers: vectors, whatever a cable does, and whatever anybody sends."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.serial_line import checksum, number
from edge.drivers.serial_line.codec import Damaged, Decoder, Echo, Framing, Line, encode
from edge.drivers.serial_line.config import SerialLineConfig
from edge.drivers.serial_line.layout import Layout, LineError, Point, compile_pattern, read_line
from wire.observation import INT64_MAX, MAX_EXPONENT, MIN_EXPONENT

VECTORS = Path(__file__).parents[3] / "vectors" / "serial_line" / "lines.json"
CASES = json.loads(VECTORS.read_text("utf-8"))["cases"]
FRAMINGS = [
    Framing(),
    Framing(end="\r\n", prefix="$", checksum="xor", checksum_skip=1),
    Framing(end="\x03", prefix="\x02", checksum="crc16-modbus", checksum_mark="", encoding="ascii"),
    Framing(end=";", checksum="crc8", encoding="latin-1", line_max=64),
]


def says(config: SerialLineConfig, data: bytes) -> list[list[object]] | str:
    """What a line says, as the vectors write it; a text where it is refused."""
    assert not list(config.problems())
    decoder = Decoder(config.framing)
    decoder.begin()
    (item,) = decoder.feed(data)
    if isinstance(item, Damaged):
        return item.why
    try:
        values = read_line(config.layout, item.text)
    except LineError as error:
        return str(error)
    return [[value.point.name, value.mantissa, value.exponent, value.quality.name] for value in values]


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_lines_say_what_the_vectors_say(case: dict[str, object]) -> None:
    config = msgspec.convert({"port": "/dev/x", **case["config"]}, SerialLineConfig)  # type: ignore[dict-item]
    data = bytes.fromhex(case["sent_hex"]) if "sent_hex" in case else case["sent"].encode()  # type: ignore[arg-type, attr-defined]
    found = says(config, data)
    if "error" in case:
        assert isinstance(found, str)
        assert str(case["error"]) in found
    else:
        assert found == case["says"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("sum8", 0xDD), ("xor", 0x31), ("crc8", 0xF4), ("crc8-maxim", 0xA1), ("crc16-modbus", 0x4B37)],
)
def test_checksums_have_the_check_values_of_the_catalogue(kind: checksum.Kind, expected: int) -> None:
    assert checksum.compute(kind, b"123456789") == expected


@given(st.data(), st.sampled_from(FRAMINGS), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_what_is_encoded_is_read_however_the_bytes_arrive(data: st.DataObject, framing: Framing, text: str) -> None:
    try:
        sent = encode(framing, text)
    except ValueError:
        return
    decoder, found = Decoder(framing), []
    decoder.begin()
    whole = sent + sent
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += decoder.feed(whole[:size])
        whole = whole[size:]
    assert found == ([Line(text)] * 2 if text or framing.prefix or framing.checksum else [])


@given(st.sampled_from(FRAMINGS), st.lists(st.binary(max_size=300), max_size=20))
def test_whatever_comes_never_more_than_one_line_is_held(framing: Framing, chunks: list[bytes]) -> None:
    decoder = Decoder(framing)
    for chunk in chunks:
        for item in decoder.feed(chunk):
            assert isinstance(item, Line | Damaged)
        assert len(decoder._held) <= framing.line_max + 2
    decoder.discard()
    assert decoder.pending == 0


@given(st.data(), st.sampled_from([framing for framing in FRAMINGS if framing.checksum]))
def test_a_flipped_bit_never_makes_another_line(data: st.DataObject, framing: Framing) -> None:
    sent = bytearray(encode(framing, "-21.37,55.4"))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] ^= 1 << data.draw(st.integers(0, 7))
    decoder = Decoder(framing)
    decoder.begin()
    lines = [item.text for item in decoder.feed(bytes(sent)) if isinstance(item, Line)]
    assert lines in ([], ["-21.37,55.4"])


LAYOUTS = [
    Layout("delimited", [Point("a", "CEL", field=1), Point("b", "P1", field=3, optional=True)]),
    Layout("json", [Point("a", "CEL", key="a.0.b"), Point("b", "P1", optional=True)]),
    Layout("pattern", [Point("a", "CEL")], matcher=compile_pattern(r"(?P<a>[^,]*)(,.*)*")[0]),
]


@given(st.sampled_from(LAYOUTS), st.text(max_size=300) | st.from_regex(r"[-+\d.eE,\[\]{}\":a-z]{0,60}", fullmatch=True))
def test_whatever_a_line_says_it_is_values_or_an_error(layout: Layout, text: str) -> None:
    try:
        values = read_line(layout, text)
    except LineError as error:
        assert len(str(error)) < 300  # noqa: PT017
        return
    for value in values:
        assert value.mantissa is None or abs(value.mantissa) <= INT64_MAX
        assert MIN_EXPONENT <= value.exponent <= MAX_EXPONENT


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12))
def test_every_digit_is_kept(value: Decimal) -> None:
    read = number.read(f"{value:f}")
    assert read is not None
    fitting = number.fit(read)
    assert fitting is not None
    assert Decimal(fitting[0]).scaleb(fitting[1]) == value


def test_no_pattern_takes_long() -> None:
    matcher, _ = compile_pattern(r"(?P<a>(a*)*(b|a*)*(a|aa)+)c")
    began_s = time.process_time()
    for _ in range(100):
        assert matcher.fullmatch("a" * 4000) is None
    assert time.process_time() - began_s < 2


@pytest.mark.parametrize("pattern", [r"(?P<a>x)(?<=y)", r"(?P<a>x)\1", "(", "((((x{100}){100}){100}){100})"])
def test_a_pattern_that_cannot_be_bounded_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="RE2 syntax"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("request_", "arrives", "answer"),
    [
        (b"#01\r", [b"#01\r21.3\r"], b"21.3\r"),
        (b"#01\r", [b"#", b"01", b"\r2", b"1.3\r"], b"21.3\r"),
        (b"#01\r", [b"21.3\r"], b"21.3\r"),
        (b"#01\r", [b"#01,21.3\r"], b"#01,21.3\r"),
        (b"T", [b"T", b"21.3\r"], b"T21.3\r"),
    ],
)
def test_the_echo_of_a_request_is_taken_off_and_nothing_else(
    request_: bytes, arrives: list[bytes], answer: bytes
) -> None:
    echo = Echo(Framing(), request_)
    assert b"".join(map(echo.taken_off, arrives)) == answer
