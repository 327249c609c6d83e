"""A series over time, as JSON under /api/v1/series: its readings, its envelope over a long time, its last reading."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response

from cloud.db.engine import reading
from cloud.instant import to_ms
from cloud.telemetry.envelope import Envelope, envelope, last
from cloud.telemetry.query import SeriesSpan, list_series
from cloud.telemetry.rollup import Bucket
from cloud.web.api import SignedIn, answers, as_json, channel_readings, reading_json
from cloud.web.form import Refused

BUCKETS_MAX = 2_000  # wider than any screen; below an hour each reading in them is looked at
YEARS_MAX = timedelta(days=20 * 366)
_MEAN_DIGITS = 3  # beyond those of the readings

router = APIRouter(prefix="/api/v1/series", default_response_class=Response)


class BucketJson(msgspec.Struct, frozen=True):
    """[from, from + width). Numbers are decimals as text: min, max and sum exact, mean to three digits more.

    count: readings of quality ok with a number, which is what the numbers are of; others: all other readings.
    """

    from_ms: int
    count: int
    others: int
    min: str | None
    max: str | None
    mean: str | None
    sum: str | None


class EnvelopeJson(msgspec.Struct, frozen=True):
    """What a channel measured in one unit in [from, to): the edges as they were snapped. Empty buckets are left out."""

    unit: str
    from_ms: int
    to_ms: int
    width_s: int
    buckets: list[BucketJson]


NOUNS = (EnvelopeJson, SeriesSpan)


@router.get("", responses=answers("SeriesSpan", many=True))
def all_series(page: SignedIn) -> Response:
    """Every series that has readings: how many, and when the first and the last were observed."""
    with reading(page.site.engine) as conn:
        return as_json(list_series(conn))


@router.get("/{gateway}/{channel:path}/readings", responses=answers("ReadingJson", many=True))
def series_readings(
    gateway: str,
    channel: str,
    page: SignedIn,
    from_: Annotated[datetime, Query(alias="from")],
    to: Annotated[datetime, Query()],
) -> Response:
    """The readings in [from, to), in order: at most 92 days and 100,000. Both instants need an offset."""
    return channel_readings(page, gateway, channel, from_, to)


@router.get("/{gateway}/{channel:path}/envelope", responses=answers("EnvelopeJson", many=True))
def series_envelope(
    gateway: str,
    channel: str,
    page: SignedIn,
    *,
    from_: Annotated[datetime, Query(alias="from")],
    to: Annotated[datetime, Query()],
    buckets: Annotated[int, Query(ge=1, le=BUCKETS_MAX)] = 1_000,
) -> Response:
    """Min, max, mean, sum and count in at most buckets + 1 buckets over [from, to), for each unit; at most 20 years.

    The edges are multiples of the width since 1970 (UTC), and the width is a round part of an hour or whole hours: the
    answer says which, and is exact for them. Both instants need an offset.
    """
    if from_.tzinfo is None or to.tzinfo is None or to <= from_:
        raise Refused(400, "bad_request")
    if to - from_ > YEARS_MAX:
        raise Refused(413, "too_much")
    with reading(page.site.engine) as conn:
        found = envelope(conn, gateway, channel, to_ms(from_), to_ms(to), buckets=buckets)
    return as_json([_envelope(one) for one in found])


@router.get("/{gateway}/{channel:path}/last", responses=answers("ReadingJson"))
def series_last(gateway: str, channel: str, page: SignedIn) -> Response:
    """The reading with the latest time, but for those that claim to be from after their own receipt."""
    with reading(page.site.engine) as conn:
        found = last(conn, gateway, channel)
    if found is None:
        raise Refused(404, "not_found")
    return as_json(reading_json(found))


def _envelope(one: Envelope) -> EnvelopeJson:
    return EnvelopeJson(one.unit, one.from_ms, one.to_ms, one.width_ms // 1000, [_bucket(each) for each in one.buckets])


def _bucket(one: Bucket) -> BucketJson:
    return BucketJson(
        from_ms=one.from_ms,
        count=one.count,
        others=one.others,
        min=_decimal(one.min, one.exponent),
        max=_decimal(one.max, one.exponent),
        mean=_mean(one),
        sum=_decimal(one.sum, one.exponent),
    )


def _decimal(mantissa: int | None, exponent: int) -> str | None:
    return None if mantissa is None else format(_exact(mantissa, exponent), "f")


def _mean(one: Bucket) -> str | None:
    if one.sum is None:
        return None
    with localcontext() as context:
        context.prec = len(str(one.sum)) + _MEAN_DIGITS + 20
        mean = Decimal(one.sum) / one.count
        rounded = mean.quantize(Decimal(1).scaleb(-_MEAN_DIGITS), ROUND_HALF_EVEN)
    return format(_exact(int(rounded.scaleb(_MEAN_DIGITS)), one.exponent - _MEAN_DIGITS), "f")


def _exact(mantissa: int, exponent: int) -> Decimal:
    """Whatever the context's precision is."""
    sign, digits = mantissa < 0, tuple(map(int, str(abs(mantissa))))
    return Decimal((int(sign), digits, exponent))
