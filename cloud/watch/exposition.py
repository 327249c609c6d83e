"""Prometheus' text format 0.0.4: families of samples, each with its help and type. Pure.

Names follow Prometheus' rules: base units in the name, counters end in `_total`. What isn't known has no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from cloud.histogram import Histogram
from standards.exposition import label_text, number_text

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "coldproof_"
VALUES_MAX = 200  # samples of one family: names from outside must not make a scrape endless


class Sample(msgspec.Struct, frozen=True):
    """A number. suffix: of the family's name, for the parts of a histogram."""

    value: float
    labels: dict[str, str] = {}
    suffix: str = ""


class Family(msgspec.Struct, frozen=True):
    """Samples of one name. kind: counter, gauge or histogram."""

    name: str
    kind: str
    text: str
    samples: list[Sample]


def of_histogram(name: str, text: str, histogram: Histogram) -> Family:
    """As Prometheus has it: cumulative, with sum and count."""
    below, total = histogram.cumulative()
    samples = [Sample(count, {"le": bound}, "_bucket") for bound, count in zip(_bounds(histogram), below, strict=True)]
    return Family(name, "histogram", text, [*samples, Sample(total, {}, "_sum"), Sample(below[-1], {}, "_count")])


def one(name: str, kind: str, text: str, value: float | None) -> Family:
    """A family of one sample, or of none when the value is not known."""
    return Family(name, kind, text, [] if value is None else [Sample(float(value))])


def by(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """A family of a sample for each value of a label, in order; beyond VALUES_MAX they are left out."""
    return Family(name, kind, text, [Sample(float(values[key]), {label: key}) for key in sorted(values)[:VALUES_MAX]])


def exposition(families: Iterable[Family]) -> str:
    """The text, ending in a line feed; a family without samples is left out."""
    out: list[str] = []
    for family in families:
        if not family.samples:
            continue
        name = PREFIX + family.name
        out += [f"# HELP {name} {_escaped_text(family.text)}", f"# TYPE {name} {family.kind}"]
        out += [f"{name}{each.suffix}{label_text(each.labels)} {number_text(each.value)}" for each in family.samples]
    return "\n".join(out) + "\n"


def _bounds(histogram: Histogram) -> list[str]:
    return [*map(number_text, histogram.bounds), "+Inf"]


def _escaped_text(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
