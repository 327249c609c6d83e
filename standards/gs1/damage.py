"""What has happened to a code that is not what its label says: the ways scanners and their settings spoil codes. Pure.

Called by `verdict` for codes that break the rules. Each way is looked for by undoing it: what then reads as GS1 data
was most likely that, and the person at the scanner is told what to change. Nothing is repaired: a code that was
read wrongly is scanned again, not guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import permutations
from typing import Literal, NamedTuple

from standards.gs1 import scan
from standards.gs1.application_identifier import CHARACTERS, Gs1Error, TooLong
from standards.gs1.check_digit import has_valid_check_digit
from standards.gs1.element_string import SEPARATOR, ElementString
from standards.gs1.keyboard import LAYOUT_NAMES, LAYOUTS, retype

Kind = Literal[
    "layout", "caps_lock", "gs_lost", "gs_replaced", "input_method", "joined", "parity", "noise", "keys", "no_aim"
]
JUDGED_CHARACTERS = 512  # a longer code is no label's; undoing each kind of damage in it would take too long
PARITY_MIN_CHARACTERS = 4  # with the eighth bit set: parity sets it on about half, and no label has fewer than 8

#: What scanners send for FNC1 in place of GS, if they are set so; no GS1 value holds any of these.
SUBSTITUTES = ("<GS>", "{GS}", "[GS]", "^]", "\\x1d", "\\u001d", "\\035", "#", "|", "^", "~", "@", "$", "\x1e", "\t")
_IDENTIFIER = re.compile(r"\](C1|e0|d2|Q3|J1|E0|E4|I1|Q1|d1|J0|C0|A0)")
_KEYED = frozenset({"00", "01", "02", "03", "253", "255", "402", "410", "414", "417", "8003", "8004", "8006"})
_SWALLOWED = re.compile(r"(?=(00[0-9]{18}|0[123][0-9]{14}|41[0-7][0-9]{13}))")
_VIETNAMESE = frozenset("ăâđêôơư")


class Damage(NamedTuple):
    """One kind of damage, and for people: what is wrong, and what to change.

    keys (keystrokes without a character) and no_aim (a code without the AIM identifier that was asked for) are known
    to whoever reads the scanner; the others are found here.
    """

    kind: Kind
    what: str


def find(text: str, symbology: str, error: Gs1Error) -> Damage | None:
    """The damage that explains best why a code was refused with `error`; None when it is just not GS1 data.

    text: without AIM identifier, which is `symbology` (without `]`), if there was one.
    """
    if len(text) > JUDGED_CHARACTERS:
        return None
    whole = f"]{symbology}{text}" if symbology else text
    return next((damage for damage in _damages(whole, text, symbology, error)), None)


def swallowed(read: ElementString) -> Damage | None:
    """A GS that was lost or replaced without breaking a rule, because the value has room for what follows.

    Known by a whole key with its right check digit inside a value, or by the word for GS.
    """
    for ai, value in read.values:
        if "<GS>" in value:
            return Damage("gs_replaced", _replaced("<GS>"))
        if ai in {"10", "21", "22", "240", "241", "250", "251", "254", "400"}:
            for found in _SWALLOWED.finditer(value):
                key = found[1]
                length = 3 if key.startswith("41") else 2
                if found.start() and has_valid_check_digit(key[length:]):
                    what = f"({ai}) {value[:40]!r} has a whole ({key[:length]}) in it: {_KEEP_GS}"
                    return Damage("gs_lost", what)
    return None


_KEEP_GS = "the separator before it (FNC1) was lost; set the scanner to send it as GS (0x1D)"


def _damages(whole: str, text: str, symbology: str, error: Gs1Error) -> Iterator[Damage]:
    second = _IDENTIFIER.search(whole, 1)
    if second is not None:
        what = f"a second code ({second[0]}) begins at position {second.start()}: {_SEND_SUFFIX}"
        yield Damage("joined", what)
    lettered = any(one.isalpha() for one in text)
    if (lettered or symbology != "E0") and _reads(whole.swapcase()):  # digits under ]e0 could read by chance
        what = "reads right with large and small letters swapped: Caps Lock is on, or the scanner allows for it"
        yield Damage("caps_lock", what)
    for substitute in SUBSTITUTES:
        if substitute in text and _reads(whole.replace(substitute, SEPARATOR)):
            yield Damage("gs_replaced", _replaced(substitute))
    yield from _layouts(whole)
    high = sum("\x80" <= character <= "\xff" for character in whole)
    if high >= PARITY_MIN_CHARACTERS and _reads(_seven_bits(whole)):
        what = "reads right without the eighth bit: the scanner sends 7 bits and parity; set bytesize = 7 and parity"
        yield Damage("parity", what)
    if any(unicodedata.normalize("NFC", one).lower() in _VIETNAMESE or _has_tone(one) for one in whole):
        what = "letters with Vietnamese marks: an input method (Telex, VNI) typed along; switch it off"
        yield Damage("input_method", what)
    if isinstance(error, TooLong) and SEPARATOR not in text:
        yield Damage("gs_lost", f"{error}, and there is no separator in the whole code: {_KEEP_GS}")
    noise = next((one for one in whole if not one.isprintable() and one != SEPARATOR), None)
    if noise is not None:
        yield Damage("noise", f"holds {noise!r}: a disturbed line, or other line settings than the scanner's")


def _replaced(substitute: str) -> str:
    return f"FNC1 comes as {substitute!r}: set the scanner to send GS (0x1D), or set fnc1 = {substitute!r}"


_SEND_SUFFIX = "the suffix after the first one is missing; set the scanner to send one after each code"


def _layouts(whole: str) -> Iterator[Damage]:
    for typed_as, read_as in permutations(LAYOUTS, 2):
        meant = retype(whole, read_as=read_as, typed_as=typed_as)
        if meant is not None and meant != whole and _reads(meant):
            scanner, reader = LAYOUT_NAMES[typed_as], LAYOUT_NAMES[read_as]
            what = f"reads right as typed on a {scanner} keyboard and read as a {reader} one: set both alike"
            yield Damage("layout", f"{what} (the scanner's country, or layout = {typed_as!r})")


def _reads(text: str) -> bool:
    """Whether a text is GS1 data beyond chance: by its AIM identifier, or by a key with a check digit."""
    if not CHARACTERS.issuperset(text.replace(SEPARATOR, "").removeprefix("]")):
        return False
    try:
        read = scan.parse(text)
    except Gs1Error:
        return False
    return bool(read.symbology) or any(ai in _KEYED for ai, _ in read.values)


def _seven_bits(text: str) -> str:
    return "".join(chr(ord(one) & 0x7F) if ord(one) <= 0xFF else one for one in text)


def _has_tone(character: str) -> bool:
    """Whether a letter has one of the marks of Vietnamese tones that keyboards of Europe do not give as one key."""
    return any(mark in "\u0309\u0323" for mark in unicodedata.normalize("NFD", character))
