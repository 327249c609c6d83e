"""The EPC binaries of TDS 2: `+` schemes (a key as it is printed) and `++` schemes (and a web host behind it).

8 bits of header, 1 bit that says whether more data follow, 3 bits of filter, for DSGTIN a date, then the values of the
key's AIs, each in the encoding that TDS 2.x table F names for it (§14.5). The company prefix is not marked off.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from typing import NamedTuple

from standards.gs1.check_digit import has_valid_check_digit
from standards.gs1.epc_model import Bits, Epc, EpcError, digits_of, gs1_text, link_of

_END, _DELIMITER = 0xF, 0xE  # of a number of 4-bit digits (§14.5.5)
_KEY_CHARACTERS = 30  # GIAI and CPI, before their serial number
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # RFC 4648 §5
_CODE40 = " ABCDEFGHIJKLMNOPQRSTUVWXYZ-.:0123456789"  # § 14.5.6.5; the first one pads
#: How many digits an AI has beyond two, by those two (table K), as far as its followers are known.
_LONG_AIS = dict.fromkeys(("31", "32", "33", "34", "35", "36", "43", "70"), 2)
_DATES = ("11", "13", "15", "16", "17", "7006", "7007")  # by the date kind of a DSGTIN (§14.6.1.5)

Value = Callable[[Bits], str]


class Scheme(NamedTuple):
    """One scheme: its AIs and how their values are read. dated: a date stands before them."""

    name: str
    values: tuple[tuple[str, Value], ...]
    dated: bool = False


def decode(scheme: Scheme, data: bytes) -> Epc:
    """Decode a binary whose header is that of `scheme`. Raises EpcError."""
    bits = Bits(data)
    bits.take(8)
    followed = bool(bits.take(1))
    value = bits.take(3)
    try:
        date = (_date(bits),) if scheme.dated else ()
        elements = tuple((ai, read(bits)) for ai, read in scheme.values) + date
        if scheme.name.endswith("++"):  # the host stands before other data, and is not decoded
            more = _rest(bits)
        elif followed:
            found, more = _followers(bits)
            elements += tuple(found)
        elif bits.rest():
            raise EpcError("length", "bits stand behind its end, where all must be zero")
        else:
            more = ""
    except EpcError as error:
        raise EpcError(error.rule, f"{scheme.name}: {error}") from None
    return Epc(scheme.name, value, link_of(elements), None, elements, more)


def _followers(bits: Bits) -> tuple[list[tuple[str, str]], str]:
    """The AIs behind the key (§15.3), up to the end or to one that is not known here; what is left then, as hex.

    An AI is 4 bits a digit, two, three or four of them by its first two (table K).
    """
    found: list[tuple[str, str]] = []
    while bits.left >= 8 and bits.peek():
        mark = bits.copy()
        ai = f"{bits.take(8):02X}"
        if ai in _LONG_AIS:
            ai += f"{bits.take(4 * _LONG_AIS[ai]):0{_LONG_AIS[ai]}X}"
        read = _follower(ai)
        if read is None:
            return found, _rest(mark)
        found.append((ai, read(bits)))
    return found, ""


def _follower(ai: str) -> Value | None:
    """How the value of an AI is read (table F); None: not known here."""
    if ai in {"10", "21", "22"}:
        return _alphanumeric(20)
    if ai in {"11", "12", "13", "15", "16", "17", "7006"}:
        return _day
    if ai in {"30", "37"}:
        return _short_number(8)
    if ai in {"4330", "4331", "4332", "4333"}:
        return _temperature
    if len(ai) == 4 and ai[:2] in {"31", "32", "33", "34", "35", "36"} and ai.isdigit():
        return _six_digits
    return None


def _rest(bits: Bits) -> str:
    """All that is left, left-aligned, as hex without zeros at its end."""
    size = bits.left
    padding = -size % 4
    return f"{bits.rest() << padding:0{(size + padding) // 4}X}".rstrip("0")


def _date(bits: Bits) -> tuple[str, str]:
    kind = bits.take(4)
    if kind >= len(_DATES):
        raise EpcError("encoding", f"date kind {kind} is not defined")
    return _DATES[kind], _day(bits)


def _day(bits: Bits) -> str:
    """YYMMDD in 16 bits (§14.5.8)."""
    year, month, day = bits.take(7), bits.take(4), bits.take(5)
    # Day 0: sometime in that month. In which century is for whoever knows the present.
    if year > 99 or not 1 <= month <= 12 or day > calendar.monthrange(2000 + year, month)[1]:
        raise EpcError("range", f"{year:02d}-{month:02d}-{day:02d} is not a date")
    return f"{year:02d}{month:02d}{day:02d}"


def _six_digits(bits: Bits) -> str:
    """A measure (§14.5.2)."""
    return digits_of(bits.take(20), 6, "a measure")


def _temperature(bits: Bits) -> str:
    """A limit in hundredths of a degree, with a minus behind it when it is below zero (§14.5.2, §14.5.14)."""
    digits = digits_of(bits.take(20), 6, "a temperature")
    return digits + "-" * bits.take(1)


def _fixed(digits: int, *, checked: slice) -> Value:
    """So many 4-bit digits, with a check digit at the end of a part (§14.5.4)."""

    def read(bits: Bits) -> str:
        text = f"{bits.take(4 * digits):0{digits}X}"
        if not text.isdigit():
            raise EpcError("encoding", f"{text} holds something else than digits")
        if not has_valid_check_digit(text[checked]):
            raise EpcError("range", f"the check digit of {text[checked]} is wrong")
        return text

    return read


def _alphanumeric(most: int) -> Value:
    """3 bits that name the encoding, 5 bits of length, and the characters (§14.5.6)."""

    def read(bits: Bits) -> str:
        encoding, length = bits.take(3), bits.take(5)
        if not 1 <= length <= most:
            raise EpcError("range", f"a value of {length} characters, where 1 to {most} are allowed")
        if encoding == 0:
            return _integer(bits, length)
        if encoding in {1, 2}:
            text = f"{bits.take(4 * length):0{length}x}"
            return text.upper() if encoding == 1 else text
        if encoding == 3:
            return "".join(_BASE64[bits.take(6)] for _ in range(length))
        if encoding == 4:
            return gs1_text("".join(chr(bits.take(7)) for _ in range(length)), "a value")
        if encoding == 5:
            return _code40(bits, length)
        raise EpcError("encoding", f"encoding {encoding} is not defined")

    return read


def _integer(bits: Bits, digits: int) -> str:
    """As many bits as the largest number of so many digits needs (table B)."""
    value = bits.take((10**digits - 1).bit_length())
    if value >= 10**digits:
        raise EpcError("range", f"{value} has more than {digits} digits")
    return f"{value:0{digits}d}"


def _code40(bits: Bits, length: int) -> str:
    """URN Code 40: three characters of 40 in 16 bits, as 1600·a + 40·b + c + 1 (ISO/IEC 15962)."""
    text = ""
    for _ in range(-(-length // 3)):
        number = bits.take(16) - 1
        if not 0 <= number < 64_000:
            raise EpcError("encoding", "16 bits that are no three characters")
        text += _CODE40[number // 1600] + _CODE40[number // 40 % 40] + _CODE40[number % 40]
    if " " in text[:length] or text[length:].strip(" "):
        raise EpcError("encoding", f"{text!r} is not {length} characters")
    return text[:length]


def _terminated(bits: Bits) -> str:
    """4-bit digits, and after a delimiter an alphanumeric rest (§14.5.5)."""
    digits = ""
    while (digit := bits.take(4)) < 10:
        digits += str(digit)
        if len(digits) > _KEY_CHARACTERS:
            raise EpcError("terminator", f"a number does not end after {_KEY_CHARACTERS} digits")
    if digit == _DELIMITER and len(digits) < _KEY_CHARACTERS:
        return digits + _alphanumeric(_KEY_CHARACTERS - len(digits))(bits)
    if digit != _END or not digits:
        raise EpcError("terminator", "a number without its end")
    return digits


def _short_number(most: int) -> Value:
    """4 bits of length, and a number of so many digits (§14.5.13)."""

    def read(bits: Bits) -> str:
        length = bits.take(4)
        if not 1 <= length <= most:
            raise EpcError("range", f"a number of {length} digits, where 1 to {most} are allowed")
        return _integer(bits, length)

    return read


def _joined(one: Value, other: Value) -> Value:
    return lambda bits: one(bits) + other(bits)


def _grai(bits: Bits) -> str:
    text = _fixed(14, checked=slice(1, 14))(bits)
    if text[0] != "0":
        raise EpcError("range", f"{text} does not begin with 0")
    return text + _alphanumeric(16)(bits)


def _itip(bits: Bits) -> str:
    text = _fixed(18, checked=slice(0, 14))(bits)
    if not "01" <= text[14:16] <= text[16:]:
        raise EpcError("range", f"piece {text[14:16]} of {text[16:]} cannot be")
    return text


_ALL = slice(None)
_GTIN = ("01", _fixed(14, checked=_ALL))
_SERIAL = ("21", _alphanumeric(20))
_SGTIN = (_GTIN, _SERIAL)
_SGLN = (("414", _fixed(13, checked=_ALL)), ("254", _alphanumeric(20)))
_GRAI = (("8003", _grai),)
_GIAI = (("8004", _terminated),)
_GDTI = (("253", _joined(_fixed(13, checked=_ALL), _alphanumeric(17))),)
_SGCN = (("255", _joined(_fixed(13, checked=_ALL), _short_number(12))),)
_CPI = (("8010", _terminated), ("8011", _short_number(12)))
_ITIP = (("8006", _itip), _SERIAL)

#: By header. TDS 2.3 §14.2; of the `++` schemes those whose layout an example of annex E.3 confirms.
SCHEMES = {
    0xE9: Scheme("sgln++", _SGLN),
    0xEB: Scheme("grai++", _GRAI),
    0xEE: Scheme("giai++", _GIAI),
    0xF0: Scheme("cpi+", _CPI),
    0xF1: Scheme("grai+", _GRAI),
    0xF2: Scheme("sgln+", _SGLN),
    0xF3: Scheme("itip+", _ITIP),
    0xF4: Scheme("gsrn+", (("8018", _fixed(18, checked=_ALL)),)),
    0xF5: Scheme("gsrnp+", (("8017", _fixed(18, checked=_ALL)),)),
    0xF6: Scheme("gdti+", _GDTI),
    0xF7: Scheme("sgtin+", _SGTIN),
    0xF8: Scheme("sgcn+", _SGCN),
    0xF9: Scheme("sscc+", (("00", _fixed(18, checked=_ALL)),)),
    0xFA: Scheme("giai+", _GIAI),
    0xFB: Scheme("dsgtin+", _SGTIN, dated=True),
    0xFC: Scheme("dsgtin++", _SGTIN, dated=True),
    0xFD: Scheme("sgtin++", _SGTIN),
}
