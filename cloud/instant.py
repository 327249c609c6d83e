"""Aware datetimes (EPCIS, TOML, the API) ↔ our integer milliseconds UTC, without a float in between."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


def to_ms(instant: dt.datetime) -> int:
    """Whole milliseconds since the epoch of an aware datetime; what is finer is cut off."""
    return (instant - _EPOCH) // _MILLISECOND


def from_ms(at_ms: int) -> dt.datetime:
    """The aware datetime, in UTC."""
    return _EPOCH + at_ms * _MILLISECOND
