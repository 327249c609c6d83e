"""Registers ↔ decimals and device profiles. Vectors by hand: Modbus V1.1b3 §6.4, IEEE 754."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.modbus.codec import (
    CodecError,
    Point,
    decode,
    decode_block,
    encode,
    parse_profile,
    profile_names,
    shipped_profile,
)
from wire.observation import Quality

HEAD = 'name = "x"\ntitle = "t"\nsource = "s"\n'


def point(kind: str = "int16", **more: object) -> Point:
    return Point(name="air", unit="CEL", register=0, type=kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "order", "words", "exponent", "mantissa"),
    [
        ("int16", "big", [0xFF2B], -1, -213),
        ("int16", "big", [0x8000], -1, -32768),
        ("uint16", "big", [0xFF2B], 0, 65323),
        ("int32", "big", [0xFFFF, 0xFF2B], -2, -213),
        ("int32", "little", [0xFF2B, 0xFFFF], -2, -213),
        ("uint32", "big", [0x0001, 0x0000], 0, 65536),
        ("uint32", "little", [0x0001, 0x0000], 0, 1),
        ("float32", "big", [0x41AA, 0xF5C3], -2, 2137),  # 21.37 as binary32
        ("float32", "little", [0xF5C3, 0x41AA], -2, 2137),
        ("float32", "big", [0xC1AA, 0xF5C3], -1, -214),
        ("int16", "big", [12], 2, 12),
    ],
)
def test_number_types(kind: str, order: str, words: list[int], exponent: int, mantissa: int) -> None:
    value = decode(point(kind, word_order=order, exponent=exponent), words)
    assert (value.mantissa, value.quality) == (mantissa, Quality.OK)


def test_sentinel_is_a_sensor_error_without_a_number() -> None:
    assert decode(point(sensor_error=[32767]), [32767]).mantissa is None
    assert decode(point(sensor_error=[-32768]), [0x8000]).quality is Quality.SENSOR_ERROR
    assert decode(point("float32", sensor_error=[-999]), [0xC479, 0xC000]).quality is Quality.SENSOR_ERROR


@pytest.mark.parametrize("words", [[0x7FC0, 0], [0x7F80, 0], [0xFF80, 0]], ids=["nan", "inf", "-inf"])
def test_float_that_is_no_number_is_a_sensor_error(words: list[int]) -> None:
    assert decode(point("float32"), words).quality is Quality.SENSOR_ERROR


def test_float_beyond_64_bits_is_out_of_range() -> None:
    assert decode(point("float32"), [0x7F7F, 0xFFFF]).quality is Quality.OUT_OF_RANGE


def test_beyond_the_range_is_marked_and_kept() -> None:
    ranged = point(exponent=-1, min=Decimal("-40.0"), max=Decimal("60.0"))
    for mantissa, quality in (
        (-400, Quality.OK),
        (-401, Quality.OUT_OF_RANGE),
        (600, Quality.OK),
        (601, Quality.OUT_OF_RANGE),
    ):
        value = decode(ranged, [mantissa & 0xFFFF])
        assert (value.mantissa, value.quality) == (mantissa, quality)


@given(
    st.sampled_from(["int16", "uint16", "int32", "uint32"]),
    st.sampled_from(["big", "little"]),
    st.integers(-9, 9),
    st.data(),
)
def test_what_a_device_encodes_is_decoded_exactly(kind: str, order: str, exponent: int, data: st.DataObject) -> None:
    bits = int(kind.removeprefix("u").removeprefix("int"))
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    mantissa = data.draw(st.integers(low, high))
    known = point(kind, word_order=order, exponent=exponent)
    assert decode(known, encode(known, Decimal(mantissa).scaleb(exponent))).mantissa == mantissa


@pytest.mark.parametrize(
    ("known", "value", "why"),
    [
        (point(exponent=-1), Decimal("21.37"), "more digits"),
        (point(), Decimal(40000), "does not fit into int16"),
        (point(), Decimal("NaN"), "not a number"),
        (point(sensor_error=[32767]), Decimal(32767), "read as a sensor error"),
        (point(), None, "no value that means sensor error"),
    ],
)
def test_encode_refuses_what_it_cannot_say(known: Point, value: Decimal | None, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        encode(known, value)


def test_failed_probe_is_encoded_as_the_device_says_it() -> None:
    assert encode(point(sensor_error=[-32768]), None) == [0x8000]
    assert decode(point("float32"), encode(point("float32"), None)).quality is Quality.SENSOR_ERROR


@pytest.mark.parametrize("words", [[], [1, 2], [-1], [65536]])
def test_wrong_registers_are_refused(words: list[int]) -> None:
    with pytest.raises(CodecError, match="air: 1 registers"):
        decode(point(), words)


def test_wrong_count_of_a_block_is_refused() -> None:
    with pytest.raises(CodecError, match="3 registers, asked for 2"):
        decode_block(shipped_profile("xy-md02").block[0], [1, 2, 3])


def test_xy_md02_frame() -> None:
    """Registers of a frame from the maker's leaflet: 23.9 °C, 55.3 % (0x00EF, 0x0229)."""
    values = decode_block(shipped_profile("xy-md02").block[0], [0x00EF, 0x0229])
    assert [(v.point.name, v.point.unit, v.mantissa, v.point.exponent) for v in values] == [
        ("air", "CEL", 239, -1),
        ("humidity", "P1", 553, -1),
    ]


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_sound_and_names_its_source(name: str) -> None:
    profile = shipped_profile(name)
    assert profile.name == name
    assert len(profile.source) > 20


BLOCK = HEAD + "[[block]]\nfunction = 4\naddress = 1\ncount = 2\n"
AIR = '[[block.point]]\nname = "air"\nunit = "CEL"\nregister = 1\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "missing required field"),
        ("x" * 70_000, "the limit is 65536"),
        ("= =", "profile:"),
        (HEAD, "block"),
        (BLOCK, "point"),
        (BLOCK.replace("count = 2", "count = 126") + AIR, "<= 125"),
        (BLOCK.replace("function = 4", "function = 6") + AIR, "function"),
        (BLOCK.replace("address = 1", "address = 65535") + AIR, "beyond register 65535"),
        (BLOCK + AIR + "colour = 1\n", "colour"),
        (BLOCK + AIR.replace("register = 1", "register = 3"), r"register 3 is outside of its block \(1 … 2\)"),
        (BLOCK + AIR.replace("register = 1", 'register = 2\ntype = "int32"'), "register 2 is outside"),
        (BLOCK + AIR + AIR, "occurs twice"),
        (BLOCK + AIR + "sensor_error = [99999]\n", "int16 cannot hold"),
        (BLOCK + AIR + "min = 5.0\nmax = -5.0\n", "min 5.0 is above max -5.0"),
        (BLOCK + AIR + "min = nan\n", "min must be a number"),
        (BLOCK + AIR.replace('"air"', '"Air 1"'), "name"),
        (BLOCK + AIR.replace('"air"', '"air\\n"'), "name"),
        (BLOCK + AIR + "exponent = 12\n", "exponent"),
    ],
)
def test_wrong_profile_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        parse_profile(text)


@pytest.mark.parametrize("name", ["nope", "../xy-md02", "xy-md02\n", ""])
def test_unknown_profile_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(CodecError, match=f"known: {', '.join(profile_names())}"):
        shipped_profile(name)
