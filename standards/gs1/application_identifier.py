"""What our strictness adds to an AI table: where check digits and dates stand, and which AIs travel together.

The lengths and character sets of the AIs come from the parser behind `element_string`; the tables here are the
rules it doesn't apply. Source: GS1 General Specifications §3 (the AIs' own sections) and §4.14 (data
relationships), and for paths GS1 Digital Link URI Syntax §4.
"""

from __future__ import annotations

import calendar
import re

from standards.gs1.check_digit import has_valid_check_digit


class Gs1Error(ValueError):
    """An element string, a key or a URI is refused. `ai` names the element, `str()` says what and why."""

    def __init__(self, ai: str, reason: str) -> None:
        super().__init__(f"({ai}) {reason}" if ai else reason)
        self.ai = ai


class TooLong(Gs1Error):
    """A value of variable length runs on beyond what its format allows: often into the next element."""


# The characters a GS1 element string may hold: the 82 of ISO/IEC 646 in GS1 General Specifications §7.11.
CHARACTERS = frozenset("!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")

# AI → [start, end) of the digits that end with a check digit.
_CHECKED = {
    **dict.fromkeys(("00", "8017", "8018"), (0, 18)),
    **dict.fromkeys(("01", "02", "03", "8006", "8026"), (0, 14)),
    **{f"41{digit}": (0, 13) for digit in "01234567"},
    "253": (0, 13),
    "255": (0, 13),
    "402": (0, 17),
    "8003": (1, 14),  # behind a leading zero
}

# AI → the parts of its value: D = YYMMDD with day 00 for "sometime in the month", d = YYMMDD, t = HHMM,
# T = HH with MM and SS optional, [] = optional.
_DATES = {
    **dict.fromkeys(("11", "12", "13", "15", "16", "17"), "D"),
    **dict.fromkeys(("4324", "4325"), "Dt"),
    "4326": "d",
    "7003": "dt",
    "7006": "d",
    "7007": "d[d]",
    "7011": "d[t]",
    "8008": "dT",
}

_PIECE_OF_TOTAL = {"8006": 14, "8026": 14}

# Primary key → its qualifiers in the order they must stand in a path. GS1 Digital Link URI Syntax §4.
QUALIFIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "00": ((),),
    "01": (("22", "10", "21"), ("235",)),
    "253": ((),),
    "255": ((),),
    "401": ((),),
    "402": ((),),
    "414": (("254",), ("7040",)),
    "415": (("8020",),),
    "417": (("7040",),),
    "8003": ((),),
    "8004": (("7040",),),
    "8006": (("22", "10", "21"),),
    "8010": (("8011",),),
    "8013": ((),),
    "8017": (("8019",),),
    "8018": (("8019",),),
}

# AIs that cannot stand in one message. GS1 General Specifications §4.14.1.
_EXCLUSIVE = (
    ("01", "02"),
    ("01", "03"),
    ("01", "37"),
    ("01", "255"),
    ("02", "03"),
    ("03", "37"),
    ("03", "235"),
    ("8006", "01"),
    ("8006", "03"),
    ("8006", "37"),
    ("8017", "8018"),
    ("255", "02"),
    ("255", "415"),
    ("255", "8006"),
    ("255", "8020"),
    ("255", "8026"),
    ("8026", "02"),
    ("8026", "03"),
    ("8026", "8006"),
)


def check_value(ai: str, value: str) -> None:
    """Refuse wrong check digits, impossible dates and piece counts. Raises Gs1Error."""
    if ai in _CHECKED:
        start, end = _CHECKED[ai]
        number = value[start:end]
        if len(number) != end - start or not has_valid_check_digit(number):
            raise Gs1Error(ai, f"the check digit of {number[:20]!r} is wrong: a misread or mistyped code")
        if ai == "8003" and value[0] != "0":
            raise Gs1Error(ai, "must start with 0")
    if ai in _DATES:
        _check_dates(ai, value)
    if ai in _PIECE_OF_TOTAL:
        at = _PIECE_OF_TOTAL[ai]
        piece, total = int(value[at : at + 2]), int(value[at + 2 : at + 4])
        if not 1 <= piece <= total:
            raise Gs1Error(ai, f"piece {piece} of {total} cannot be")


def check_together(ais: tuple[str, ...]) -> None:
    """Refuse an AI that stands twice and AIs that exclude each other. Raises Gs1Error."""
    for at, ai in enumerate(ais):
        if ai in ais[:at]:
            raise Gs1Error(ai, "stands more than once")
    for one, other in _EXCLUSIVE:
        if one in ais and other in ais:
            raise Gs1Error(one, f"cannot stand together with ({other})")


def _check_dates(ai: str, value: str) -> None:
    rest = value
    for part in re.findall(r"\[?[DdtT]\]?", _DATES[ai]):
        kind = part.strip("[]")
        if part.startswith("[") and not rest:
            continue
        length = {"D": 6, "d": 6, "t": 4}.get(kind, len(rest))
        text, rest = rest[:length], rest[length:]
        ok = _is_date(text, day_may_be_zero=kind == "D") if kind in "Dd" else _is_time(text, kind)
        if not ok:
            raise Gs1Error(ai, f"{text!r} is not a {'date (YYMMDD)' if kind in 'Dd' else 'time (HHMM)'}")
    if rest:
        raise Gs1Error(ai, f"{value!r} has {len(rest)} characters too many")


def _is_date(text: str, *, day_may_be_zero: bool) -> bool:
    if len(text) != 6 or not text.isdigit():
        return False
    month, day = int(text[2:4]), int(text[4:6])
    if not 1 <= month <= 12:
        return False
    # Without a clock the century is open; 2000 was a leap year, and 1900 and 2100 are half a century away.
    longest = calendar.monthrange(2000 + int(text[:2]), month)[1]
    return (0 if day_may_be_zero else 1) <= day <= longest


def _is_time(text: str, kind: str) -> bool:
    if not text.isdigit() or len(text) not in ({4} if kind == "t" else {2, 4, 6}):
        return False
    parts = [int(text[at : at + 2]) for at in range(0, len(text), 2)]
    return parts[0] <= 23 and all(part <= 59 for part in parts[1:])
