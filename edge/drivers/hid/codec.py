"""Key events of a scanner that plays a keyboard ↔ codes. Pure; driver and simulator share it.

Linux hands out `struct input_event` (linux/input.h): two longs of time, type and code of 16 bits, value of 32 bits; in
the word size of this machine, so 24 bytes on 64 bits and 16 on 32 (also for a 32-bit program on a 64-bit kernel).
A key event is EV_KEY with KEY_… and 1 (down), 0 (up) or 2 (the kernel repeats: no scanner holds a key, so ignored).

Characters come from the layout that scanner and configuration agree on (standards/gs1/keyboard.py). Scanners type
control characters as Ctrl with a letter or one of the keys ] \\ [ 6 -, or as Alt held while the digits of the number
block give the character's number.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from edge.drivers.barcode.codec import Code, Overlong, split
from standards.gs1.keyboard import (
    ALTGR,
    CONTROL_BY_PLACE,
    KEYPAD,
    LAYOUT_NAMES,
    PLAIN,
    SHIFT,
    Layout,
    characters,
    strokes,
)
from wire.observation import CODE_MAX_BYTES

HidSuffix = Literal["enter", "tab"]

EVENT = struct.Struct("@llHHi")
EV_SYN, EV_KEY = 0x00, 0x01
SYN_REPORT, SYN_DROPPED = 0, 3
UP, DOWN = 0, 1
KEY_TAB, KEY_ENTER, KEY_KPENTER = 15, 28, 96
KEY_LEFTCTRL, KEY_RIGHTCTRL, KEY_LEFTSHIFT, KEY_RIGHTSHIFT, KEY_LEFTALT, KEY_RIGHTALT = 29, 97, 42, 54, 56, 100
KEY_LEFTMETA, KEY_RIGHTMETA, KEY_CAPSLOCK, KEY_NUMLOCK, KEY_SCROLLLOCK = 125, 126, 58, 69, 70

_MODIFIERS = frozenset(
    {KEY_LEFTCTRL, KEY_RIGHTCTRL, KEY_LEFTSHIFT, KEY_RIGHTSHIFT, KEY_LEFTALT, KEY_RIGHTALT, KEY_LEFTMETA, KEY_RIGHTMETA}
)
_LOCKS = frozenset({KEY_NUMLOCK, KEY_SCROLLLOCK})
_GIVEN = {KEY_ENTER: "\r", KEY_KPENTER: "\r", KEY_TAB: "\t"}
_ENDS: dict[HidSuffix, str] = {"enter": "\r\n", "tab": "\t"}
_CHARS_MAX = CODE_MAX_BYTES + 3  # with an AIM identifier
ALT_DIGITS_MAX = 4
ODD_KEYS_SHOWN = 4


class KeyEvent(NamedTuple):
    """One key going DOWN or UP."""

    key: int
    value: int


class Decoder:
    """Turns event records into codes, however they arrive. Never holds more than one code's worth."""

    def __init__(self, layout: Layout = "us", suffix: HidSuffix = "enter", *, aim: bool = True, fnc1: str = "") -> None:
        self._layout = layout
        self._end = _ENDS[suffix]
        self._aim = aim
        self._fnc1 = fnc1
        self._rest = b""
        self._held: set[int] = set()  # modifiers that are down
        self._caps = False
        self._skipping = False  # after SYN_DROPPED, up to the next SYN_REPORT
        self._alt_digits = ""
        self._start()

    @property
    def pending(self) -> int:
        """How many characters of a code wait for its end."""
        return len(self._text) + self._dropped

    @property
    def held(self) -> str:
        """What has come of a code that waits for its end."""
        return "".join(self._text)

    def feed(self, data: bytes) -> list[Code | Overlong]:
        """Take records, whole or not; give what became complete, in order."""
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        found: list[Code | Overlong] = []
        for _, _, kind, code, value in EVENT.iter_unpack(data[:whole]):
            if kind == EV_SYN:
                self._sync(code)
            elif kind == EV_KEY and not self._skipping:
                found += self._key(code, value)
        return found

    def discard(self) -> int:
        """Forget an unfinished code and what is held down; returns how many characters it had."""
        size = self.pending
        self._rest = b""
        self._held.clear()
        self._alt_digits = ""
        self._skipping = self._caps = False
        self._start()
        return size

    def _start(self) -> None:
        self._text: list[str] = []
        self._dropped = 0  # characters of an overlong code that are gone already
        self._lost = False
        self._odd: list[str] = []

    def _sync(self, code: int) -> None:
        if code == SYN_DROPPED:  # we were too slow: nobody knows what is held down now
            self._skipping = self._lost = True
            self._held.clear()
            self._alt_digits = ""
        elif code == SYN_REPORT:
            self._skipping = False

    def _key(self, key: int, value: int) -> Iterator[Code | Overlong]:
        if key in _MODIFIERS:
            yield from self._take(self._modifier(key, value))
        elif value == DOWN and key == KEY_CAPSLOCK:
            self._caps = not self._caps
        elif value == DOWN and key not in _LOCKS:
            yield from self._take(self._character(key))

    def _modifier(self, key: int, value: int) -> str:
        """The character that letting go of Alt gives, if digits were typed with it."""
        if value == DOWN:
            self._held.add(key)
        elif value == UP:
            self._held.discard(key)
            if key == KEY_LEFTALT and self._alt_digits:
                number, self._alt_digits = int(self._alt_digits), ""
                if number < 0x80:
                    return chr(number)
                self._note(f"Alt+{number}")
        return ""

    def _take(self, character: str) -> Iterator[Code | Overlong]:
        if not character:
            return
        if character in self._end:
            yield from self._finish()
        elif len(self._text) >= _CHARS_MAX:
            self._dropped += len(self._text)
            self._text = [character]
        else:
            self._text.append(character)

    def _finish(self) -> Iterator[Code | Overlong]:
        text, dropped, trouble = "".join(self._text), self._dropped, self._trouble()
        self._start()
        self._alt_digits = ""
        code = split(text, aim=self._aim, fnc1=self._fnc1)
        if dropped or len(code.text.encode()) > CODE_MAX_BYTES:
            yield Overlong(dropped + len(text.encode()))
        elif code.text:
            yield Code(code.text, code.symbology, trouble)

    def _character(self, key: int) -> str:
        """What a key gives now; empty for nothing, which is noted unless it is as it should be."""
        if key in _GIVEN:
            return _GIVEN[key]
        ctrl = bool(self._held & {KEY_LEFTCTRL, KEY_RIGHTCTRL})
        alt = KEY_LEFTALT in self._held
        altgr = KEY_RIGHTALT in self._held or (ctrl and alt)  # Windows takes Ctrl and Alt for AltGr; so do scanners
        if altgr:
            return self._with_altgr(key)
        if alt:
            return self._with_alt(key)
        if ctrl:
            return self._with_ctrl(key)
        if key in KEYPAD:
            return KEYPAD[key]
        shift = bool(self._held & {KEY_LEFTSHIFT, KEY_RIGHTSHIFT})
        character = characters(self._layout).get((key, SHIFT if shift else PLAIN), "")
        if not character:
            self._note(f"key {key}")
        swapped = character.swapcase() if self._caps and character.isalpha() else character
        return swapped if len(swapped) == 1 else character  # ß has no single capital

    def _with_altgr(self, key: int) -> str:
        known = characters(self._layout)
        if (key, ALTGR) in known:
            return known[key, ALTGR]
        self._note(f"AltGr+key {key}")
        return known.get((key, PLAIN), "")  # what a computer with this layout makes of it

    def _with_alt(self, key: int) -> str:
        digit = KEYPAD.get(key, "")
        if digit.isdigit() and len(self._alt_digits) < ALT_DIGITS_MAX:
            self._alt_digits += digit
        else:
            self._note(f"Alt+key {key}")
        return ""

    def _with_ctrl(self, key: int) -> str:
        character = characters(self._layout).get((key, PLAIN), "")
        if character.isascii() and character.isalpha():
            return chr(ord(character) & 0x1F)
        if key in CONTROL_BY_PLACE:
            return CONTROL_BY_PLACE[key]
        self._note(f"Ctrl+key {key}")
        return ""

    def _note(self, what: str) -> None:
        if len(self._odd) <= ODD_KEYS_SHOWN:
            self._odd.append(what)

    def _trouble(self) -> str:
        if self._lost:
            return "key events were lost on the way to us (SYN_DROPPED), so characters are missing: scan again"
        if self._odd:
            odd = ", ".join(self._odd[:ODD_KEYS_SHOWN]) + (" …" if len(self._odd) > ODD_KEYS_SHOWN else "")
            name = LAYOUT_NAMES[self._layout]
            return f"{odd}: no character on a {name} keyboard; set the scanner's country and `layout` alike"
        return ""


def type_text(text: str, layout: Layout = "us", *, caps_lock: bool = False) -> list[KeyEvent]:
    """The keys by which a scanner types a text, control characters included. Raises ValueError for what it cannot.

    caps_lock: the scanner allows for a Caps Lock that is not on, so its letters come out the wrong size.
    """
    known = strokes(layout)
    by_control = {character: key for key, character in CONTROL_BY_PLACE.items()}
    given = {"\r": KEY_ENTER, "\t": KEY_TAB}
    events: list[KeyEvent] = []
    for character in text:
        wanted = character.swapcase() if caps_lock and re.fullmatch("[A-Za-z]", character) else character
        if wanted in given:
            events += _stroke(given[wanted])
        elif wanted in by_control:
            events += _stroke(by_control[wanted], KEY_LEFTCTRL)
        elif wanted < " ":
            events += _stroke(known[chr(ord(wanted) | 0x60)][0], KEY_LEFTCTRL)
        elif wanted in known:
            key, level = known[wanted]
            held = {PLAIN: (), SHIFT: (KEY_LEFTSHIFT,), ALTGR: (KEY_RIGHTALT,)}[level]
            events += _stroke(key, *held)
        else:
            raise ValueError(f"{wanted!r} is on no key of a {LAYOUT_NAMES[layout]} keyboard")
    return events


def encode(events: list[KeyEvent]) -> bytes:
    """The records the kernel hands out for key events, each with its report."""
    report = EVENT.pack(0, 0, EV_SYN, SYN_REPORT, 0)
    return b"".join(EVENT.pack(0, 0, EV_KEY, event.key, event.value) + report for event in events)


def _stroke(key: int, *held: int) -> list[KeyEvent]:
    down = [KeyEvent(one, DOWN) for one in (*held, key)]
    return down + [KeyEvent(one, UP) for one in (key, *reversed(held))]
