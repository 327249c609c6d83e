"""Bytes of a scanner ↔ codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.barcode.codec import Code, Decoder, Overlong, encode, split
from wire.observation import CODE_MAX_BYTES

GS1 = "010893600000001\x1d10LOT-7"


@pytest.mark.parametrize(
    ("suffix", "data", "texts"),
    [
        ("line", b"a\rb\nc\r\n\r\n\nd\r", ["a", "b", "c", "d"]),
        ("cr", b"a\nb\rc", ["a\nb"]),
        ("lf", b"a\rb\nc", ["a\rb"]),
        ("crlf", b"a\rb\nc\r\nd", ["a\rb\nc"]),
        ("tab", b"a\r\tb\t", ["a\r", "b"]),
    ],
)
def test_suffix_ends_a_code(suffix: str, data: bytes, texts: list[str]) -> None:
    assert Decoder(suffix).feed(data) == [Code(text, "") for text in texts]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("]C1" + GS1, Code(GS1, "C1")),
        ("]d2" + GS1, Code(GS1, "d2")),
        ("]Q3https://id.gs1.org/01/1", Code("https://id.gs1.org/01/1", "Q3")),
        ("]C", Code("]C", "")),
        ("]1A23", Code("]1A23", "")),
        ("] C123", Code("] C123", "")),
        ("]C1]C1x", Code("]C1x", "C1")),
        ("plain]C1", Code("plain]C1", "")),
    ],
)
def test_aim_identifier_is_taken_off(text: str, code: Code) -> None:
    assert split(text) == code
    assert split(text, aim=False) == Code(text, "")


def test_bytes_that_are_not_utf8_are_kept_one_to_one() -> None:
    [code] = Decoder().feed(bytes(range(128, 256)) + b"\n")
    assert isinstance(code, Code)
    assert code.text.encode("latin-1") == bytes(range(128, 256))
    assert Decoder().feed("cá hồi\r".encode()) == [Code("cá hồi", "")]


def test_control_characters_stay() -> None:
    assert Decoder().feed(b"\x1d01\x00\x02\x1e\r") == [Code("\x1d01\x00\x02\x1e", "")]


def test_identifier_without_a_code_is_nothing() -> None:
    assert Decoder().feed(b"]C1\r\n") == []


def test_endless_code_is_dropped_up_to_its_end_and_told() -> None:
    decoder = Decoder("crlf")
    for _ in range(100):
        assert decoder.feed(b"x" * 1000) == []
        assert len(decoder._held) <= CODE_MAX_BYTES + 5
    assert decoder.pending == 100_000
    assert decoder.feed(b"yy\r\nnext\r\n") == [Overlong(100_002), Code("next", "")]


def test_suffix_cut_in_two_at_the_limit_still_ends_the_code() -> None:
    decoder = Decoder("crlf")
    assert decoder.feed(b"x" * 9000 + b"\r") == []
    assert decoder.feed(b"\nnext\r\n") == [Overlong(9000), Code("next", "")]


def test_longest_code_passes_and_one_more_byte_does_not() -> None:
    assert Decoder().feed(b"]Q3" + b"x" * CODE_MAX_BYTES + b"\r\n") == [Code("x" * CODE_MAX_BYTES, "Q3")]
    assert Decoder().feed(b"x" * (CODE_MAX_BYTES + 1) + b"\r") == [Overlong(CODE_MAX_BYTES + 1)]
    latin = b"\xe9" * (CODE_MAX_BYTES - 1)  # doubles as UTF-8
    assert Decoder().feed(latin + b"\r") == [Overlong(CODE_MAX_BYTES - 1)]


def test_discard_forgets_a_half_code() -> None:
    decoder = Decoder()
    decoder.feed(b"half")
    assert decoder.discard() == 4
    assert decoder.feed(b"whole\r") == [Code("whole", "")]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n]", exclude_categories=["Cs"]), min_size=1)), st.data())
def test_codes_do_not_depend_on_how_the_bytes_arrive(texts: list[str], data: st.DataObject) -> None:
    codes = [Code(text, "C1") for text in texts]
    stream = b"".join(encode(code, "crlf") for code in codes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    for suffix in ("line", "crlf"):
        decoder = Decoder(suffix)
        found = [
            code
            for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
            for code in decoder.feed(stream[start:end])
        ]
        assert found == codes


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_break_the_decoder(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        for item in decoder.feed(piece):
            assert isinstance(item, Code)
            assert item.text


def test_code_that_holds_the_suffix_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="holds the suffix"):
        encode(Code("a\tb", ""), "tab")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("]C110A#21B", Code("10A\x1d21B", "C1")),
        ("10A#21B", Code("10A\x1d21B", "")),
        ("]Q1https://a/#21", Code("https://a/#21", "Q1")),
        ("https://a/#21", Code("https://a/#21", "")),
        ("]C0A#B", Code("A#B", "C0")),
    ],
)
def test_substitute_stands_for_fnc1_where_there_can_be_one(line: str, code: Code) -> None:
    assert Decoder(fnc1="#").feed(line.encode() + b"\r") == [code]
    assert encode(code, "cr", fnc1="#") == line.encode() + b"\r"
    assert split(line, fnc1="") == Code(line[3:] if code.symbology else line, code.symbology)


def test_word_for_fnc1() -> None:
    assert split("]d210A<GS>21B", fnc1="<GS>") == Code("10A\x1d21B", "d2")
