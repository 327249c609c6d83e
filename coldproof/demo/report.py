"""What the demonstration found, as one object: the lot's journey, and the balance of readings and scans."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from sqlalchemy import Connection, func, select

from cloud.db.tables import event
from cloud.evidence.lot import lot_evidence
from cloud.evidence.model import LotEvidence, SeriesEvidence, Stay
from coldproof.demo.account import Account


class StayLine(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """One stay of the lot in our custody. Statistics: of its first temperature series; excursions and gaps: of all."""

    place: str
    from_: str
    to: str | None
    count: int
    min: float | None
    max: float | None
    mean: float | None
    coverage: float
    excursions: int
    gaps: int
    verdict: str


class Report(msgspec.Struct, frozen=True):
    """The object `--json` prints. Instants are ISO 8601, UTC."""

    lot: str
    gtin: str
    readings: Account
    scans: Account
    events: int
    stays: list[StayLine]
    verdict: str
    url: str

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or doubled, and every stay has evidence."""
        kept = all(not side.lost and not side.duplicated for side in (self.readings, self.scans))
        return kept and not self.scans.unaccepted and bool(self.stays) and all(stay.count for stay in self.stays)


def report(
    conn: Connection, gtin: str, lot: str, *, readings: Account, scans: Account, now_ms: int, base_url: str
) -> Report:
    """Look at a lot as an official would, and put the balance beside it."""
    evidence = lot_evidence(conn, gtin, lot, now_ms)
    return Report(
        lot=lot,
        gtin=gtin,
        readings=readings,
        scans=scans,
        events=conn.execute(select(func.count()).select_from(event)).scalar_one(),
        stays=[_line(stay) for stay in evidence.stays if stay.custody] if evidence else [],
        verdict=evidence.verdict if evidence else "insufficient_data",
        url=f"{base_url}/lots/01/{gtin}/10/{quote(lot, safe='')}",
    )


def has_arrived(conn: Connection, gtin: str, lot: str, now_ms: int) -> bool:
    """Whether the lot has left our custody: its last stay is a customer's."""
    evidence: LotEvidence | None = lot_evidence(conn, gtin, lot, now_ms)
    return evidence is not None and bool(evidence.stays) and not evidence.stays[-1].custody


def _line(stay: Stay) -> StayLine:
    shown = next((series for series in stay.series if series.measurement == "Temperature"), _NOTHING)
    return StayLine(
        place=stay.place_name,
        from_=_iso(stay.from_ms),
        to=None if stay.to_ms is None else _iso(stay.to_ms),
        count=shown.count,
        min=shown.min,
        max=shown.max,
        mean=shown.mean,
        coverage=shown.coverage,
        excursions=sum(len(series.excursions) for series in stay.series),
        gaps=sum(len(series.gaps) for series in stay.series),
        verdict=stay.verdict,
    )


_NOTHING = SeriesEvidence("", "", "", "Temperature", "CEL", 0, 0, None, None, None, 0.0, 0, [], [])


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
