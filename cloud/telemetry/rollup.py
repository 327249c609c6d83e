"""Exact sums of readings by spans of time: count, min, max and sum of integers at a stated exponent, never floats.

Only numbers of quality `ok` enter; all other readings are counted as `others`. Sums of sums are exact too, so hours of
several chunks become wider buckets. What 64 bits can't hold is not rolled up (None): who asks adds up Python's
integers then (`Sums.add_rows`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.telemetry.column import Ints

HOUR_MS = 3_600_000
#: Hours are kept only where they hold this many readings on average: a slow series is read from its rows as fast.
ROWS_PER_HOUR_MIN = 30

Rolled = NDArray[Any]  # records of ROLLED, ascending by `at`, each `at` once
_FIELDS = [
    ("at", "<i8"),  # floor(time / width)
    ("count", "<u4"),
    ("others", "<u4"),
    ("exponent", "i1"),
    ("min", "<i8"),
    ("max", "<i8"),
    ("sum", "<i8"),
]
ROLLED = np.dtype(_FIELDS)
_STORED = np.dtype([("at", "<i4"), *(field for field in _FIELDS if field[0] != "at")])
_LIMIT = 1 << 62


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """[from_ms, from_ms + width): numbers × 10^exponent; min, max and sum are None where count is 0."""

    from_ms: int
    count: int
    others: int
    exponent: int
    min: int | None
    max: int | None
    sum: int | None


class Rows(NamedTuple):
    """What is rolled up. ok: whether a row is a number to count."""

    observed_ms: Ints
    mantissa: Ints
    exponent: Ints
    ok: NDArray[np.bool_]


def roll(rows: Rows, width_ms: int) -> Rolled | None:
    """Rows by spans of a width; None where they have several exponents or 64 bits don't hold their sum."""
    if not len(rows.observed_ms):
        return np.zeros(0, ROLLED)
    numbers, exponents = rows.mantissa[rows.ok], rows.exponent[rows.ok]
    if len(numbers):
        if exponents.min() != exponents.max():
            return None
        highest = max(int(numbers.max()), -int(numbers.min()))
        if highest * len(numbers) >= _LIMIT:
            return None
    at = rows.observed_ms // width_ms
    if np.any(at[1:] < at[:-1]):
        order = np.argsort(at, kind="stable")
        at, mantissa, ok = at[order], rows.mantissa[order], rows.ok[order]
    else:
        mantissa, ok = rows.mantissa, rows.ok
    begins = np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))
    found = np.zeros(len(begins), ROLLED)
    found["at"] = at[begins]
    counts = np.add.reduceat(ok.astype(np.int64), begins)
    found["count"] = counts
    found["others"] = np.diff(np.append(begins, len(at))) - counts
    there = counts > 0
    found["exponent"] = np.where(there, exponents[0] if len(exponents) else 0, 0)
    found["min"] = np.where(there, np.minimum.reduceat(np.where(ok, mantissa, _LIMIT), begins), 0)
    found["max"] = np.where(there, np.maximum.reduceat(np.where(ok, mantissa, -_LIMIT), begins), 0)
    found["sum"] = np.add.reduceat(np.where(ok, mantissa, 0), begins)
    return found


def pack_hours(rows: Rows) -> bytes | None:
    """The hours of rows as they are stored; None where that would not pay or cannot be exact."""
    hours = roll(rows, HOUR_MS)
    if hours is None or len(rows.observed_ms) < ROWS_PER_HOUR_MIN * len(hours):
        return None
    if hours["at"][0] < -(2**31) or hours["at"][-1] >= 2**31:
        return None
    return hours.astype(_STORED).tobytes()


def unpack_hours(stored: Iterable[bytes]) -> Rolled:
    """The hours of many chunks, one behind the other."""
    return np.frombuffer(b"".join(stored), _STORED).astype(ROLLED)


class Sums:
    """Adds up rolled spans of one width, from wherever they come."""

    def __init__(self, width_ms: int) -> None:
        self._width_ms = width_ms
        self._rolled: list[Rolled] = []
        self._loose: list[Bucket] = []

    def add_hours(self, hours: Rolled) -> None:
        """Hours, where the width is a multiple of an hour; in any order."""
        wider = hours.copy()
        wider["at"] = hours["at"] // (self._width_ms // HOUR_MS)
        self._rolled.append(wider)

    def add_rows(self, rows: Rows) -> None:
        """Rows, in any order."""
        rolled = roll(rows, self._width_ms)
        if rolled is not None:
            self._rolled.append(rolled)
            return
        exponents = np.unique(rows.exponent)
        if len(exponents) > 1:
            for exponent in exponents:
                picked = rows.exponent == exponent
                self.add_rows(Rows(*(column[picked] for column in rows)))
            return
        at = (rows.observed_ms // self._width_ms).tolist()
        for where, mantissa, exponent, ok in zip(
            at, rows.mantissa.tolist(), rows.exponent.tolist(), rows.ok.tolist(), strict=True
        ):
            from_ms = where * self._width_ms
            one = Bucket(from_ms, 1, 0, exponent, mantissa, mantissa, mantissa)
            self._loose.append(one if ok else Bucket(from_ms, 0, 1, 0, None, None, None))

    def buckets(self, from_ms: int, to_ms: int) -> list[Bucket]:
        """Those in [from_ms, to_ms) that hold anything, by time; both edges are multiples of the width."""
        parts = np.concatenate([np.zeros(0, ROLLED), *self._rolled])
        first, end = from_ms // self._width_ms, to_ms // self._width_ms
        parts = parts[(parts["at"] >= first) & (parts["at"] < end)]
        loose = [one for one in self._loose if from_ms <= one.from_ms < to_ms]
        numbers = parts[parts["count"] > 0]
        uniform = not len(numbers) or numbers["exponent"].min() == numbers["exponent"].max()
        if not loose and uniform and float(np.abs(parts["sum"].astype(np.float64)).sum()) < _LIMIT:
            return self._unpacked(_merged(parts))
        return _add_up([*self._unpacked(parts), *loose])

    def _unpacked(self, parts: Rolled) -> list[Bucket]:
        columns = [parts[name].tolist() for name, _ in _FIELDS]
        width_ms = self._width_ms
        return [
            Bucket(at * width_ms, count, others, exponent, low, high, total)
            if count
            else Bucket(at * width_ms, 0, others, 0, None, None, None)
            for at, count, others, exponent, low, high, total in zip(*columns, strict=True)
        ]


def _merged(parts: Rolled) -> Rolled:
    """Records of one exponent, each `at` once."""
    if not len(parts):
        return parts
    parts = parts[np.argsort(parts["at"], kind="stable")]
    begins = np.flatnonzero(np.concatenate(([True], parts["at"][1:] != parts["at"][:-1])))
    found = parts[begins].copy()
    there = parts["count"] > 0
    for name in ("count", "others", "sum"):
        found[name] = np.add.reduceat(parts[name], begins)
    found["exponent"] = parts["exponent"][there][0] if there.any() else 0
    found["min"] = np.minimum.reduceat(np.where(there, parts["min"], _LIMIT), begins)
    found["max"] = np.maximum.reduceat(np.where(there, parts["max"], -_LIMIT), begins)
    return found


def _add_up(parts: Iterable[Bucket]) -> list[Bucket]:
    found: dict[int, Bucket] = {}
    for one in parts:
        known = found.get(one.from_ms)
        found[one.from_ms] = one if known is None else _both(known, one)
    return [found[from_ms] for from_ms in sorted(found)]


def _both(one: Bucket, other: Bucket) -> Bucket:
    count, others = one.count + other.count, one.others + other.others
    if not one.count or not other.count:
        full = one if one.count else other
        return msgspec.structs.replace(full, count=count, others=others)
    exponent = min(one.exponent, other.exponent)
    (low, high, total), (low_, high_, total_) = _at(one, exponent), _at(other, exponent)
    return Bucket(one.from_ms, count, others, exponent, min(low, low_), max(high, high_), total + total_)


def _at(one: Bucket, exponent: int) -> tuple[int, int, int]:
    assert one.min is not None
    assert one.max is not None
    assert one.sum is not None
    scale: int = 10 ** (one.exponent - exponent)
    return one.min * scale, one.max * scale, one.sum * scale
