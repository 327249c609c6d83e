"""Frames of UHF modules: what real modules said, damage, and how the decoder finds back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.uhf.codec import (
    ANSWER,
    COMMAND,
    FAILED,
    INFORMATION,
    INVENTORY,
    NOTICE,
    PARAMETERS_MAX_BYTES,
    Decoder,
    Frame,
    Noise,
    Seen,
    ask_information,
    encode,
    failure,
    notice,
    seen_in,
    set_power,
    start,
    stop,
)

# What modules of several makers were seen to send, as their users published it; the manual's own example comes first.
NOTICES = [
    ("BB02220011C9340030751FEB705C5904E3D50D703A76EF7E", "30751FEB705C5904E3D50D70", -55),
    ("BB02220011C43000E200001D7315016521408FC6B83EC27E", "E200001D7315016521408FC6", -60),
    ("BB02220011D73400E28011700000020FEBEAD3B592B7DA7E", "E28011700000020FEBEAD3B5", -41),
    ("BB02220011CB3400E200471BB00060130445 09D09582D47E", "E200471BB0006013044509D0", -53),
    ("BB02220011BB3000E280699500004014CC14786227580D7E", "E280699500004014CC147862", -69),  # RSSI looks like a begin
    ("BB02220011DF3000E2806894000040018F22958C7C78A97E", "E2806894000040018F22958C", -33),
    ("BB02220011CB30004E010203040506070 89FFFFFBBC7C17E", "4E01020304050607089FFFFF", -53),  # …and this CRC
]
INFO = "BB01030010004D31303020323664426D2056312E30927E"
NO_TAG = "BB01FF000115167E"


def whole(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


@pytest.mark.parametrize(("text", "epc", "rssi_dbm"), NOTICES)
def test_notices_of_real_modules(text: str, epc: str, rssi_dbm: int) -> None:
    (frame,) = Decoder().feed(whole(text))
    assert isinstance(frame, Frame)
    assert (frame.type, frame.command) == (NOTICE, INVENTORY)
    assert seen_in(frame) == Seen(bytes.fromhex(epc), rssi_dbm)
    assert encode(frame) == whole(text)


def test_answers_of_real_modules() -> None:
    info, none = Decoder().feed(whole(INFO + NO_TAG))
    assert info == Frame(ANSWER, INFORMATION, b"\0M100 26dBm V1.0")
    assert isinstance(none, Frame)
    assert failure(none) == (0x15, "no tag")
    assert failure(Frame(ANSWER, FAILED)) == (0, "error 00")


def test_commands_are_the_manuals() -> None:
    assert start(10_000) == whole("BB 00 27 00 03 22 27 10 83 7E")
    assert stop() == whole("BB 00 28 00 00 28 7E")
    assert ask_information() == whole("BB 00 03 00 01 00 04 7E")
    assert set_power(20) == whole("BB 00 B6 00 02 07 D0 8F 7E")


_FRAMES = st.builds(
    Frame, st.sampled_from([COMMAND, ANSWER, NOTICE]), st.integers(0, 255), st.binary(max_size=PARAMETERS_MAX_BYTES)
)


@given(st.lists(_FRAMES, max_size=8), st.data())
def test_frames_do_not_depend_on_how_the_bytes_arrive(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [found for piece in pieces for found in decoder.feed(piece)] == frames
    assert decoder.pending == 0


@given(st.binary(min_size=2, max_size=62).map(lambda epc: epc[: len(epc) // 2 * 2]), st.integers(-128, 127))
def test_notice_holds_its_tag(epc: bytes, rssi_dbm: int) -> None:
    assert seen_in(notice(Seen(epc, rssi_dbm))) == Seen(epc, rssi_dbm)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_break_the_decoder(pieces: list[bytes]) -> None:
    decoder = Decoder()
    size = 0
    for piece in pieces:
        for found in decoder.feed(piece):
            size += found.size_bytes if isinstance(found, Noise) else len(encode(found))
        assert decoder.pending < 7 + PARAMETERS_MAX_BYTES
    for found in decoder.settle():
        size += found.size_bytes if isinstance(found, Noise) else len(encode(found))
    assert (size, decoder.pending) == (sum(map(len, pieces)), 0)  # every byte is accounted for


@given(st.binary(max_size=60), st.lists(_FRAMES, min_size=1, max_size=3))
def test_frames_behind_noise_are_found(noise: bytes, frames: list[Frame]) -> None:
    stream = noise + b"".join(map(encode, frames))
    decoder = Decoder()
    found = [one for one in decoder.feed(stream) + decoder.settle() if isinstance(one, Frame)]
    if 0xBB not in noise:  # else noise may happen to be a frame's beginning
        assert found == frames


def test_half_a_frame_does_not_swallow_the_next() -> None:
    decoder = Decoder()
    half = whole(NOTICES[0][0])[:11]
    assert decoder.feed(half) == []
    found = decoder.feed(whole(NOTICES[1][0]))
    found += decoder.settle()
    assert [one for one in found if isinstance(one, Frame)] == Decoder().feed(whole(NOTICES[1][0]))
    assert sum(one.size_bytes for one in found if isinstance(one, Noise)) == len(half)


def test_damage_is_never_a_tag() -> None:
    """Of 100,000 damaged notices some get past the sum; the tag's own CRC holds them."""
    rng = random.Random(3)
    true = {seen for text, *_ in NOTICES for seen in [seen_in(Decoder().feed(whole(text))[0])]}  # type: ignore[arg-type]
    passed_sum = 0
    for _ in range(100_000):
        data = bytearray(whole(rng.choice(NOTICES)[0]))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(5, len(data) - 2)] ^= 1 << rng.randrange(8)
        decoder = Decoder()
        for one in decoder.feed(bytes(data)) + decoder.settle():
            if isinstance(one, Frame):
                passed_sum += 1
                seen = seen_in(one)
                assert seen is None or seen.epc in {known.epc for known in true if known}
    assert passed_sum > 100


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "C93400",
        "C900003A76",
        "C9340030751FEB705C5904E3D50D703A77",
        "C9300030751FEB705C5904E3D50D703A76",
        "C93C0030751FEB705C5904E3D50D703A76",
    ],
)
def test_notice_that_contradicts_itself_is_no_tag(parameters: str) -> None:
    assert seen_in(Frame(NOTICE, INVENTORY, bytes.fromhex(parameters))) is None
