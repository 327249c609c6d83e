"""What did not fit: scans that became no event, messages that were refused, gateways and how they say they are.

Nothing here is lost: the scans are in the record, refused messages are kept in quarantine. Somebody has to look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy import Connection

from cloud.db.engine import reading
from cloud.events import query as events
from cloud.events.query import ScanFinding
from cloud.ingest import gateway_state, quarantine
from cloud.registry import query as registry
from cloud.telemetry.query import SeriesSpan, future_series
from cloud.web.form import Refused
from cloud.web.page import Page, open_page, render
from wire.status import Status

router = APIRouter(include_in_schema=False)

SHOWN = 100  # the newest; the record has all
CODE_CHARS = 80


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """A gateway: what it last said, None if it never spoke. known: it is in the registry."""

    name: str
    known: bool
    simulated: bool
    status: Status | None
    heard_ms: int


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A scan that is no event, and where the scanner stands."""

    finding: ScanFinding
    code: str
    place_name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A refused message: from whom it claims to be, why, how often."""

    topic: str
    sentence: str
    detail: str
    received_ms: int
    times: int


@dataclass(frozen=True, slots=True)
class ChecksView:
    """The whole page. gateways: those of the registry, then others that spoke, by name; future: whose time is false."""

    gateways: list[GatewayRow]
    findings: list[FindingRow]
    refused: list[RefusedRow]
    future: list[SeriesSpan]


@router.get("/checks")
def checks_page(page: Annotated[Page, Depends(open_page)]) -> Response:
    """Gateways, scans without event, refused messages; newest first."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    return render(page, "checks.html", view=look(page), shown=SHOWN)


def look(page: Page) -> ChecksView:
    """What there is to check now, in the reader's language."""
    with reading(page.site.engine) as conn:
        return ChecksView(_gateways(conn), _findings(conn, page), _refused(conn, page), future_series(conn, SHOWN))


def _gateways(conn: Connection) -> list[GatewayRow]:
    heard = {one.status.gateway: one for one in gateway_state.states(conn)}
    known = {one.name: one for one in registry.gateways(conn)}
    rows = []
    strangers = sorted(heard.keys() - known.keys())[:SHOWN]  # anybody at the broker can claim to be one
    for name in [*sorted(known), *strangers]:
        last, entry = heard.get(name), known.get(name)
        simulated = entry.simulated if entry else bool(last and last.status.simulated)
        status, heard_ms = (last.status, last.heard_ms) if last else (None, 0)
        rows.append(GatewayRow(name, entry is not None, simulated, status, heard_ms))
    return rows


def _findings(conn: Connection, page: Page) -> list[FindingRow]:
    rows = []
    for one in events.findings(conn, SHOWN):
        point = registry.read_point(conn, one.gateway, one.channel)
        place = registry.place(conn, point.place) if point else None
        name = page.named(place.name, place.name_en) if place else f"{one.gateway} {one.channel}"
        rows.append(FindingRow(one, _visible(one.code), name, _words(page, "finding", one.reason)))
    return rows


def _refused(conn: Connection, page: Page) -> list[RefusedRow]:
    return [
        RefusedRow(one.topic, _words(page, "refused", one.reason), one.detail, one.received_ms, one.times)
        for one in quarantine.headings(conn, SHOWN)
    ]


def _words(page: Page, kind: str, reason: str) -> str:
    """The reason in the reader's language; one that has no words yet is shown as it is."""
    key = f"{kind}.{reason}"
    return page.words(key) if key in page.words else reason


def _visible(code: str) -> str:
    """A code as a person can read it: control characters (a scanner's FNC1) as symbols, cut when very long."""
    shown = "".join(chr(0x2400 + ord(sign)) if ord(sign) < 0x20 else sign for sign in code)
    return shown if len(shown) <= CODE_CHARS else shown[: CODE_CHARS - 1] + "…"
