"""Scans: what a scanner sends is understood or refused with the AI and the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.gs1 import scan
from standards.gs1.application_identifier import Gs1Error

OWN = json.loads((Path(__file__).parents[2] / "vectors" / "gs1" / "scans.json").read_text())


@pytest.mark.parametrize("row", OWN["accepted"], ids=lambda row: row["about"])
def test_label_is_understood(row: dict[str, Any]) -> None:
    parsed = scan.parse(row["scan"])
    assert [list(pair) for pair in parsed.values] == row["values"]
    if row["scan"].startswith("]"):
        assert parsed.symbology == row["scan"][1:3]
        assert scan.parse(row["scan"][3:], row["scan"][1:3]) == parsed  # the driver split the identifier off


@pytest.mark.parametrize("row", OWN["refused"], ids=lambda row: row["about"])
def test_label_is_refused_by_name(row: dict[str, Any]) -> None:
    with pytest.raises(Gs1Error) as refused:
        scan.parse(row["scan"])
    assert refused.value.ai == row["ai"], refused.value
    assert len(str(refused.value)) > 10


def test_giant_line_is_refused() -> None:
    for text in ("]C1" + "9" * 10_000, "https://a/01/" + "9" * 10_000):
        with pytest.raises(Gs1Error, match="limit is 8192"):
            scan.parse(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.text(max_size=60) | st.from_regex(r"\](C1|d2|Q3|Q1|e0|E0)[0-9A-Za-z\x1d/:.]{0,40}", fullmatch=True),
    st.sampled_from(["", "C1", "Q1", "E0", "zz"]),
)
def test_no_text_raises_anything_but_a_gs1_error(text: str, symbology: str) -> None:
    try:
        parsed = scan.parse(text, symbology)
    except Gs1Error:
        return
    assert parsed.values


@pytest.mark.conformance
def test_scan_processing_agrees_with_the_reference_engine(shared_data: Path) -> None:
    """Every deviation is one of two classes, and stricter: we take GS1 data only, and no composite symbols."""
    rows = [json.loads(line) for line in (shared_data / "standards/gs1/scan_process.jsonl").read_text().splitlines()]
    deviations: dict[str, list[str]] = {"no GS1 data": [], "composite": []}
    for row in rows:
        try:
            accepted = bool(scan.parse(row["scan"]).values)
        except Gs1Error:
            accepted = False
        if accepted != row["ok"]:
            assert not accepted, row
            deviations["composite" if "|]" in row["scan"] else "no GS1 data"].append(row["scan"])
    assert [text[:3] for text in deviations["no GS1 data"]] == ["]Q1"] * 3 + ["]d1"] * 4 + ["]J0"]
    assert not any("http" in text for text in deviations["no GS1 data"])
    assert len(deviations["composite"]) == 1
