"""The GS1 check digit (modulo 10, weights 3 and 1). GS1 General Specifications §7.9.1."""

from __future__ import annotations


def check_digit(payload: str) -> str:
    """The digit that completes `payload` to a GTIN, SSCC, GLN … Raises ValueError for anything but digits."""
    if not payload or not (payload.isascii() and payload.isdigit()):
        raise ValueError(f"{payload[:40]!r}: a check digit is computed over digits only")
    weighted = sum(int(digit) * (3 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(payload)))
    return str(-weighted % 10)


def has_valid_check_digit(number: str) -> bool:
    """Whether `number` is digits only and its last one is the right check digit."""
    if len(number) < 2 or not (number.isascii() and number.isdigit()):
        return False
    return check_digit(number[:-1]) == number[-1]
