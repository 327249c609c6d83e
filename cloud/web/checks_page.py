"""What did not fit: scans without event, messages refused, what gateways declare lost, packs that contradict others.

Nothing of it was thrown away here: scans and contradicting packs are in the record, refused messages in quarantine.
Every list is bounded. Somebody has to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy import Connection

from cloud.db.engine import reading
from cloud.events import query as events
from cloud.events.query import ScanFinding
from cloud.ingest import command, conflict, finding, gateway_state, quarantine, streams
from cloud.ingest.completeness import Overdue, overdue, state_of
from cloud.registry import query as registry
from cloud.telemetry import declared
from cloud.telemetry.declared import THINNED
from cloud.telemetry.query import SeriesSpan, future_series
from cloud.web.form import Refused
from cloud.web.page import Page, open_page, render
from wire.status import Status

router = APIRouter(include_in_schema=False)

SHOWN = 100  # the newest; the record has all
CODE_CHARS = 80
STREAM_CHARS, RANGES_SHOWN = 8, 5  # as much as tells streams of one gateway apart, and fits into a line


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
class DoubtRow:
    """Something in the record that does not fit. stream: its first digits; seq 0: no pack in particular."""

    gateway: str
    stream: str
    seq: int
    sentence: str
    detail: str
    found_ms: int


@dataclass(frozen=True, slots=True)
class LossRow:
    """A declared loss. last_seq None: all that followed; left_out None: nobody could count."""

    gateway: str
    stream: str
    first_seq: int
    last_seq: int | None
    kind: str
    reason: str
    left_out: int | None
    from_ms: int | None
    to_ms: int | None
    declared_ms: int
    arrived: int
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """A number that several packs claim."""

    gateway: str
    stream: str
    seq: int
    others: int
    newest_ms: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream that went on in another one. disputed: two buffers wrote it."""

    gateway: str
    stream: str
    prior_stream: str
    last_seq: int
    began_ms: int
    disputed: bool


@dataclass(frozen=True, slots=True)
class AskedRow:
    """Packs that a gateway was asked for again. state: asked, answered, or declared."""

    gateway: str
    stream: str
    ranges: str
    issued_ms: int
    answered_ms: int | None
    state: str


@dataclass(frozen=True, slots=True)
class ChecksView:
    """The whole page. gateways: those of the registry, then others that spoke, by name; future: whose time is false."""

    gateways: list[GatewayRow]
    overdue: list[Overdue]
    doubts: list[DoubtRow]
    conflicts: list[ConflictRow]
    losses: list[LossRow]
    streams: list[StreamRow]
    asked: list[AskedRow]
    findings: list[FindingRow]
    refused: list[RefusedRow]
    future: list[SeriesSpan]
    refused_by_reason: dict[str, int]


@router.get("/checks")
def checks_page(page: Annotated[Page, Depends(open_page)]) -> Response:
    """Gateways, scans without event, refused messages; newest first."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    return render(page, "checks.html", view=look(page), shown=SHOWN)


def look(page: Page) -> ChecksView:
    """What there is to check now, in the reader's language."""
    with reading(page.site.engine) as conn:
        return ChecksView(
            gateways=_gateways(conn),
            overdue=overdue(conn, page.site.now())[:SHOWN],
            doubts=_doubts(conn, page),
            conflicts=_conflicts(conn),
            losses=_losses(conn),
            streams=_streams(conn),
            asked=_asked(conn),
            findings=_findings(conn, page),
            refused=_refused(conn, page),
            future=future_series(conn, SHOWN),
            refused_by_reason={_words(page, "refused", why): n for why, n in quarantine.by_reason(conn).items()},
        )


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


def _doubts(conn: Connection, page: Page) -> list[DoubtRow]:
    return [
        DoubtRow(
            gateway=one.finding.gateway,
            stream=_short(one.finding.stream),
            seq=one.finding.seq,
            sentence=_words(page, "doubt", one.finding.kind),
            detail=one.finding.detail,
            found_ms=one.found_ms,
        )
        for one in finding.newest(conn, SHOWN)
    ]


def _conflicts(conn: Connection) -> list[ConflictRow]:
    return [
        ConflictRow(one.gateway, _short(one.stream), one.seq, one.others, one.newest_ms)
        for one in conflict.newest(conn, SHOWN)
    ]


def _losses(conn: Connection) -> list[LossRow]:
    return [
        LossRow(
            gateway=one.gateway,
            stream=_short(one.stream),
            first_seq=one.first_seq,
            last_seq=one.last_seq,
            kind=one.kind,
            reason=one.reason,
            left_out=sum(count for _, count in one.counts) if one.counts or one.kind == THINNED else None,
            from_ms=one.from_ms,
            to_ms=one.to_ms,
            declared_ms=one.declared_ms,
            arrived=one.arrived,
            withdrawn=one.withdrawn,
        )
        for one in declared.losses(conn, SHOWN)
    ]


def _streams(conn: Connection) -> list[StreamRow]:
    return [
        StreamRow(one.gateway, _short(one.stream), _short(one.prior_stream), one.last_seq, one.began_ms, one.disputed)
        for one in streams.successions(conn, SHOWN)
    ]


def _asked(conn: Connection) -> list[AskedRow]:
    return [
        AskedRow(
            gateway=one.gateway,
            stream=_short(one.stream),
            ranges=_ranges(one.ranges),
            issued_ms=one.issued_ms,
            answered_ms=one.answered_ms,
            state=state_of(conn, one),
        )
        for one in command.newest(conn, SHOWN)
    ]


def _ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """The first few ranges, as 3–4, 7."""
    shown = [str(first) if first == last else f"{first}–{last}" for first, last in ranges[:RANGES_SHOWN]]
    return ", ".join(shown) + (", …" if len(ranges) > RANGES_SHOWN else "")


def _short(stream: bytes) -> str:
    return stream.hex()[:STREAM_CHARS]


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
