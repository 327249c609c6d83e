"""Prometheus text as its format has it (0.0.4), whatever the values."""

from __future__ import annotations

import re

from cloud.histogram import Histogram
from cloud.watch.exposition import VALUES_MAX, Family, Sample, by, exposition, of_histogram, one

LINE = re.compile(
    r'(?P<name>[a-z_:][a-z0-9_:]*)(\{(?P<labels>([a-z_]+="([^"\\\n]|\\["\\n])*",?)+)\})? (?P<value>[^ ]+)'
)


def parsed(text: str) -> dict[str, float]:
    """Every sample by name and labels. Raises on any line that the format does not know."""
    assert text.endswith("\n")
    told: set[str] = set()
    values: dict[str, float] = {}
    for line in text.splitlines():
        comment = re.fullmatch(r"# (HELP|TYPE) (coldproof_[a-z0-9_]+) (.+)", line)
        if comment:
            assert comment[1] == "HELP" or comment[3] in {"counter", "gauge", "histogram"}
            assert (comment[1], comment[2]) not in told, f"told twice: {line}"
            told.add((comment[1], comment[2]))  # type: ignore[arg-type]
            continue
        sample = LINE.fullmatch(line)
        assert sample is not None, line
        family = re.sub(r"_(bucket|sum|count)$", "", sample["name"])
        assert {("HELP", family), ("TYPE", family)} <= told or {  # type: ignore[comparison-overlap]
            ("HELP", sample["name"]), ("TYPE", sample["name"]),
        } <= told, f"not introduced: {line}"  # fmt: skip
        key = sample["name"] + (f"{{{sample['labels']}}}" if sample["labels"] else "")
        assert key not in values, f"twice: {line}"
        values[key] = float(sample["value"])
    return values


def test_samples_are_introduced_and_escaped() -> None:
    hostile = 'a"b\\c\nd'
    values = parsed(
        exposition([
            one("leaves", "gauge", "How many.\nReally.", 7),
            by("refused_total", "counter", "By reason.", "reason", {hostile: 2, "plain": 0.5}),
            one("unknown", "gauge", "Not known.", None),
        ])
    )  # fmt: skip
    assert values == {
        "coldproof_leaves": 7,
        'coldproof_refused_total{reason="a\\"b\\\\c\\nd"}': 2,
        'coldproof_refused_total{reason="plain"}': 0.5,
    }


def test_names_from_outside_do_not_make_a_scrape_endless() -> None:
    text = exposition([by("x", "gauge", "Many.", "name", {f"n{at}": 1 for at in range(10_000)})])
    assert len(text.splitlines()) == VALUES_MAX + 2


def test_histogram_is_cumulative() -> None:
    spread = Histogram((1, 2.5))
    for value in (0.5, 1, 2, 99):
        spread.observe(value)
    assert parsed(exposition([of_histogram("s", "Spread.", spread)])) == {
        'coldproof_s_bucket{le="1"}': 2,
        'coldproof_s_bucket{le="2.5"}': 3,
        'coldproof_s_bucket{le="+Inf"}': 4,
        "coldproof_s_sum": 102.5,
        "coldproof_s_count": 4,
    }


def test_family_without_samples_is_left_out() -> None:
    assert exposition([Family("a", "gauge", "A.", []), Family("b", "gauge", "B.", [Sample(1)])]).count("# HELP") == 1
