"""What a bundle is about, as the cloud knows it: a lot's stays and the sensors there, or gateways over a period."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from cloud.evidence.model import LotEvidence
from cloud.registry import query as registry
from cloud.registry.profile import UNITS
from cloud.registry.query import Binding
from cloud.telemetry.query import list_series
from wire.bundle.subject import TEXT_MAX, Series, Stay, Subject
from wire.bundle.text import plain


def of_lot(conn: Connection, evidence: LotEvidence) -> Subject:
    """A lot, with its stays as they are known now."""
    stays = [
        Stay(
            place=_clean(one.place),
            name=_clean(one.place_name),
            name_en=_clean(one.place_name_en),
            custody=one.custody,
            from_ms=one.from_ms,
            to_ms=one.to_ms,
            until_ms=one.until_ms,
        )
        for one in evidence.stays
    ]
    series: dict[Series, None] = {}
    units = {(one.gateway, one.channel): one.unit for stay in evidence.stays for one in stay.series if one.unit}
    for stay in evidence.stays:
        if stay.custody:
            for bound in registry.bindings(conn, stay.place, stay.from_ms, stay.until_ms):
                series[_series(bound, units.get((bound.gateway, bound.channel), ""))] = None
    return Subject(
        gtin=evidence.gtin,
        lot=evidence.lot,
        product=_clean(evidence.product_name),
        product_en=_clean(evidence.product_name_en),
        from_ms=min((one.from_ms for one in stays), default=0),
        to_ms=max((one.until_ms for one in stays), default=0),
        gateways=sorted({one.gateway for one in series}),
        stays=stays,
        series=list(series),
    )


def of_period(conn: Connection, gateways: Sequence[str], from_ms: int, to_ms: int) -> Subject:
    """All series of these gateways that have readings, over [from_ms, to_ms)."""
    series = []
    for one in list_series(conn):
        if one.gateway not in gateways or one.last_ms < from_ms or one.first_ms >= to_ms:
            continue
        bound = registry.bindings_of_channel(conn, one.gateway, one.channel)
        log_interval_ms = min((each.log_interval_s * 1000 for each in bound), default=0)
        measurement = bound[-1].measurement if bound else ""
        sensor = bound[-1].sensor if bound else ""
        told = (_clean(measurement), _clean(sensor), one.unit, log_interval_ms)
        series.append(Series("", one.gateway, one.channel, *told, valid_from_ms=0, valid_to_ms=None))
    stay = Stay("", "", "", custody=False, from_ms=from_ms, to_ms=to_ms, until_ms=to_ms)
    return Subject("", "", "", "", from_ms, to_ms, sorted(set(gateways)), [stay], series)


def _series(bound: Binding, unit: str) -> Series:
    return Series(
        place=_clean(bound.place),
        gateway=bound.gateway,
        channel=bound.channel,
        measurement=_clean(bound.measurement),
        sensor=_clean(bound.sensor),
        unit=unit or UNITS.get(bound.measurement, ""),
        log_interval_ms=bound.log_interval_s * 1000,
        valid_from_ms=bound.valid_from_ms,
        valid_to_ms=bound.valid_to_ms,
    )


def _clean(text: str) -> str:
    """A name without what a reader's terminal would obey, and not longer than a bundle has it."""
    return plain(text, " ")[:TEXT_MAX]
