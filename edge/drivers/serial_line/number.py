"""Numbers as devices write them → exact decimals that a reading can carry. Pure.

Nothing is rounded but digits beyond the ninth decimal, which no reading carries (half to even): a device that prints
21.300000000000001 means 21.3.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException

from wire.observation import INT64_MAX, MAX_EXPONENT, MIN_EXPONENT

#: At most 30 digits before and after the point: a double has 17, beyond that a device prints rubbish.
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII)
#: Wide enough that no sum or product of such numbers is rounded: 30 + 30 digits, exponents of two digits.
_EXACT = Context(prec=400)
_STEP = Decimal(1).scaleb(MIN_EXPONENT)


def read(text: str, decimal: str = ".") -> Decimal | None:
    """The number that `text` is, exactly; None when it is none."""
    plain = text.strip()
    if decimal != ".":
        if "." in plain:
            return None
        plain = plain.replace(decimal, ".", 1)
    return Decimal(plain) if _NUMBER.fullmatch(plain) else None


def scaled(number: Decimal, *, scale: Decimal, exponent: int, offset: Decimal) -> Decimal:
    """number × scale × 10^exponent + offset, exactly."""
    product = number if scale == 1 else _EXACT.multiply(number, scale)
    product = _EXACT.scaleb(product, exponent) if exponent else product
    return _EXACT.add(product, offset) if offset else product


def fit(number: Decimal) -> tuple[int, int] | None:
    """(mantissa, exponent) as a reading carries them, every digit kept that can be; None when it is too large."""
    try:
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)  # `read` gives finite numbers only
        if exponent < MIN_EXPONENT:
            number = number.quantize(_STEP, rounding=ROUND_HALF_EVEN, context=_EXACT)
            _, digits, exponent = number.as_tuple()
            assert isinstance(exponent, int)
    except DecimalException:  # needs more digits than any number here has
        return None
    mantissa = int("".join(map(str, digits)))
    if not mantissa:
        return 0, max(MIN_EXPONENT, min(0, exponent))
    while exponent < 0 and mantissa > INT64_MAX and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    if exponent > MAX_EXPONENT:
        mantissa, exponent = mantissa * 10 ** (exponent - MAX_EXPONENT), MAX_EXPONENT
    if mantissa > INT64_MAX:
        return None
    return (-mantissa if number.is_signed() else mantissa), exponent
