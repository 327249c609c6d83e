"""Keyboard layouts beside libxkbcommon, which types on most Linux desktops, and keys beside the kernel's own header."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.drivers.hid import codec
from standards.gs1 import keyboard
from standards.gs1.keyboard import LAYOUTS, Layout, characters, strokes

HEADER = Path("/usr/include/linux/input-event-codes.h")
X_KEYCODE_OFFSET = 8  # X numbers keys from 8 on
DEAD = {"^", "´", "`", "¨"}  # accents that wait for a letter there


class Names(ctypes.Structure):
    """struct xkb_rule_names."""

    _fields_ = tuple((name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options"))


@pytest.fixture(scope="module")
def xkb() -> Callable[[Layout], Callable[[int, int], str]]:
    """The character of a key and level, by layout."""
    name = ctypes.util.find_library("xkbcommon")
    if name is None or not Path("/usr/share/X11/xkb/symbols/us").exists():
        pytest.skip("libxkbcommon and xkb-data are not installed: apt-get install libxkbcommon0 xkb-data")
    lib = ctypes.CDLL(name)
    lib.xkb_context_new.restype = lib.xkb_keymap_new_from_names.restype = ctypes.c_void_p
    lib.xkb_keymap_new_from_names.argtypes = [ctypes.c_void_p, ctypes.POINTER(Names), ctypes.c_int]
    found = ctypes.POINTER(ctypes.c_uint32)
    lib.xkb_keymap_key_get_syms_by_level.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 3, ctypes.POINTER(found)]
    lib.xkb_keysym_to_utf32.restype = ctypes.c_uint32
    context = lib.xkb_context_new(0)

    def layout_of(layout: Layout) -> Callable[[int, int], str]:
        names = Names(b"evdev", b"pc105", layout.encode(), b"", b"")
        keymap = lib.xkb_keymap_new_from_names(context, ctypes.byref(names), 0)
        assert keymap

        def character(key: int, level: int) -> str:
            symbols = found()
            count = lib.xkb_keymap_key_get_syms_by_level(
                keymap, key + X_KEYCODE_OFFSET, 0, level, ctypes.byref(symbols)
            )
            return chr(lib.xkb_keysym_to_utf32(symbols[0])) if count else ""

        return character

    return layout_of


@pytest.mark.parametrize("layout", [*LAYOUTS, "vn"])
def test_layout_is_the_one_that_linux_types_with(
    layout: Layout, xkb: Callable[[Layout], Callable[[int, int], str]]
) -> None:
    """`vn` is compared with xkb's `us`: scanners know no Vietnamese letters, and its keys are the American ones."""
    theirs = xkb("us" if layout == "vn" else layout)
    differing = {
        (stroke, ours): theirs(*stroke)
        for stroke, ours in characters(layout).items()
        if theirs(*stroke) != ours and stroke != (keyboard.KEY_SPACE, keyboard.SHIFT)
    }
    assert {ours for _, ours in differing} <= DEAD
    assert set(differing.values()) <= {"\0"}  # a dead key has no character of its own


def test_keys_have_the_numbers_of_the_kernel() -> None:
    if not HEADER.exists():
        pytest.skip(f"{HEADER} is not there: apt-get install linux-libc-dev")
    numbers = {
        name: int(number, 0)
        for name, number in re.findall(r"^#define\s+(\w+)\s+(0x[0-9a-f]+|\d+)\b", HEADER.read_text(), re.MULTILINE)
    }
    header_names = {"KEY_LEFT_BRACE": "KEY_LEFTBRACE", "KEY_RIGHT_BRACE": "KEY_RIGHTBRACE"}
    for module in (codec, keyboard):
        for name, value in vars(module).items():
            if re.match(r"(KEY|EV|SYN)_", name):
                assert numbers[header_names.get(name, name)] == value, name
    for digit in "0123456789":
        assert keyboard.KEYPAD[numbers[f"KEY_KP{digit}"]] == digit
        assert strokes("us")[digit] == (numbers[f"KEY_{digit}"], keyboard.PLAIN)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        assert strokes("us")[letter] == (numbers[f"KEY_{letter.upper()}"], keyboard.PLAIN)
