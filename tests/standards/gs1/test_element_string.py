"""Element strings: our strict verdicts, beside those of the GS1 reference engine."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from standards.gs1 import element_string
from standards.gs1.application_identifier import Gs1Error
from standards.gs1.check_digit import check_digit, has_valid_check_digit
from standards.gs1.element_string import ElementString, date_of

GTIN = "08930000000125"

# Why we accept what the engine refuses: rules about lists and pairs that are kept elsewhere, or by nobody here.
_NOT_JUDGED = {
    "country codes are not looked up": "ISO 3166",
    "company prefixes are not looked up": "GS1 Company Prefix",
    "rare AI pairs are not judged": "invalid to pair",
}


def _rows(shared_data: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared_data / "standards" / "gs1" / name).read_text().splitlines()]


def _parse(engine_data: str) -> ElementString | Gs1Error:
    try:
        return element_string.parse(engine_data.removeprefix("^").replace("^", "\x1d"))
    except Gs1Error as error:
        return error


def test_accessors_name_the_keys() -> None:
    parsed = element_string.parse(f"01{GTIN}10L-1\x1d21S1\x1d414{'893000000101' + check_digit('893000000101')}")
    assert (parsed.gtin, parsed.lot, parsed.serial, parsed.sscc, parsed.party) == (GTIN, "L-1", "S1", None, None)
    assert parsed.gln is not None
    assert has_valid_check_digit(parsed.gln)


@pytest.mark.parametrize(
    ("text", "year", "date"),
    [
        ("261231", 2026, dt.date(2026, 12, 31)),
        ("260200", 2026, dt.date(2026, 2, 28)),
        ("280200", 2026, dt.date(2028, 2, 29)),
        ("760101", 2026, dt.date(2076, 1, 1)),
        ("770101", 2026, dt.date(1977, 1, 1)),
        ("000101", 2099, dt.date(2100, 1, 1)),
        ("490101", 2099, dt.date(2149, 1, 1)),
    ],
)
def test_date_lies_in_the_nearest_century(text: str, year: int, date: dt.date) -> None:
    assert date_of(text, in_year=year) == date


@pytest.mark.parametrize("text", ["", "26123", "261331", "260230", "abcdef"])
def test_impossible_date_is_refused(text: str) -> None:
    with pytest.raises(Gs1Error):
        date_of(text, in_year=2026)


def test_expiry_falls_back_to_best_before() -> None:
    assert element_string.parse(f"01{GTIN}15270101").expiry(in_year=2026) == dt.date(2027, 1, 1)
    assert element_string.parse(f"01{GTIN}1527010117261231").expiry(in_year=2026) == dt.date(2026, 12, 31)
    assert element_string.parse(f"01{GTIN}").expiry(in_year=2026) is None


@pytest.mark.parametrize(
    ("payload", "digit"), [("0893000000012", "5"), ("629104150021", "3"), ("37610425002123456", "9"), ("0", "0")]
)
def test_check_digit(payload: str, digit: str) -> None:
    assert check_digit(payload) == digit
    assert has_valid_check_digit(payload + digit)
    assert not has_valid_check_digit(payload + str((int(digit) + 1) % 10))


@pytest.mark.parametrize("text", ["", "12a4", "１２３"])
def test_check_digit_is_over_ascii_digits_only(text: str) -> None:
    with pytest.raises(ValueError, match="digits only"):
        check_digit(text)
    assert not has_valid_check_digit(text)


def test_standards_import_without_the_ai_table() -> None:
    """The base install has no biip: importing must not need it, and it isn't loaded before the first scan."""
    code = (
        "import sys; import standards.gs1.verdict, standards.gs1.digital_link, standards.epcis.json_form;"
        "sys.exit('biip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.conformance
def test_raw_messages_agree_with_the_reference_engine(shared_data: Path) -> None:
    rows = _rows(shared_data, "ai_raw.jsonl")
    assert len(rows) == 39
    for row in rows:
        assert isinstance(_parse(row["data"]), ElementString) == row["ok"], row


@pytest.mark.conformance
def test_random_messages_agree_with_the_reference_engine(shared_data: Path) -> None:
    """Verdicts and values, except for the named classes of rules that we don't judge."""
    rows = _rows(shared_data, "oracle_element_strings.jsonl")
    deviations: Counter[str] = Counter()
    for row in rows:
        ours = _parse(row["data"])
        if isinstance(ours, ElementString) and row["ok_without_requisites"]:
            assert "".join(f"({ai}){value}" for ai, value in ours.values) == row["bracketed"]
        elif isinstance(ours, ElementString):
            reason = next((name for name, words in _NOT_JUDGED.items() if words in row["error"]), None)
            assert reason is not None, row
            deviations[reason] += 1
        else:
            assert not row["ok_without_requisites"], (row, str(ours))
    assert deviations == {
        "country codes are not looked up": 13,
        "company prefixes are not looked up": 2,
        "rare AI pairs are not judged": 1,
    }


@pytest.mark.conformance
def test_values_agree_with_the_reference_linters(shared_data: Path) -> None:
    """What we accept against a linter: coupons, ISO lists and codes with their own mathematics. All else agrees."""
    not_judged = ("COUPON", "ISO3166", "ISO4217", "IBAN", "GCP", "IMPORT_IDX", "CSET64", "BIOLOGICAL_SEX")
    not_judged += ("NOT_ZERO_OR_ONE", "WINDING", "ILLEGAL_ZERO_PREFIX")
    for row in _rows(shared_data, "ai_linters.jsonl"):
        pairs = [pair.split(")", 1) for pair in row["bracketed"].split("(")[1:]]
        ours = _parse("^" + "^".join(ai + value for ai, value in pairs))
        if row["error"] == "OK":
            assert isinstance(ours, ElementString), row
        elif not any(word in row["error"] for word in not_judged):
            assert isinstance(ours, Gs1Error), row
