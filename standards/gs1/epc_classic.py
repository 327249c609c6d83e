"""The EPC binaries of TDS 1.x: 96 bits, and the longer ones with texts. GS1 EPC Tag Data Standard 1.13 and 2.x §14.6.

All GS1 schemes begin alike: 3 bits of filter, then a partition (§14.3) which says how many digits of a number that
two fields share are the company prefix. LGTIN is an EPC class, but has no binary, so no tag holds one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from standards.gs1.check_digit import check_digit
from standards.gs1.epc_model import Bits, Epc, EpcError, digits_of, gs1_text, text_of

_PREFIX_BITS = (40, 37, 34, 30, 27, 24, 20)  # by partition: of a company prefix with 12, 11 … 6 digits
_ESCAPES = str.maketrans({one: f"%{ord(one):02X}" for one in '"%&/<>?#'})  # TDS §7.1; # in CPI and ADI
_KEY_CHARACTERS = 30  # company prefix and asset or part reference: GIAI, CPI

Elements = tuple[tuple[str, str], ...]
Fields = tuple[str, ...]


class Body(NamedTuple):
    """What a scheme's own reader found: the URI's parts behind the filter, and the GS1 elements."""

    fields: Fields
    elements: Elements


class Scheme(NamedTuple):
    """One binary coding scheme. bits: its length; 0 where a terminator ends it. filter_bits: before the body."""

    name: str
    bits: int
    read: Callable[[Bits], Body]
    filter_bits: int = 3


def decode(scheme: Scheme, data: bytes) -> Epc:
    """Decode a binary whose header is that of `scheme`. Raises EpcError."""
    bits = Bits(data)
    if scheme.bits > bits.left:
        raise EpcError("length", f"{scheme.name}: {bits.left} bits, but the scheme has {scheme.bits}")
    behind = bits.left - scheme.bits if scheme.bits else 0
    bits.take(8)
    value = bits.take(scheme.filter_bits) if scheme.filter_bits else None
    try:
        body = scheme.read(bits)
    except EpcError as error:
        raise EpcError(error.rule, f"{scheme.name}: {error}") from None
    if bits.rest():
        reason = f"{scheme.name}: bits stand behind its end, where all must be zero"
        raise EpcError("length" if behind else "reserved", reason)
    parts = ".".join(part.translate(_ESCAPES) for part in body.fields)
    kind = scheme.name.partition("-")[0]
    tag = f"{value}.{parts}" if value is not None else parts
    return Epc(scheme.name, value, f"urn:epc:id:{kind}:{parts}", f"urn:epc:tag:{scheme.name}:{tag}", body.elements)


def _prefix(bits: Bits) -> tuple[int, str]:
    """The partition, and the company prefix with all its digits."""
    partition = bits.take(3)
    if partition >= len(_PREFIX_BITS):
        raise EpcError("partition", f"partition {partition} is not defined")
    return partition, digits_of(bits.take(_PREFIX_BITS[partition]), 12 - partition, "company prefix")


def _pair(bits: Bits, total_bits: int, total_digits: int, what: str) -> tuple[str, str]:
    """Company prefix and reference, which share `total_bits` and `total_digits`."""
    partition, prefix = _prefix(bits)
    reference = bits.take(total_bits - _PREFIX_BITS[partition])
    return prefix, digits_of(reference, total_digits - len(prefix), what)


def _numeric_string(bits: Bits, size: int, what: str) -> str:
    """Digits behind a leading 1, so that zeros in front survive. TDS §14.4.6."""
    text = str(bits.take(size))
    if len(text) < 2 or text[0] != "1":
        raise EpcError("encoding", f"{what} is not digits behind a 1")
    return text[1:]


def _checked(digits: str) -> str:
    return digits + check_digit(digits)


def _gtin(prefix: str, item: str) -> str:
    return _checked(item[0] + prefix + item[1:])


def _sgtin(serial: Callable[[Bits], str]) -> Callable[[Bits], Body]:
    def read(bits: Bits) -> Body:
        prefix, item = _pair(bits, 44, 13, "item reference")
        number = serial(bits)
        return Body((prefix, item, number), (("01", _gtin(prefix, item)), ("21", number)))

    return read


def _itip(serial: Callable[[Bits], str]) -> Callable[[Bits], Body]:
    def read(bits: Bits) -> Body:
        prefix, item = _pair(bits, 44, 13, "item reference")
        piece, total = digits_of(bits.take(7), 2, "piece"), digits_of(bits.take(7), 2, "total")
        number = serial(bits)
        elements = (("8006", _gtin(prefix, item) + piece + total), ("21", number))
        return Body((prefix, item, piece, total, number), elements)

    return read


def _seventeen(ai: str, what: str, *, extension: bool) -> Callable[[Bits], Body]:
    """SSCC (its reference begins with the extension digit) and GSRN: 17 digits and a check digit, 24 reserved bits."""

    def read(bits: Bits) -> Body:
        prefix, reference = _pair(bits, 58, 17, what)
        digits = reference[0] + prefix + reference[1:] if extension else prefix + reference
        if bits.take(24):
            raise EpcError("reserved", "its last 24 bits must be zero")
        return Body((prefix, reference), ((ai, _checked(digits)),))

    return read


def _sgln(extension: Callable[[Bits], str]) -> Callable[[Bits], Body]:
    def read(bits: Bits) -> Body:
        prefix, location = _pair(bits, 41, 12, "location reference")
        number = extension(bits)
        place = ("414", _checked(prefix + location))
        return Body((prefix, location, number), (place,) if number == "0" else (place, ("254", number)))

    return read


def _thirteen(ai: str, lead: str, total_bits: int, serial: Callable[[Bits], str]) -> Callable[[Bits], Body]:
    """GRAI, GDTI, SGCN: 12 digits, a check digit, and the serial number in one element."""

    def read(bits: Bits) -> Body:
        prefix, kind = _pair(bits, total_bits, 12, "type")
        number = serial(bits)
        return Body((prefix, kind, number), ((ai, lead + _checked(prefix + kind) + number),))

    return read


def _giai96(bits: Bits) -> Body:
    partition, prefix = _prefix(bits)
    reference = str(bits.take(82 - _PREFIX_BITS[partition]))
    if len(reference) > 25 - len(prefix):
        raise EpcError("range", f"asset reference {reference} has more than {25 - len(prefix)} digits")
    return Body((prefix, reference), (("8004", prefix + reference),))


def _giai202(bits: Bits) -> Body:
    partition, prefix = _prefix(bits)
    characters, spare = divmod(188 - _PREFIX_BITS[partition], 7)
    reference = text_of(bits, characters, "asset reference")
    if bits.take(spare):
        raise EpcError("reserved", "bits behind the asset reference must be zero")
    if len(prefix + reference) > _KEY_CHARACTERS:
        raise EpcError("range", f"the key has {len(prefix + reference)} characters, {_KEY_CHARACTERS} are allowed")
    return Body((prefix, reference), (("8004", prefix + reference),))


def _cpi96(bits: Bits) -> Body:
    partition, prefix = _prefix(bits)
    part = str(bits.take(51 - _PREFIX_BITS[partition]))
    if len(part) > 15 - len(prefix):
        raise EpcError("range", f"part reference {part} has more than {15 - len(prefix)} digits")
    return _cpi(prefix, part, str(bits.take(31)))


def _cpi_var(bits: Bits) -> Body:
    _, prefix = _prefix(bits)
    part = _six_bit_text(bits, _KEY_CHARACTERS - len(prefix), "part reference")
    return _cpi(prefix, part, digits_of(bits.take(40), 12, "serial number").lstrip("0") or "0")


def _cpi(prefix: str, part: str, serial: str) -> Body:
    if not part:
        raise EpcError("characters", "part reference is empty")
    return Body((prefix, part, serial), (("8010", prefix + part), ("8011", serial)))


def _gid(bits: Bits) -> Body:
    return Body((str(bits.take(28)), str(bits.take(24)), str(bits.take(36))), ())


def _usdod(bits: Bits) -> Body:
    code = bits.take(48).to_bytes(6).decode("latin-1").removeprefix(" ")
    return Body((_cage(code), str(bits.take(36))), ())


def _adi(bits: Bits) -> Body:
    code = "".join(_six_bit(bits.take(6), "CAGE code") for _ in range(6)).removeprefix(" ")
    part = _six_bit_text(bits, 32, "part number")
    serial = _six_bit_text(bits, 30, "serial number")
    if not serial or serial == "#":
        raise EpcError("characters", "serial number is empty")
    return Body((_cage(code), part, serial), ())


def _cage(code: str) -> str:
    """A CAGE code or DoDAAC: 5 or 6 letters (no I, O) and digits. TDS §6.3.13."""
    if len(code) not in {5, 6} or not all("0" <= c <= "9" or ("A" <= c <= "Z" and c not in "IO") for c in code):
        raise EpcError("characters", f"{code!r} is no CAGE code or DoDAAC")
    return code


def _six_bit_text(bits: Bits, characters: int, what: str) -> str:
    """6-bit characters up to a zero one. TDS §14.4.8."""
    text = ""
    while value := bits.take(6):
        text += _six_bit(value, what)
        if len(text) > characters:
            raise EpcError("terminator", f"{what} does not end after {characters} characters")
    if text.endswith(" ") or " " in text:
        raise EpcError("characters", f"{what} holds a space")
    return text


def _six_bit(value: int, what: str) -> str:
    character = chr(value if value >= 32 else value + 64)
    if not ("A" <= character <= "Z" or character in "0123456789-/# "):
        raise EpcError("characters", f"{what}: {value:06b} is no character")
    return character


def _integer(size: int) -> Callable[[Bits], str]:
    return lambda bits: str(bits.take(size))


def _text(characters: int) -> Callable[[Bits], str]:
    return lambda bits: text_of(bits, characters, "serial number")


def _digits(size: int, most: int) -> Callable[[Bits], str]:
    def read(bits: Bits) -> str:
        number = _numeric_string(bits, size, "serial number")
        if len(number) > most:
            raise EpcError("range", f"serial number {number} has more than {most} digits")
        return gs1_text(number, "serial number")

    return read


#: By header, the first 8 bits. TDS §14.2.
SCHEMES = {
    0x2C: Scheme("gdti-96", 96, _thirteen("253", "", 41, _integer(41))),
    0x2D: Scheme("gsrn-96", 96, _seventeen("8018", "service reference", extension=False)),
    0x2E: Scheme("gsrnp-96", 96, _seventeen("8017", "service reference", extension=False)),
    0x2F: Scheme("usdod-96", 96, _usdod, filter_bits=4),
    0x30: Scheme("sgtin-96", 96, _sgtin(_integer(38))),
    0x31: Scheme("sscc-96", 96, _seventeen("00", "serial reference", extension=True)),
    0x32: Scheme("sgln-96", 96, _sgln(_integer(41))),
    0x33: Scheme("grai-96", 96, _thirteen("8003", "0", 44, _integer(38))),
    0x34: Scheme("giai-96", 96, _giai96),
    0x35: Scheme("gid-96", 96, _gid, filter_bits=0),
    0x36: Scheme("sgtin-198", 198, _sgtin(_text(20))),
    0x37: Scheme("grai-170", 170, _thirteen("8003", "0", 44, _text(16))),
    0x38: Scheme("giai-202", 202, _giai202),
    0x39: Scheme("sgln-195", 195, _sgln(_text(20))),
    0x3A: Scheme("gdti-113", 113, _thirteen("253", "", 41, _digits(58, 17))),
    0x3B: Scheme("adi-var", 0, _adi, filter_bits=6),
    0x3C: Scheme("cpi-96", 96, _cpi96),
    0x3D: Scheme("cpi-var", 0, _cpi_var),
    0x3E: Scheme("gdti-174", 174, _thirteen("253", "", 41, _text(17))),
    0x3F: Scheme("sgcn-96", 96, _thirteen("255", "", 41, _digits(41, 12))),
    0x40: Scheme("itip-110", 110, _itip(_integer(38))),
    0x41: Scheme("itip-212", 212, _itip(_text(20))),
}
