"""Observations: exact decimals, and names with a fixed form."""

from __future__ import annotations

from decimal import Decimal

import pytest

from wire.observation import ClockState, Reading, Stamp, is_channel, is_unit_code

STAMP = Stamp(0, 0, bytes(16), ClockState.UNSYNCED)


@pytest.mark.parametrize(
    ("mantissa", "exponent", "text"), [(2137, -2, "21.37"), (-5, -2, "-0.05"), (3, 2, "3E+2"), (0, 0, "0")]
)
def test_value_is_the_decimal_the_device_gave(mantissa: int, exponent: int, text: str) -> None:
    value = Reading("room-1/air", "CEL", mantissa, exponent, STAMP).value
    assert value == Decimal(text)
    assert str(value) == text


def test_no_number_is_no_value() -> None:
    assert Reading("room-1/air", "CEL", None, 0, STAMP).value is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("room-3/air", True),
        ("a/b", True),
        ("a.b_c-d/0", True),
        ("room", False),
        ("room/air/x", False),
        ("/air", False),
        ("room/", False),
        ("Room/air", False),
        ("room/air\n", False),
        ("a" * 64 + "/b", False),
    ],
)
def test_channel_form(text: str, good: bool) -> None:
    assert is_channel(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("CEL", True), ("P1", True), ("4K", True), ("cel", False), ("C", False), ("CELS", False), ("CÉ", False)],
)
def test_unit_code_form(text: str, good: bool) -> None:
    assert is_unit_code(text) is good
