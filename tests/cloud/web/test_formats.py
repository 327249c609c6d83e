"""Numbers and times as people here write them."""

from __future__ import annotations

import pytest

from cloud.web import formats
from cloud.web.formats import Language

AT_MS = 1_763_708_700_123  # 2025-11-21T07:05:00.123Z
MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("value", "language", "written"),
    [(1234.5, "vi", "1.234,5"), (1234.5, "en", "1,234.5"), (-18.0, "vi", "−18,0"), (0.0, "vi", "0,0")],
)
def test_numbers_follow_the_language(value: float, language: Language, written: str) -> None:
    assert formats.number(value, language) == written


@pytest.mark.parametrize(
    ("value", "written"), [(8.0, "8,0"), (8.04, "8,04"), (21.37, "21,37"), (-0.05, "−0,05"), (1e6, "1.000.000,0")]
)
def test_a_measured_value_is_not_rounded_to_its_limit(value: float, written: str) -> None:
    assert formats.number(value, "vi", exact=True) == written


def test_quantity_is_never_broken_from_its_unit() -> None:
    assert formats.quantity(9.6, "CEL", "vi") == "9,6\u202f°C"
    assert formats.quantity(88.0, "P1", "en") == "88.0\u202f%"
    assert formats.quantity(1.0, "X7", "en") == "1.0\u202fX7"


@pytest.mark.parametrize(
    ("share", "written"),
    [(1.0, "100"), (0.99999, "99,9"), (0.992, "99,2"), (0.0, "0"), (0.5, "50"), (0.57, "57")],
)
def test_only_what_is_complete_is_shown_as_complete(share: float, written: str) -> None:
    assert formats.percent(share, "vi") == f"{written}\u202f%"


def test_times_are_local_and_in_the_order_of_the_language() -> None:
    assert formats.day_and_time(AT_MS, "vi") == "21/11/2025 14:05"
    assert formats.day_and_time(AT_MS, "en") == "21 Nov 2025 14:05"
    assert formats.short_day_and_time(AT_MS, "vi") == "21/11 14:05"
    assert formats.iso(AT_MS) == "2025-11-21T14:05:00.123+07:00"


@pytest.mark.parametrize(
    ("duration_ms", "vi", "en"),
    [
        (0, "0 phút", "0 min"),
        (40_000, "40 giây", "40 s"),
        (24 * MINUTE_MS, "24 phút", "24 min"),
        (61 * 60 * MINUTE_MS + 20 * MINUTE_MS, "2 ngày 13 giờ", "2 d 13 h"),
        (43 * 60 * MINUTE_MS + 50 * MINUTE_MS, "43 giờ 50 phút", "43 h 50 min"),
        (60 * MINUTE_MS, "1 giờ", "1 h"),
        (3_599_999, "1 giờ", "1 h"),
        (48 * 60 * MINUTE_MS, "2 ngày", "2 d"),
        (-5, "0 phút", "0 min"),
    ],
)
def test_spans_are_told_in_their_two_largest_units(duration_ms: int, vi: str, en: str) -> None:
    assert formats.span(duration_ms, "vi").replace("\u00a0", " ") == vi
    assert formats.span(duration_ms, "en").replace("\u00a0", " ") == en


def test_search_ignores_accents_case_and_unicode_spelling() -> None:
    assert formats.folded("Sầu riêng ĐẮK LẮK") == "sau rieng dak lak"
    assert formats.folded("Sa\u0302\u0300u") == formats.folded("sầu")
