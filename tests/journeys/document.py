"""The figures written in docs/cold-store.md."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "cold-store.md"
ROW = re.compile(r"^\| (?P<name>[^|]+?) \| (?P<count>[\d,]+) \|$", re.MULTILINE)


def documented_counts() -> Counter[str]:
    """Class → count, of every table row that ends in a number."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return Counter({row["name"]: int(row["count"].replace(",", "")) for row in ROW.finditer(text)})
