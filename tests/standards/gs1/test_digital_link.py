"""Digital Links: canonical out, any host in, and one URI for one thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.gs1 import digital_link
from standards.gs1.application_identifier import CHARACTERS, QUALIFIERS, Gs1Error
from standards.gs1.check_digit import check_digit
from standards.gs1.digital_link import DigitalLink


def _parse(uri: str) -> DigitalLink | Gs1Error:
    try:
        return digital_link.parse(uri)
    except Gs1Error as error:
        return error


GTIN = "08930000000125"
GLN = "893000000101" + check_digit("893000000101")
SSCC = "08930000000000001" + check_digit("08930000000000001")


def test_canonical_forms() -> None:
    assert digital_link.gtin("8930000000125") == f"https://id.gs1.org/01/{GTIN}"
    assert digital_link.lot(GTIN, "L/1 %".replace(" ", "")) == f"https://id.gs1.org/01/{GTIN}/10/L%2F1%25"
    assert digital_link.item(GTIN, "S-1") == f"https://id.gs1.org/01/{GTIN}/21/S-1"
    assert digital_link.sscc(SSCC) == f"https://id.gs1.org/00/{SSCC}"
    assert digital_link.place(GLN) == f"https://id.gs1.org/414/{GLN}"
    assert digital_link.place(GLN, "A1") == f"https://id.gs1.org/414/{GLN}/254/A1"
    assert digital_link.party(GLN) == f"https://id.gs1.org/417/{GLN}"


def test_qualifiers_take_their_place_whatever_order_they_came_in() -> None:
    built = digital_link.build([("21", "S"), ("10", "L"), ("01", GTIN)])
    assert built == f"https://id.gs1.org/01/{GTIN}/10/L/21/S"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet=sorted(CHARACTERS), min_size=1, max_size=20))
def test_every_lot_number_survives_the_way_through_a_uri(lot: str) -> None:
    uri = digital_link.lot(GTIN, lot)
    parsed = digital_link.parse(uri)
    assert parsed.path == (("01", GTIN), ("10", lot))
    assert parsed.identifier == uri
    assert digital_link.unescape(digital_link.escape(lot)) == lot


def test_other_hosts_and_attributes_name_the_same_lot() -> None:
    parsed = digital_link.parse(f"HTTPS://shop.example.vn:8443/vi/p/01/{GTIN}/10/L1?17=261231&linkType=all#top")
    assert parsed.identifier == digital_link.lot(GTIN, "L1")
    assert parsed.attributes == (("17", "261231"),)
    assert parsed.get("17") == "261231"
    assert parsed.get("21") is None


@pytest.mark.parametrize(
    ("uri", "ai"),
    [
        ("", ""),
        ("ftp://a/01/" + GTIN, ""),
        ("https:///01/" + GTIN, ""),
        ("https://a/", ""),
        ("https://a/gtin/" + GTIN, ""),
        ("https://a/01/" + GTIN[1:], "01"),
        ("https://a/01/" + GTIN[:-1] + "9", "01"),
        (f"https://a/01/{GTIN}/", ""),
        (f"https://a/01/{GTIN}/10/", "10"),
        (f"https://a/01/{GTIN}/21/S/10/L", "01"),
        (f"https://a/01/{GTIN}/10/A/10/B", "10"),
        (f"https://a/01/{GTIN}/235/X/10/L", "01"),
        (f"https://a/01/{GTIN}?10=L", "10"),
        (f"https://a/01/{GTIN}/10/L?10=L", "10"),
        (f"https://a/01/{GTIN}/10/L%2", "10"),
        (f"https://a/01/{GTIN}/10/L%FF", "10"),
        (f"https://a/01/{GTIN}/10/L%00", "10"),
        (f"https://a/01/{GTIN}/10/L M", ""),
        (f"https://a/01/{GTIN}/10/L%20M", "10"),
        (f"https://a/01/{GTIN}/10/<b>", ""),
        (f"https://a/01/{GTIN}?999=x", "999"),
        (f"https://a/01/{GTIN}?17=261331", "17"),
        ("https://a/01/" + GTIN + "\n", ""),
    ],
)
def test_broken_link_is_refused_by_name(uri: str, ai: str) -> None:
    with pytest.raises(Gs1Error) as refused:
        digital_link.parse(uri)
    assert refused.value.ai == ai, refused.value


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("10", "L")],
        [("01", GTIN), ("414", GLN)],
        [("01", GTIN), ("17", "261231")],
        [("01", GTIN), ("10", "L"), ("235", "X")],
        [("01", GTIN[:-1] + "9")],
        [("01", GTIN), ("10", "Lô")],
        [("01", GTIN), ("10", "L\x1d21S")],
        [("01", GTIN), ("10", "")],
        [("00", SSCC), ("10", "L")],
    ],
)
def test_what_is_no_identifier_is_not_built(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(Gs1Error):
        digital_link.build(pairs)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=40), st.sampled_from(["https://a/01/", "https://a/", "http://", ""]))
def test_no_text_raises_anything_but_a_gs1_error(text: str, start: str) -> None:
    try:
        parsed = digital_link.parse(start + text)
    except Gs1Error:
        return
    assert digital_link.parse(parsed.identifier).path == parsed.path


@pytest.mark.conformance
def test_structural_verdicts_agree_with_the_reference_engine(shared_data: Path) -> None:
    """All rows without engine options: no deviation. (Options: convenience names, short GTINs; we do neither.)"""
    rows = [json.loads(line) for line in (shared_data / "standards/dl/parse.jsonl").read_text().splitlines()]
    judged = [row for row in rows if not row.get("options")]
    assert len(judged) == 43
    for row in judged:
        ours = _parse(row["uri"])
        if isinstance(ours, DigitalLink):
            assert row["ok"], row
            assert "".join(ai + value for ai, value in ours.values) == row["element_string"].replace("^", "")
        else:
            assert not row["ok"], (row, str(ours))


@pytest.mark.conformance
def test_random_uris_agree_with_the_reference_engine(shared_data: Path) -> None:
    """Verdict and canonical identifier; one class of deviation: we don't judge which AIs an attribute needs."""
    rows = [json.loads(line) for line in (shared_data / "standards/dl/oracle_uris.jsonl").read_text().splitlines()]
    deviations = []
    for row in rows:
        ours = _parse(row["uri"])
        if not isinstance(ours, DigitalLink):
            assert not row["ok"], (row, str(ours))
        elif row["ok"]:
            assert ours.identifier == row["canonical"].split("?")[0]
        else:
            assert "Required AIs" in row["error"], row
            deviations.append(row["uri"])
    assert len(deviations) == 1


@pytest.mark.conformance
def test_percent_encoding_agrees_with_the_reference_engine(shared_data: Path) -> None:
    """Escaping is equal; unescaping too, except that we refuse what the engine lets through as it stands."""
    for line in (shared_data / "standards/dl/percent_encoding.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["op"] == "escape":
            assert digital_link.escape(row["in"]) == row["path"]
            continue
        try:
            assert digital_link.unescape(row["in"]) == row["path"]
        except Gs1Error:
            assert not row["path"].isascii() or "%" in row["path"], row


@pytest.mark.conformance
def test_path_sequences_agree_with_the_reference_engine(shared_data: Path) -> None:
    for line in (shared_data / "standards/dl/valid_path_sequences.jsonl").read_text().splitlines():
        key, *others = json.loads(line)["ais"]
        groups = [[ai for ai in group if ai in others] for group in QUALIFIERS[key]]
        assert others in groups, (key, others)
