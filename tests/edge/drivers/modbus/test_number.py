"""Registers ↔ decimals in every layout. Vectors by hand: Modbus V1.1b3 §4.2, IEEE 754; the letters are Telegraf's."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.modbus.codec import CodecError, Point, decode, encode, parse_profile
from wire.observation import Quality

ORDERS = {"ABCD": ("big", "big"), "CDAB": ("little", "big"), "BADC": ("big", "little"), "DCBA": ("little", "little")}
#: 0x0A0B0C0D and 0x0A0B0C0D0E0F1011 as each order lays them over registers.
WIDE = {
    "ABCD": [0x0A0B, 0x0C0D, 0x0E0F, 0x1011],
    "CDAB": [0x1011, 0x0E0F, 0x0C0D, 0x0A0B],
    "BADC": [0x0B0A, 0x0D0C, 0x0F0E, 0x1110],
    "DCBA": [0x1110, 0x0F0E, 0x0D0C, 0x0B0A],
}


def point(kind: str, order: str = "ABCD", **more: object) -> Point:
    word, byte = ORDERS[order]
    values = {"name": "p", "unit": "C62", "register": 0, "word_order": word, "byte_order": byte, "type": kind, **more}
    return Point(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_64_and_32_bits(order: str) -> None:
    assert decode(point("uint64", order), WIDE[order]).mantissa == 0x0A0B0C0D0E0F1011
    half = [word for word in WIDE[order] if word in (0x0A0B, 0x0C0D, 0x0B0A, 0x0D0C)]
    assert decode(point("uint32", order), half).mantissa == 0x0A0B0C0D


@pytest.mark.parametrize(
    ("kind", "order", "words", "mantissa"),
    [
        ("int16", "BADC", [0x2BFF], -213),
        ("uint16", "DCBA", [0x0100], 1),
        ("int64", "ABCD", [0xFFFF, 0xFFFF, 0xFFFF, 0xFF2B], -213),
        ("float16", "ABCD", [0x4D40], 21),  # 21.0 as binary16
        ("float32", "DCBA", [0xC3F5, 0xAA41], 21),  # 21.37, rounded to whole steps
        ("float64", "ABCD", [0x4035, 0x5EB8, 0x51EB, 0x851F], 21),  # 21.37 as binary64
        ("float64", "CDAB", [0x851F, 0x51EB, 0x5EB8, 0x4035], 21),
    ],
)
def test_numbers_of_other_widths(kind: str, order: str, words: list[int], mantissa: int) -> None:
    assert decode(point(kind, order), words).mantissa == mantissa


@pytest.mark.parametrize(
    ("kind", "half", "mantissa"),
    [("uint8", "high", 0xFB), ("uint8", "low", 7), ("int8", "high", -5), ("int8", "low", 7)],
)
def test_two_numbers_in_one_register(kind: str, half: str, mantissa: int) -> None:
    assert decode(point(kind, half=half), [0xFB07]).mantissa == mantissa


def test_bits_of_a_register() -> None:
    found = [decode(point("bit", bit=bit), [0b1010_0000_0000_0001]).mantissa for bit in (0, 1, 13, 15)]
    assert found == [1, 0, 1, 1]
    assert decode(point("bit", bit=12, bits=4), [0xA001]).mantissa == 0xA
    assert encode(point("bit", bit=12, bits=4), Decimal(5)) == [0x5000]


def test_a_bit_of_a_table_of_bits_is_the_bit() -> None:
    assert [decode(point("bit"), [each]).mantissa for each in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("scale", "offset", "exponent", "raw", "value"),
    [
        ("0.125", None, -3, 201, "25.125"),  # 1/8 °C a step
        ("0.5", "-40", -1, 130, "25.0"),
        ("1", "-273.15", -2, 298, "24.85"),  # kelvin
        ("10", None, 1, 1013, "10130"),
    ],
)
def test_scale_and_offset_are_exact(scale: str, offset: str | None, exponent: int, raw: int, value: str) -> None:
    plus = None if offset is None else Decimal(offset)
    known = point("int16", scale=Decimal(scale), offset=plus, exponent=exponent)
    found = decode(known, [raw])
    assert found.mantissa is not None
    assert Decimal(found.mantissa).scaleb(exponent) == Decimal(value)
    assert encode(known, Decimal(value)) == [raw]


def test_float_is_scaled_before_it_is_rounded() -> None:
    known = point("float32", scale=Decimal("0.1"), offset=Decimal(1), exponent=-2)
    assert decode(known, [0x41AA, 0xF5C3]).mantissa == 314  # 21.37 / 10 + 1 = 3.137


def test_what_64_bits_cannot_carry_is_no_number() -> None:
    assert decode(point("uint64"), [0xFFFF] * 4).quality is Quality.OUT_OF_RANGE
    assert decode(point("int64"), [0x8000, 0, 0, 0]).mantissa is None
    assert decode(point("float64"), [0x7FEF, 0xFFFF, 0xFFFF, 0xFFFF]).mantissa is None
    assert decode(point("int64", scale=Decimal(1000)), [0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF]).mantissa is None


def test_bounds_finer_than_the_steps_hold_for_the_steps_inside() -> None:
    known = point("int16", min=Decimal("0.5"), max=Decimal("2.5"))
    assert [decode(known, [raw]).quality for raw in (0, 1, 2, 3)] == [
        Quality.OUT_OF_RANGE,
        Quality.OK,
        Quality.OK,
        Quality.OUT_OF_RANGE,
    ]


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@given(st.sampled_from(INTEGERS), st.sampled_from(sorted(ORDERS)), st.sampled_from(["low", "high"]), st.data())
def test_what_a_device_encodes_is_decoded_exactly(kind: str, order: str, half: str, data: st.DataObject) -> None:
    known = point(kind, order, half=half if kind.endswith("int8") else "low")
    low, high = known.limits
    raw = data.draw(st.integers(max(low, 1 - 2**63), min(high, 2**63 - 1)))
    assert decode(known, encode(known, Decimal(raw))).mantissa == raw


@given(st.sampled_from(["float16", "float32", "float64", *INTEGERS]), st.sampled_from(sorted(ORDERS)), st.data())
def test_no_registers_break_a_decoder(kind: str, order: str, data: st.DataObject) -> None:
    known = point(kind, order, exponent=data.draw(st.integers(-9, 9)))
    words = data.draw(st.lists(st.integers(0, 65_535), min_size=known.width, max_size=known.width))
    value = decode(known, words)
    assert value.mantissa is None or abs(value.mantissa) < 2**63


HEAD = 'name = "x"\ntitle = "t"\nsource = "s"\n'


def loose(**keys: object) -> str:
    told = {"name": '"p"', "unit": '"C62"', "register": 1, "function": 3, **keys}
    return HEAD + "[[point]]\n" + "".join(f"{key} = {value}\n" for key, value in told.items() if value is not None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (loose(function=None), "point.0. 'p': function is missing: 1 coils"),
        (loose(function=2), 'function 2 reads single bits: it needs type = "bit"'),
        (loose(function=2, type='"bit"', bit=1), "bit and bits belong to registers"),
        (loose(type='"bit"'), "bit is missing: which bit"),
        (loose(type='"bit"', bit=12, bits=5), "reach beyond bit 15"),
        (loose(bit=1), 'need type = "bit", this is int16'),
        (loose(half='"high"'), "half belongs to int8 and uint8"),
        (loose(scale=0.125, exponent=-1), "scale 0.125 is finer than steps of 10.-1: give a smaller exponent"),
        (loose(scale=0), "would make every value the same"),
        (loose(offset="1e400"), "offset must be a number up to 10.18"),
        (loose(max="1e999999999"), "max must be a number"),
        (loose(max="1e-999999999"), "of at most 18 decimals"),
        (loose(min="1e99999999999999999999"), "profile:"),
        (loose(register="1" * 5000), "profile:"),
        (loose(type='"int64"', register=65_533), "reaches beyond register 65535"),
        (loose(type='"int32"') + "[requests]\nmax_registers = 1\n", "does not fit into requests of max_registers"),
        (loose(fault='"door"'), "fault 'door' is no point of type bit"),
        (loose(colour="1"), "colour"),
        (HEAD + "[requests]\nmax_gap = 125\n" + loose().removeprefix(HEAD), "max_gap"),
    ],
)
def test_wrong_point_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        parse_profile(text)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader_of_profiles(text: str) -> None:
    for document in (text, loose() + text, HEAD + text):
        try:
            parse_profile(document)
        except CodecError:
            pass
