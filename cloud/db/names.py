"""Rows by many names (gateway, stream, seq) at once, each found by the index.

SQLite answers `(gateway, stream, seq) IN (…)` by reading the whole table, however few the names. So the seqs of each
stream are asked for together, and streams are joined by OR: that is one look into the index for each seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

AT_ONCE = 500  # names in one query; below SQLite's depth of expressions, 1,000, were each of a stream of its own

Name = tuple[str, bytes, int]


def some(names: Iterable[Name]) -> Iterator[list[Name]]:
    """The names in order, each once, in lists short enough for one query."""
    ordered = sorted(set(names))
    for at in range(0, len(ordered), AT_ONCE):
        yield ordered[at : at + AT_ONCE]


def named(
    names: Iterable[Name], gateway: ColumnElement[Any], stream: ColumnElement[Any], seq: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Whether these three columns are one of the names, of which there must be at least one."""
    seqs: dict[tuple[str, bytes], list[int]] = {}
    for one in names:
        seqs.setdefault(one[:2], []).append(one[2])
    return or_(*(and_(gateway == who, stream == of, seq.in_(these)) for (who, of), these in seqs.items()))
