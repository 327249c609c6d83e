"""Key events of a scanner ↔ codes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.drivers.barcode.codec import Code, Overlong
from edge.drivers.hid.codec import (
    DOWN,
    EV_KEY,
    EV_SYN,
    EVENT,
    KEY_CAPSLOCK,
    KEY_ENTER,
    KEY_KPENTER,
    KEY_LEFTALT,
    KEY_LEFTCTRL,
    KEY_TAB,
    SYN_DROPPED,
    SYN_REPORT,
    UP,
    Decoder,
    KeyEvent,
    encode,
    type_text,
)
from standards.gs1.keyboard import LAYOUTS, Layout, characters, strokes
from wire.observation import CODE_MAX_BYTES

GS1 = "010893000000012510Az-7/%\x1d21yZ_1"


def press(*keys: int) -> bytes:
    return encode([KeyEvent(key, value) for key in keys for value in (DOWN, UP)])


def typed(text: str, layout: Layout = "us") -> bytes:
    return encode(type_text(text + "\r", layout))


def test_records_are_those_of_this_machine() -> None:
    """linux/input.h: two longs, two unsigned shorts, an int."""
    assert EVENT.size == 2 * struct.calcsize("@l") + 8
    if struct.calcsize("@l") == 8:
        # As `evtest --grab` and hexdump show them: time, EV_KEY, KEY_A, down; then the report.
        recorded = bytes.fromhex(
            "d0db716800000000 1c0e050000000000 0100 1e00 01000000 d0db716800000000 1c0e050000000000 0000 0000 00000000"
        )
        assert Decoder().feed(recorded + press(KEY_ENTER)) == [Code("a", "")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_character_of_a_layout_is_typed_and_read_again(layout: Layout) -> None:
    text = "".join(dict.fromkeys(characters(layout).values()))
    assert Decoder(layout, aim=False).feed(typed(text, layout)) == [Code(text, "")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_label_comes_through_with_its_separator(layout: Layout) -> None:
    if layout == "us":
        assert Decoder("vn").feed(typed("]C1" + GS1, layout)) == [Code(GS1, "C1")]
    assert Decoder(layout).feed(typed("]C1" + GS1, layout)) == [Code(GS1, "C1")]


def test_layouts_are_those_printed_on_keyboards() -> None:
    """The places that differ, by the number of the key (linux/input-event-codes.h): 21 is Y, 44 is Z in the USA."""
    at = {layout: characters(layout) for layout in LAYOUTS}
    assert [at[layout][21, 0] + at[layout][44, 0] for layout in ("us", "de", "fr")] == ["yz", "zy", "yw"]
    assert [at[layout][16, 0] + at[layout][30, 0] for layout in ("us", "de", "fr")] == ["qa", "qa", "aq"]
    assert [at[layout][2, 0] + at[layout][2, 1] for layout in ("us", "de", "fr")] == ["1!", "1!", "&1"]
    assert [strokes(layout)["]"] for layout in ("us", "de", "fr")] == [(27, 0), (10, 2), (12, 2)]
    assert [strokes(layout)["-"] for layout in ("us", "de", "fr")] == [(12, 0), (53, 0), (7, 0)]


def test_separator_typed_by_its_number_with_alt() -> None:
    keys = [KeyEvent(KEY_LEFTALT, DOWN)]
    keys += [KeyEvent(key, value) for key in (82, 80, 73) for value in (DOWN, UP)]  # 0 2 9 of the number block
    keys += [KeyEvent(KEY_LEFTALT, UP)]
    data = encode(type_text("10A") + keys + type_text("21B\r"))
    assert Decoder().feed(data) == [Code("10A\x1d21B", "")]


def test_ctrl_and_alt_together_are_altgr() -> None:
    keys = [KeyEvent(KEY_LEFTCTRL, DOWN), KeyEvent(KEY_LEFTALT, DOWN), KeyEvent(10, DOWN), KeyEvent(10, UP)]
    keys += [KeyEvent(KEY_LEFTALT, UP), KeyEvent(KEY_LEFTCTRL, UP)]
    assert Decoder("de").feed(encode(keys + type_text("C1x\r", "de"))) == [Code("x", "C1")]


def test_number_block_and_its_enter() -> None:
    assert Decoder().feed(press(79, 80, 81, 83, KEY_KPENTER)) == [Code("123.", "")]


def test_caps_lock_swaps_letters_until_pressed_again() -> None:
    data = press(KEY_CAPSLOCK) + typed("aB1ß", "de") + press(KEY_CAPSLOCK) + typed("aB1", "de")
    assert Decoder("de").feed(data) == [Code("Ab1ß", ""), Code("aB1", "")]


def test_repeats_of_the_kernel_and_other_events_are_no_characters() -> None:
    noise = EVENT.pack(0, 0, 4, 4, 458_756) + EVENT.pack(0, 0, EV_KEY, 30, 2) + EVENT.pack(0, 0, 0x11, 1, 1)
    assert Decoder().feed(noise + typed("b")) == [Code("b", "")]


def test_suffix_is_the_configured_key() -> None:
    assert Decoder(suffix="tab").feed(press(30, KEY_ENTER, 48, KEY_TAB)) == [Code("a\rb", "")]
    assert Decoder().feed(press(KEY_ENTER, 30, KEY_TAB, 48, KEY_ENTER, KEY_ENTER)) == [Code("a\tb", "")]


def test_keys_without_a_character_are_named() -> None:
    [code] = Decoder().feed(press(59, 60, 61, 62, 63, 64) + typed("x"))  # F1 …
    assert isinstance(code, Code)
    assert code.text == "x"
    assert code.trouble.startswith("key 59, key 60, key 61, key 62 …: no character on a US keyboard")
    assert Decoder().feed(typed("next")) == [Code("next", "")]


def test_lost_events_are_told_with_the_code_they_are_missing_from() -> None:
    dropped = EVENT.pack(0, 0, EV_SYN, SYN_DROPPED, 0)
    report = EVENT.pack(0, 0, EV_SYN, SYN_REPORT, 0)
    shift = encode([KeyEvent(42, DOWN)])  # whose release is lost
    skipped = press(30)[: EVENT.size]
    decoder = Decoder()
    [code] = decoder.feed(encode(type_text("AB")) + shift + dropped + skipped + report + typed("cd"))
    assert isinstance(code, Code)
    assert code.text == "ABcd"
    assert "SYN_DROPPED" in code.trouble
    assert decoder.feed(typed("whole")) == [Code("whole", "")]


def test_endless_code_is_dropped_up_to_its_end_and_told() -> None:
    decoder = Decoder()
    for _ in range(10):
        assert decoder.feed(encode(type_text("x" * 1000))) == []
        assert len(decoder.held) <= CODE_MAX_BYTES + 3
    assert decoder.pending == 10_000
    assert decoder.feed(typed("")) == [Overlong(10_000)]
    assert decoder.feed(typed("next")) == [Code("next", "")]


def test_characters_by_number_are_bounded_too() -> None:
    gs = encode([KeyEvent(KEY_LEFTALT, DOWN), *[KeyEvent(key, value) for key in (80, 73) for value in (DOWN, UP)]])
    decoder = Decoder()
    for _ in range(6000):
        decoder.feed(gs + encode([KeyEvent(KEY_LEFTALT, UP)]))
    assert len(decoder.held) <= CODE_MAX_BYTES + 3
    assert decoder.feed(typed("")) == [Overlong(6000)]


def test_discard_forgets_a_half_code_and_what_is_held_down() -> None:
    decoder = Decoder()
    decoder.feed(encode([KeyEvent(42, DOWN)]) + press(30) + b"half a record")
    assert (decoder.held, decoder.discard()) == ("A", 1)
    assert decoder.feed(typed("b")) == [Code("b", "")]


def test_what_no_key_gives_cannot_be_typed() -> None:
    with pytest.raises(ValueError, match="no key of a French keyboard"):
        type_text("ß", "fr")


@given(
    st.lists(st.text("ABCxyz0189-./ \x1d", min_size=1, max_size=30), min_size=1, max_size=6),
    st.sampled_from(LAYOUTS),
    st.data(),
)
def test_codes_do_not_depend_on_how_the_records_arrive(texts: list[str], layout: Layout, data: st.DataObject) -> None:
    stream = b"".join(typed(text, layout) for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder(layout, fnc1="")
    found = [
        code
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for code in decoder.feed(stream[start:end])
    ]
    assert found == [Code(text, "") for text in texts]


@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=200)
        | st.builds(
            lambda keys: b"".join(EVENT.pack(0, 0, *key) for key in keys),
            st.lists(st.tuples(st.sampled_from([0, 1, 4]), st.integers(0, 130), st.integers(-1, 3)), max_size=60),
        ),
        max_size=20,
    ),
    st.sampled_from(LAYOUTS),
)
def test_no_records_break_the_decoder(pieces: list[bytes], layout: Layout) -> None:
    decoder = Decoder(layout)
    for piece in pieces:
        for item in decoder.feed(piece):
            assert isinstance(item, Code)
            assert item.text
        assert len(decoder._odd) <= 5
        assert len(decoder._rest) < EVENT.size
