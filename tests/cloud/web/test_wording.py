"""The catalogues: complete, alike, and the only place where words for readers stand."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

import cloud.web
from cloud.evidence import verdict
from cloud.review.submissions import ReviewError
from cloud.web.wording import LANGUAGES, wording

HERE = Path(cloud.web.__file__).parent
TEMPLATES = sorted((HERE / "templates").glob("*.html"))
BRAND = {"coldproof"}


def placeholders(message: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(message) if name is not None}


def test_both_languages_have_the_same_keys() -> None:
    assert wording("vi").keys == wording("en").keys


def test_placeholders_match() -> None:
    vi, en = wording("vi"), wording("en")
    differing = [key for key in vi.keys if placeholders(vi.message(key)) != placeholders(en.message(key))]
    assert not differing


def test_english_is_translated() -> None:
    vi, en = wording("vi"), wording("en")
    same = {key for key in vi.keys if vi.message(key) == en.message(key)}
    assert same <= {"language.vi", "language.en", "lot.gtin", "start.gtin", "events.pallet", "foot.zone"}


def test_messages_hold_no_markup() -> None:
    for language in LANGUAGES:
        for key in wording(language).keys:
            assert not set(wording(language).message(key)) & set("<>"), key


def test_messages_that_count_have_both_forms() -> None:
    keys = wording("vi").keys
    for key in keys:
        stem, _, form = key.rpartition(".")
        if form == "one":
            assert f"{stem}.other" in keys
    assert wording("en").counted("start.found", 1) == "1 lot"
    assert wording("en").counted("start.found", 1234) == "1,234 lots"
    assert wording("vi").counted("start.found", 1234) == "1.234 lô"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_words(template: Path) -> None:
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", template.read_text(), flags=re.DOTALL)
    outside_tags = re.sub(r"<[^>]*>", " ", text)
    assert set(re.findall(r"[^\W\d_]{2,}", outside_tags)) <= BRAND
    for attribute in re.findall(r'\b(?:alt|title|aria-label|placeholder|content)="([^"]*)"', text):
        assert not re.search(r"[^\W\d_]{2,}", attribute.replace("width=device-width, initial-scale=1", "")), attribute


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_script_and_no_inline_style(template: Path) -> None:
    text = template.read_text().lower()
    assert "<script" not in text
    assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:", text)
    assert "|safe" not in text


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_keys_named_in_templates_exist(template: Path) -> None:
    named = re.findall(r"""\bt(?:\.counted)?\("([a-z_.]+)"[,)]""", template.read_text())
    keys = wording("vi").keys
    missing = {key for key in named if key not in keys and f"{key}.other" not in keys}
    assert not missing


def test_keys_named_in_code_exist() -> None:
    keys = wording("vi").keys
    for module in HERE.glob("*.py"):
        for key in re.findall(r"""words(?:\.counted)?\(\s*"([a-z_.]+)"[,)]""", module.read_text()):
            assert key in keys or f"{key}.other" in keys, f"{module.name}: {key}"
        for code in re.findall(r"""Refused\(\d+, "([a-z_]+)"\)""", module.read_text()):
            assert f"error.{code}.title" in keys, f"{module.name}: {code}"


def test_every_verdict_reason_and_refusal_has_words() -> None:
    keys = wording("vi").keys
    assert verdict.__doc__ is not None
    listed = verdict.__doc__.partition("for the catalogues")[2]
    reasons = set(re.findall(r"\b([a-z]+_[a-z]+|gap)\b(?= ?[·{\n,]|$)", listed)) - {"min_coverage"}
    reasons -= {"duration_s", "from_ms", "longest_s", "max_ms"}
    assert len(reasons) >= 8
    assert not {code for code in reasons if f"reason.{code}" not in keys and f"reason.{code}.above" not in keys}
    assert ReviewError.__doc__ is not None
    refusals = set(re.findall(r"\b[a-z]+_[a-z_]+\b", ReviewError.__doc__))
    assert len(refusals) >= 8
    assert not {code for code in refusals if f"error.{code}.title" not in keys}
    for state in ("draft", "submitted", "returned", "approved"):
        assert {f"state.{state}", f"review.what.{state}"} <= keys
    names = (verdict.PASS, verdict.REMARKS, verdict.FAIL, verdict.INSUFFICIENT, verdict.NOT_ASSESSED)
    assert {f"verdict.{name}" for name in names} <= keys
