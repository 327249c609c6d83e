"""EPC binaries → GS1 keys: the public vectors, another decoder as oracle, and what is refused by which rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from epcpy.utils.common import ConvertException
from epcpy.utils.parsers import hex_to_tag_encodable
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.gs1 import epc, epc_classic, epc_plus
from standards.gs1.check_digit import has_valid_check_digit
from standards.gs1.epc import Epc, EpcError

# Our own, computed by hand from TDS §14.6.1.1: filter 1, partition 5 (7 digits), 0614141, item 812345, serial 6789.
SGTIN = "3034257BF7194E4000001A85"


def rows(shared_data: Path, name: str) -> list[dict[str, Any]]:
    lines = (shared_data / "standards" / "epc" / name).read_text().splitlines()
    return [row for row in map(json.loads, lines) if "hex" in row]


def test_sgtin_is_the_key_in_all_its_forms() -> None:
    found = epc.decode_hex(SGTIN.lower())
    assert (found.scheme, found.filter) == ("sgtin-96", 1)
    assert found.uri == "urn:epc:id:sgtin:0614141.812345.6789"
    assert found.tag_uri == "urn:epc:tag:sgtin-96:1.0614141.812345.6789"
    assert found.elements == (("01", "80614141123458"), ("21", "6789"))
    assert found.element_string == "(01)80614141123458(21)6789"
    assert found.digital_link == "https://id.gs1.org/01/80614141123458/21/6789"
    assert (found.get("21"), found.get("10")) == ("6789", None)


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["binary.jsonl", "binary_pyepc.jsonl", "tds23_annex_e3.jsonl"])
def test_public_vectors(shared_data: Path, name: str) -> None:
    tried = 0
    for row in rows(shared_data, name):
        tried += 1
        if row.get("ok") is False:
            with pytest.raises(EpcError):
                epc.decode_hex(row["hex"])
            continue
        found = epc.decode_hex(row["hex"])
        told = {
            "uri": found.uri,
            "tag_uri": found.tag_uri,
            "element_string": found.element_string,
            "gtin": found.get("01"),
            "digital_link_path": found.digital_link.removeprefix("https://id.gs1.org"),
        }
        assert {key: row[key] for key in told if key in row} == {key: told[key] for key in told if key in row}
    assert tried >= 3


@pytest.mark.parametrize(
    ("text", "rule", "why"),
    [
        ("", "hex", "is not an EPC"),
        ("30 34", "hex", "'30 34' is not an EPC"),
        ("３０", "hex", "is not an EPC"),
        ("30" * 63, "length", "126 hex digits"),
        ("00" * 12, "header", "never programmed"),
        ("E2801160600002054E0A1D2B", "header", "maker's own number"),
        ("FE" + "00" * 11, "header", "begins with FE"),
        ("30", "length", "sgtin-96: 8 bits, but the scheme has 96"),
        (SGTIN[:-2], "length", "88 bits"),
        (SGTIN + "0001", "length", "bits stand behind its end"),
        ("303C" + SGTIN[4:], "partition", "partition 7"),
        ("3003A352944000" + "00" * 5, "range", "company prefix 1000000000000 has more than 12 digits"),
        ("3114257BF4499602D2000001", "reserved", "last 24 bits"),
        ("36" + "14257BF7194E40" + "00" * 18, "characters", "serial number is empty"),
        ("3634257BF7194E7080C4".ljust(52, "0"), "terminator", "stand behind its end"),
        ("3F14F4E4E612600000000000", "encoding", "digits behind a 1"),
        ("3D34257BF71CB3D35DB7E39C", "length", "ends after 96 bits"),
        ("F90095201234567891234", "range", "check digit"),
        ("F9009520123456789123A", "encoding", "something else than digits"),
        ("F730950600013435200000", "range", "0 characters"),
        ("F7309506000134352C1", "encoding", "encoding 6"),
        ("FB3F2CDE79521141123453", "encoding", "date kind 15"),
        ("FB342DBE79521141123453", "range", "22-13-30 is not a date"),
        ("FA395211A", "terminator", "without its end"),
        ("F3309521141123454030266AE27FDF35", "range", "piece 03 of 02"),
    ],
)
def test_refused_by_rule(text: str, rule: str, why: str) -> None:
    with pytest.raises(EpcError, match=why) as caught:
        epc.decode_hex(text)
    assert caught.value.rule == rule


def test_padding_to_whole_words_is_no_part_of_it() -> None:
    assert epc.decode_hex(SGTIN + "0000") == epc.decode_hex(SGTIN)


def plus(bits: str) -> Epc:
    """Decode bits, spaces left out, with zeros up to a whole byte."""
    bits = bits.replace(" ", "")
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return epc.decode(int(padded, 2).to_bytes(len(padded) // 8))


GTIN_PLUS = "11110111 1 001" + f"{int('09506000134352', 16):056b}" + "000 00001 0111"  # serial 7


def test_lot_and_dates_behind_a_key_are_decoded() -> None:
    lot = "00010000 001 00010 10101111"  # (10) AF, by hand from tables F and K
    expiry = "00010111 0011010 1100 11111"  # (17) 26-12-31
    coldest = "01000011 00110011 00000000011100100100 1"  # (4333) 18.28 °C below zero
    found = plus(GTIN_PLUS + lot + expiry + coldest)
    assert found.elements == (
        ("01", "09506000134352"), ("21", "7"), ("10", "AF"), ("17", "261231"), ("4333", "001828-"),
    )  # fmt: skip
    assert found.digital_link == "https://id.gs1.org/01/09506000134352/10/AF/21/7?17=261231&4333=001828-"
    assert found.more == ""


def test_data_behind_a_key_that_are_not_known_are_kept_as_hex() -> None:
    found = plus(GTIN_PLUS + "00010000 001 00010 10101111" + "10010001 1010 0111 0000")  # (91) is the company's own
    assert found.get("10") == "AF"
    assert found.more == "91A7"
    assert plus(GTIN_PLUS).more == ""
    with pytest.raises(EpcError, match=r"sgtin\+: ends after"):
        plus(GTIN_PLUS + "00010000 001 01111 1")


@pytest.mark.parametrize(
    ("encoded", "serial"),
    [  # 3 bits encoding, 5 bits length, characters; TDS §14.5.6, each by hand
        ("0000010100010000000011100", "08220"),
        ("0010001010101111", "AF"),
        ("0100001010101111", "af"),
        ("01100011111111111110000000", "_-A"),
        ("101000110000011010100010", "ABQ"),
        ("101000010000011001000001", "A"),
    ],
)
def test_every_alphanumeric_encoding(encoded: str, serial: str) -> None:
    bits = "111101110001" + f"{int('09506000134352', 16):056b}" + encoded
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    assert epc.decode(int(padded, 2).to_bytes(len(padded) // 8)).get("21") == serial


_HEADERS = st.sampled_from([*epc_classic.SCHEMES, *epc_plus.SCHEMES])


@given(_HEADERS, st.binary(max_size=40))
@settings(max_examples=1000)
def test_no_bytes_break_the_decoder(header: int, body: bytes) -> None:
    try:
        found = epc.decode(bytes([header]) + body)
    except EpcError:
        return
    assert isinstance(found, Epc)
    for ai, value in found.elements:
        assert value
        if ai in {"01", "00", "414", "8017", "8018"}:
            assert has_valid_check_digit(value)
    assert found.digital_link.isascii()


#: Where epcpy decodes what we refuse, or refuses what we decode; each is right by the standard.
_DIFFERENCES = (
    "bits stand behind",  # epcpy cuts off what is too long
    "last 24 bits",  # …and doesn't look at reserved bits
    "must be zero",
    "behind its end",  # …skips zero characters inside a text
    "more than 0 digits",  # …and doesn't look at a reference without digits
    "part reference",  # …nor at how long that of a CPI gets
)


@given(st.sampled_from([header for header in epc_classic.SCHEMES if header not in {0x3A, 0x3B, 0x3D}]), st.data())
@settings(max_examples=500)
def test_another_decoder_agrees(header: int, data: st.DataObject) -> None:
    scheme = epc_classic.SCHEMES[header]
    partition = data.draw(st.integers(0, 6))
    size = -(-scheme.bits // 16) * 16
    body = data.draw(st.integers(0, 2 ** (scheme.bits - 14) - 1)) & ~(2**24 - 1 if header in {0x2D, 0x2E, 0x31} else 0)
    value = (header << 3 | 1) << 3 | partition
    text = f"{(value << (scheme.bits - 14) | body) << (size - scheme.bits):0{size // 4}X}"
    try:
        ours: Epc | EpcError = epc.decode_hex(text)
    except EpcError as error:
        ours = error
    try:
        theirs = hex_to_tag_encodable(text).epc_uri
    except (ConvertException, ValueError, KeyError):
        theirs = None
    if isinstance(ours, EpcError):
        assert theirs is None or any(why in str(ours) for why in _DIFFERENCES), (text, theirs, str(ours))
    else:
        assert theirs == ours.uri, text
