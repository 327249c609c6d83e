"""What a scanner sent → application identifiers and values, whatever the symbol: the way in for every scan.

AIM identifiers (ISO/IEC 15424) say what kind of symbol was read: only some may hold GS1 data, and each in one way.
"""

from __future__ import annotations

import msgspec

from standards.gs1 import digital_link, element_string
from standards.gs1.application_identifier import Gs1Error
from standards.gs1.check_digit import has_valid_check_digit
from standards.gs1.element_string import ElementString

# Symbols that carry element strings: GS1-128, DataBar and composite, DataMatrix, QR Code, DotCode.
_ELEMENT_STRING = frozenset({"C1", "e0", "d2", "Q3", "J1"})
# Plain two-dimensional symbols, in which only a GS1 Digital Link URI means something to us.
_PLAIN = frozenset({"Q1", "d1", "J0"})
# Symbols that hold one GTIN, and its digits: EAN-13/UPC, EAN-8, ITF-14.
_GTIN_DIGITS = {"E0": 13, "E4": 8, "I1": 14}


def parse(text: str, symbology: str = "") -> ElementString:
    """Read one scan. Raises Gs1Error naming the AI and the reason.

    symbology: the AIM identifier without `]`, when the scanner's driver has split it off; otherwise `text` may
    start with it (`]C1…`). Without any, an element string or a Digital Link URI is expected; a bare EAN number
    is refused then, because it reads as an element string too (7032069804988 would be AI 7032).
    """
    if not symbology and text.startswith("]"):
        symbology, text = text[1:3], text[3:]
    if symbology in _GTIN_DIGITS:
        return ElementString((("01", _bare_gtin(text, _GTIN_DIGITS[symbology])),), symbology)
    if symbology and symbology not in _ELEMENT_STRING | _PLAIN:
        raise Gs1Error("", f"symbology ]{symbology[:8]} carries no GS1 data")
    if symbology not in _ELEMENT_STRING and _is_web_uri(text):
        return ElementString(digital_link.parse(text).values, symbology)
    if symbology in _PLAIN:
        raise Gs1Error("", f"]{symbology} holds no GS1 Digital Link URI (https://…/01/…)")
    if not symbology and _is_bare_ean(text):
        raise Gs1Error("", "a bare number without symbology: let the scanner send AIM identifiers")
    return msgspec.structs.replace(element_string.parse(text), symbology=symbology)


def _is_web_uri(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def _is_bare_ean(text: str) -> bool:
    return len(text) in {8, 12, 13} and text.isdigit()


def _bare_gtin(text: str, digits: int) -> str:
    if len(text) != digits or not has_valid_check_digit(text):
        raise Gs1Error("01", f"{text[:20]!r} is not a GTIN of {digits} digits with a right check digit")
    return text.zfill(14)
