"""Keyboard layouts, as far as a scanner that plays a keyboard needs them: which key gives which character. Pure.

Called by the HID driver, which turns keys into text, and by `damage`, which finds out that a text went through two
layouts that disagree. Keys are the numbers of Linux (`KEY_…` of linux/input-event-codes.h), which follow the place of
a key and not what is printed on it. Layouts as in xkeyboard-config `us`, `de` and `fr`; accents that wait for the next
letter there (´ ` ^ on a German keyboard) stand for themselves here: no GS1 value holds one.
"""

from __future__ import annotations

import functools
from typing import Literal

Layout = Literal["us", "de", "fr", "vn"]
LAYOUTS: tuple[Layout, ...] = ("us", "de", "fr")  #: that differ; Vietnamese keyboards are `us` with an input method
LAYOUT_NAMES: dict[Layout, str] = {"us": "US", "de": "German", "fr": "French", "vn": "Vietnamese"}

PLAIN, SHIFT, ALTGR = 0, 1, 2
Stroke = tuple[int, int]  #: (key, level): one character of a layout

KEY_SPACE = 57
KEY_102ND = 86  # beside the left Shift; keyboards made for the USA do not have it
KEY_LEFT_BRACE, KEY_RIGHT_BRACE, KEY_BACKSLASH, KEY_6, KEY_MINUS = 26, 27, 43, 7, 12

# The four rows of a keyboard with their keys; the third has the key right of Enter's lower half, the fourth the one
# beside the left Shift.
_KEYS = (
    (41, *range(2, 14)),
    (*range(16, 28),),
    (*range(30, 41), 43),
    (KEY_102ND, *range(44, 54)),
)
_ROWS: dict[str, tuple[tuple[str, str], ...]] = {  # plain, with Shift
    "us": (
        ("`1234567890-=", "~!@#$%^&*()_+"),
        ("qwertyuiop[]", "QWERTYUIOP{}"),
        ("asdfghjkl;'\\", 'ASDFGHJKL:"|'),
        ("<zxcvbnm,./", ">ZXCVBNM<>?"),
    ),
    "de": (
        ("^1234567890ß´", '°!"§$%&/()=?`'),
        ("qwertzuiopü+", "QWERTZUIOPÜ*"),
        ("asdfghjklöä#", "ASDFGHJKLÖÄ'"),
        ("<yxcvbnm,.-", ">YXCVBNM;:_"),
    ),
    "fr": (
        ("²&é\"'(-è_çà)=", "~1234567890°+"),
        ("azertyuiop^$", "AZERTYUIOP¨£"),
        ("qsdfghjklmù*", "QSDFGHJKLM%µ"),
        ("<wxcvbn,;:!", ">WXCVBN?./§"),
    ),
}
_ALTGR = {
    "us": {},
    "de": {3: "²", 4: "³", 8: "{", 9: "[", 10: "]", 11: "}", 12: "\\", 16: "@", 18: "€", 27: "~", 86: "|", 50: "µ"},
    "fr": {
        3: "~",
        4: "#",
        5: "{",
        6: "[",
        7: "|",
        8: "`",
        9: "\\",
        10: "^",
        11: "@",
        12: "]",
        13: "}",
        18: "€",
        27: "¤",
    },
}

#: The number block, the same in every layout.
KEYPAD = {82: "0", 79: "1", 80: "2", 81: "3", 75: "4", 76: "5", 77: "6", 71: "7", 72: "8", 73: "9"} | {
    83: ".",
    74: "-",
    78: "+",
    55: "*",
    98: "/",
}

#: What Ctrl makes of a key by its place, in every layout: the control characters that no letter gives.
CONTROL_BY_PLACE = {
    KEY_LEFT_BRACE: "\x1b",
    KEY_BACKSLASH: "\x1c",
    KEY_RIGHT_BRACE: "\x1d",  # GS, which is FNC1
    KEY_6: "\x1e",
    KEY_MINUS: "\x1f",
}


@functools.cache
def characters(layout: Layout) -> dict[Stroke, str]:
    """Every stroke of a layout and its character."""
    name = _same_as(layout)
    found = {(KEY_SPACE, level): " " for level in (PLAIN, SHIFT)}
    for keys, (plain, shift) in zip(_KEYS, _ROWS[name], strict=True):
        found |= {(key, PLAIN): character for key, character in zip(keys, plain, strict=True)}
        found |= {(key, SHIFT): character for key, character in zip(keys, shift, strict=True)}
    return found | {(key, ALTGR): character for key, character in _ALTGR[name].items()}


@functools.cache
def strokes(layout: Layout) -> dict[str, Stroke]:
    """How each character of a layout is typed: the plainest way."""
    found: dict[str, Stroke] = {}
    plainest = sorted(characters(layout), key=lambda stroke: (stroke[0] == KEY_102ND, stroke[1], stroke[0]))
    for stroke in plainest:
        found.setdefault(characters(layout)[stroke], stroke)
    return found


def retype(text: str, *, read_as: Layout, typed_as: Layout) -> str | None:
    """What was meant by a text that came out under `read_as` of strokes meant for `typed_as`; None if it cannot be.

    Control characters and what is typed alike stay. A reader that knows no AltGr gave the plain character of the key;
    a `]` at the start of a code is found through that, too.
    """
    back, meant = strokes(read_as), characters(typed_as)
    out: list[str] = []
    for at, character in enumerate(text):
        if character < " ":
            out.append(character)
            continue
        if at == 0 and _may_be_bracket(character, read_as, typed_as):
            out.append("]")
            continue
        stroke = back.get(character)
        if stroke is None or stroke not in meant:
            return None
        out.append(meant[stroke])
    return "".join(out)


def _may_be_bracket(character: str, read_as: Layout, typed_as: Layout) -> bool:
    key, level = strokes(typed_as)["]"]
    given = characters(read_as)
    return character in {given.get((key, level)), given[key, PLAIN] if level == ALTGR else None}


def _same_as(layout: Layout) -> str:
    return "us" if layout == "vn" else layout
