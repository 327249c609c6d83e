"""The verdict on one scan: GS1 data, somebody's own code, or refused, with the reason and the damage by name. Pure.

Called by scanner drivers (accepted or rejected feedback) and by decoding filters. The code itself is never changed:

    gs1      reads as GS1 data by our strict rules: `values` holds it
    plain    claims to be nothing of GS1's: an internal number, a web address, a code on somebody's own card
    refused  claims to be GS1 data and breaks its rules, or was damaged on the way; `reason` says what and what to do

What claims to be GS1 data: a symbol made for it (]C1, ]e0, ]d2, ]Q3, ]J1, EAN/UPC, ITF-14), a Digital Link's path, and,
where the scanner sends no AIM identifier, whatever looks like a GTIN, an SSCC, or an element string that begins so.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from standards.gs1 import damage, scan
from standards.gs1.application_identifier import Gs1Error
from standards.gs1.damage import Damage

#: What a code of one's own may hold, and no GS1 data.
_HARMLESS = frozenset({"noise", "input_method"})
#: Symbols that claim GS1 data by themselves.
CLAIMING = frozenset({"C1", "e0", "d2", "Q3", "J1", "E0", "E4", "I1"})
_ELEMENTS = re.compile(r"\x1d|0[123][0-9]{14}|00[0-9]{18}|41[0-7][0-9]{13}|8003[0-9]{14}|8006[0-9]{18}")
_BARE = re.compile(r"[0-9]{8}|[0-9]{12,14}|[0-9]{18}")
_LINK = re.compile(r"https?://[^?#]*/(?:01/[0-9]{8,14}|00/[0-9]{18}|414/[0-9]{13})(?:[/?#]|\Z)", re.IGNORECASE)
_DAMAGED_PREFIX = re.compile(r"\][A-Za-z][0-9A-Za-z]")


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be thought of a code, which stays as it was read. values: (AI, value) in the order of the label.

    damage: one of `damage.Kind`, empty when nothing but a rule of GS1 is broken, or none.
    """

    code: str
    symbology: str
    kind: Literal["gs1", "plain", "refused"]
    values: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    damage: damage.Kind | Literal[""] = ""


def judge(code: str, symbology: str = "", *, aim_expected: bool = False) -> Verdict:
    """The verdict on a code whose AIM identifier has been taken off (symbology, without `]`). Never raises.

    aim_expected: the scanner is set to send AIM identifiers, so a code without one has lost it.
    """
    if aim_expected and not symbology:
        return _without_aim(code)
    try:
        read = scan.parse(code, symbology)
    except Gs1Error as error:
        return _not_read(code, symbology, error)
    lost = damage.swallowed(read)
    if lost is not None:
        return refused(code, symbology, lost)
    return Verdict(code, symbology, "gs1", read.values)


def decode(text: str) -> Verdict:
    """The verdict on a scanner's line as it comes: with its AIM identifier if it sends one, without suffix."""
    found = _DAMAGED_PREFIX.match(text)
    return judge(text[3:], text[1:3]) if found else judge(text)


def refused(code: str, symbology: str, found: Damage) -> Verdict:
    """The verdict on a code that was damaged on the way."""
    return Verdict(code, symbology, "refused", reason=found.what, damage=found.kind)


def _not_read(code: str, symbology: str, error: Gs1Error) -> Verdict:
    found = damage.find(code, symbology, error)
    if found is not None and (found.kind not in _HARMLESS or _claims(code, symbology)):
        return refused(code, symbology, found)
    if not symbology and _BARE.fullmatch(code):
        return Verdict(code, symbology, "refused", reason=_BARE_REASON)
    if _claims(code, symbology):
        return Verdict(code, symbology, "refused", reason=str(error))
    return Verdict(code, symbology, "plain")


def _without_aim(code: str) -> Verdict:
    try:
        scan.parse(code)
    except Gs1Error as error:
        found = damage.find(code, "", error)
        if found is not None:
            return refused(code, "", found)
    what = (
        "no AIM identifier, which this scanner is said to send (require_aim): it was lost, or typed as something else"
    )
    return refused(code, "", Damage("no_aim", what))


def _claims(code: str, symbology: str) -> bool:
    if symbology:
        return symbology in CLAIMING or _LINK.match(code) is not None
    return any(pattern.match(code) for pattern in (_ELEMENTS, _LINK))


_BARE_REASON = "a bare number, which could be many things: let the scanner send AIM identifiers"
