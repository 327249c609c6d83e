"""What the pages show, as JSON under /api/v1. Instants are ISO 8601 with offset; errors are RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Query, Response

from cloud.db.engine import reading
from cloud.evidence.completeness import HOUR_MS, Completeness
from cloud.evidence.lot import lot_events, lot_evidence
from cloud.evidence.model import LotEvidence
from cloud.ingest.completeness import Overdue, StreamCompleteness, overdue
from cloud.instant import from_ms, to_ms
from cloud.review.worklist import LotSummary, list_lots
from cloud.telemetry.query import ReadingRow, readings, stored
from cloud.web import formats
from cloud.web.checks_page import ChecksView, look
from cloud.web.completeness_page import completeness_of, streams_of
from cloud.web.form import Refused
from cloud.web.lot_page import identify
from cloud.web.page import Page, open_page
from standards.epcis.json_form import document

READINGS_MAX = 100_000  # of one answer: about 10 MB, ten weeks of a probe that logs every minute
STORED_MAX = 4 * READINGS_MAX  # with what counts once only: more is not read into memory to be counted
COMPLETENESS_MAX = timedelta(days=400)  # a year and a month: some 10,000 hours
SPAN_MAX = timedelta(days=92)  # a quarter; bounds what is read before it can be counted


class GatewayCompleteness(msgspec.Struct, frozen=True):
    """The packs of a gateway as of now, the stream that was heard of last first."""

    gateway: str
    as_of_ms: int
    streams: list[StreamCompleteness]


class ReadingJson(msgspec.Struct, frozen=True):
    """One reading: `value` is the decimal as text, exactly as measured; null where there was no number.

    observed: its corrected time, believed: as the gateway stamped it. offset_s was added, give or take uncertainty_s,
    because time_source knew better; all three null where nobody corrected it.
    """

    observed_ms: int
    value: str | None
    unit: str
    quality: str
    clock: str
    believed_ms: int
    offset_s: float | None
    uncertainty_s: float | None
    time_source: str | None


def signed_in(page: Annotated[Page, Depends(open_page)]) -> Page:
    """The page of a request by somebody signed in. Raises Refused."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    return page


SignedIn = Annotated[Page, Depends(signed_in)]
router = APIRouter(prefix="/api/v1", default_response_class=Response)


def answers(name: str, *, many: bool = False) -> dict[int | str, dict[str, Any]]:
    """What an answer is, for the OpenAPI document."""
    one = {"$ref": f"#/components/schemas/{name}"}
    schema = {"type": "array", "items": one} if many else one
    return {200: {"description": "OK", "content": {"application/json": {"schema": schema}}}}


@router.get("/lots", responses=answers("LotSummary", many=True))
def lots(page: SignedIn) -> Response:
    """Every lot with verdict and review state; those that need a look first come first."""
    with reading(page.site.engine) as conn:
        return as_json(list_lots(conn, page.site.now()))


@router.get("/lots/{gtin}/{lot:path}/events")
def events(gtin: str, lot: str, page: SignedIn) -> Response:
    """The events that made or moved a lot, as an EPCIS 2.0 document (JSON-LD)."""
    gtin, lot = identify(gtin, lot)
    now_ms = page.site.now()
    with reading(page.site.engine) as conn:
        captured = lot_events(conn, gtin, lot, now_ms)
    if not captured:
        raise Refused(404, "unknown_lot")
    body = msgspec.json.encode(document([one.event for one in captured], created_at=from_ms(now_ms)))
    return Response(body, media_type="application/ld+json")


@router.get("/lots/{gtin}/{lot:path}", responses=answers("LotEvidence"))
def lot(gtin: str, lot: str, page: SignedIn) -> Response:
    """Everything the verdict on a lot rests on, as known now."""
    gtin, lot = identify(gtin, lot)
    with reading(page.site.engine) as conn:
        evidence = lot_evidence(conn, gtin, lot, page.site.now())
    if evidence is None:
        raise Refused(404, "unknown_lot")
    return as_json(evidence)


@router.get("/readings", responses=answers("ReadingJson", many=True))
def channel_readings(
    page: SignedIn,
    gateway: Annotated[str, Query(max_length=128)],
    channel: Annotated[str, Query(max_length=128)],
    from_: Annotated[datetime, Query(alias="from")],
    to: Annotated[datetime, Query()],
) -> Response:
    """The readings of a channel in [from, to), in order: at most 92 days and 100,000. Both instants need an offset."""
    if from_.tzinfo is None or to.tzinfo is None or to <= from_:
        raise Refused(400, "bad_request")
    if to - from_ > SPAN_MAX:
        raise Refused(413, "too_much")
    asked = gateway, channel, to_ms(from_), to_ms(to)
    with reading(page.site.engine) as conn:
        if stored(conn, *asked) > STORED_MAX:
            raise Refused(413, "too_much")
        rows = readings(conn, *asked)
    if len(rows) > READINGS_MAX:
        raise Refused(413, "too_much")
    return as_json([reading_json(row) for row in rows])


@router.get("/completeness/{gateway}", responses=answers("GatewayCompleteness"))
def gateway_completeness(gateway: str, page: SignedIn) -> Response:
    """The packs of a gateway by stream: what came, what is missing, what was declared, what was asked for again."""
    now_ms = page.site.now()
    with reading(page.site.engine) as conn:
        return as_json(GatewayCompleteness(gateway, now_ms, streams_of(conn, gateway, now_ms)))


@router.get("/completeness/{gateway}/{channel:path}", responses=answers("Completeness"))
def series_completeness(
    gateway: str,
    channel: str,
    page: SignedIn,
    from_: Annotated[datetime, Query(alias="from")],
    to: Annotated[datetime, Query()],
) -> Response:
    """The readings of a channel in [from, to), widened to whole hours: expected, came, declared, missing, by hour.

    At most 400 days. Both instants need an offset.
    """
    if from_.tzinfo is None or to.tzinfo is None or to <= from_:
        raise Refused(400, "bad_request")
    if to - from_ > COMPLETENESS_MAX:
        raise Refused(413, "too_much")
    period = to_ms(from_) // HOUR_MS * HOUR_MS, -(-to_ms(to) // HOUR_MS) * HOUR_MS
    with reading(page.site.engine) as conn:
        return as_json(completeness_of(conn, gateway, channel, period, page.site.now()))


@router.get("/completeness", responses=answers("Overdue", many=True))
def overdue_gateways(page: SignedIn) -> Response:
    """The gateways of which pack numbers have been missing for more than ten minutes."""
    with reading(page.site.engine) as conn:
        return as_json(overdue(conn, page.site.now()))


@router.get("/checks", responses=answers("ChecksView"))
def checks(page: SignedIn) -> Response:
    """Gateways as last heard, the newest scans that became no event, the newest refused messages."""
    return as_json(look(page))


def problem(page: Page, status: int, code: str) -> Response:
    """An error for programs (RFC 9457), in the reader's words."""
    body = {
        "type": "about:blank",
        "status": status,
        "code": code,
        "title": page.words(f"error.{code}.title"),
        "detail": page.words(f"error.{code}.what"),
    }
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/problem+json")


def describe(app: FastAPI, more: Iterable[type]) -> None:
    """Put the nouns of the answers into the OpenAPI document, as they travel. more: of other routers."""
    _, schemas = msgspec.json.schema_components(
        [LotEvidence, LotSummary, ReadingJson, ChecksView, GatewayCompleteness, Completeness, Overdue, *more],
        ref_template="#/components/schemas/{name}",
    )
    nouns = {name: _travelling_schema(schema) for name, schema in schemas.items()}
    made = app.openapi

    def openapi() -> dict[str, Any]:
        described = made()
        described.setdefault("components", {}).setdefault("schemas", {}).update(nouns)
        return described

    app.openapi = openapi  # type: ignore[method-assign]


def travelling(value: Any) -> Any:
    """Plain data with every `…_ms` instant in ISO 8601 under its bare name: `from_ms` becomes `from`.

    Where something else has that name already, `state_ms` beside `state`, it becomes `state_at`.
    """
    if isinstance(value, list):
        return [travelling(item) for item in value]
    if not isinstance(value, dict):
        return value
    shaped: dict[str, Any] = {}
    for key, item in value.items():
        is_instant = key.endswith("_ms") and (item is None or isinstance(item, int))
        name = _instant_name(key, value) if is_instant else key
        shaped[name] = formats.iso(item) if is_instant and item is not None else travelling(item)
    return shaped


def _instant_name(key: str, siblings: Container[str]) -> str:
    bare = key.removesuffix("_ms")
    return f"{bare}_at" if bare in siblings else bare


def _travelling_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of one noun as `travelling` shapes it."""
    properties = schema.get("properties", {})
    instant = {"type": "string", "format": "date-time"}
    shaped = {}
    for key, item in properties.items():
        if key.endswith("_ms"):
            shaped[_instant_name(key, properties)] = (
                {"anyOf": [instant, {"type": "null"}]} if "anyOf" in item else instant
            )
        else:
            shaped[key] = item
    required = [_instant_name(key, properties) if key.endswith("_ms") else key for key in schema.get("required", ())]
    return schema | {"properties": shaped, "required": required}


def as_json(value: object) -> Response:
    """An answer as it travels."""
    return Response(msgspec.json.encode(travelling(msgspec.to_builtins(value))), media_type="application/json")


def reading_json(row: ReadingRow) -> ReadingJson:
    """A reading as it travels."""
    value = None if row.value is None else format(row.value, "f")
    corrected = row.correction
    return ReadingJson(
        observed_ms=row.observed_ms,
        value=value,
        unit=row.unit,
        quality=row.quality.name.lower(),
        clock=row.clock.name.lower(),
        believed_ms=row.believed_ms,
        offset_s=None if corrected is None else corrected.offset_ms / 1000,
        uncertainty_s=None if corrected is None else corrected.uncertainty_ms / 1000,
        time_source=None if corrected is None else corrected.source,
    )
