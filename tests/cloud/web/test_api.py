"""The API: what the pages show, as JSON a program can rely on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading
from cloud.evidence.lot import lot_evidence
from cloud.web import api
from cloud.web.api import travelling
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor

Visit = Callable[..., Visitor]
LOT = f"/api/v1/lots/{world.GTIN}/{world.FAILED}"
READINGS = "/api/v1/readings?gateway=gw-kho-01&channel=room-1/air"
SERIES = "/api/v1/series/gw-kho-01/room-1/air"


@pytest.mark.parametrize("path", ["/api/v1/lots", LOT, f"{LOT}/events", READINGS, "/api/v1/series", f"{SERIES}/last"])
async def test_nobody_reads_the_api_without_signing_in(visit: Visit, path: str) -> None:
    answer = await visit().get(path)
    assert answer.status_code in {400, 401}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_lots_are_listed_with_verdict_and_state(visit: Visit) -> None:
    lots = (await (await visit().sign_in("official")).get("/api/v1/lots")).json()
    assert {lot["lot"] for lot in lots} == {world.FAILED, world.PASSED, world.BLIND, world.HOSTILE}
    assert {(lot["verdict"], lot["state"]) for lot in lots if lot["lot"] == world.FAILED} == {("fail", "draft")}


async def test_evidence_is_the_same_as_computed_with_instants_in_iso(visit: Visit, engine: Engine) -> None:
    answer = (await (await visit().sign_in("official")).get(LOT)).json()
    with reading(engine) as conn:
        evidence = lot_evidence(conn, world.GTIN, world.FAILED, world.NOW_MS)
    assert evidence is not None
    assert answer["verdict"] == evidence.verdict
    for shown, stay in zip(answer["stays"], evidence.stays, strict=True):
        begin = datetime.fromisoformat(shown["from"])
        assert begin.utcoffset() is not None
        assert round(begin.timestamp() * 1000) == stay.from_ms
        assert [one["mean"] for one in shown["series"]] == [one.mean for one in stay.series]
    assert "_ms" not in str(answer)


async def test_events_are_an_epcis_document(visit: Visit) -> None:
    answer = await (await visit().sign_in("official")).get(f"{LOT}/events")
    assert answer.headers["content-type"] == "application/ld+json"
    document = answer.json()
    assert (document["type"], document["schemaVersion"]) == ("EPCISDocument", "2.0")
    steps = [event["bizStep"] for event in document["epcisBody"]["eventList"]]
    assert steps.count("commissioning") == 40
    assert steps[-4:] == ["packing", "storing", "loading", "receiving"]


async def test_readings_are_exact_decimals_in_order(visit: Visit) -> None:
    query = "&from=2025-10-09T09:00:00Z&to=2025-10-09T16:30:00%2B07:00"
    rows = (await (await visit().sign_in("official")).get(READINGS + query)).json()
    assert len(rows) == 30
    assert all(Decimal(row["value"]).as_tuple().exponent == -1 for row in rows)
    assert [row["observed"] for row in rows] == sorted(row["observed"] for row in rows)
    assert {row["quality"] for row in rows} == {"ok"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("&from=yesterday&to=2025-10-09T16:00:00Z", 400),
        ("&from=2025-10-09T09:00:00&to=2025-10-09T16:00:00", 400),
        ("&from=2025-10-09T16:00:00Z&to=2025-10-09T09:00:00Z", 400),
        ("&from=0001-01-01T00:00:00Z&to=9999-12-31T00:00:00Z", 413),
        ("&from=2025-10-09T09:00:00Z&to=99999-10-09T09:00:00Z", 400),
    ],
)
async def test_readings_without_a_sensible_time_are_refused(visit: Visit, query: str, status: int) -> None:
    answer = await (await visit().sign_in("official")).get(READINGS + query)
    assert answer.status_code == status
    assert answer.json()["status"] == status


async def test_a_channel_without_readings_is_an_empty_list(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    query = "gateway=no&channel=';--&from=2025-10-09T09:00:00Z&to=2025-10-09T10:00:00Z"
    assert (await visitor.get(f"/api/v1/readings?{query}")).json() == []


async def test_a_series_answers_with_readings_envelope_and_last(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    window = "?from=2025-10-09T09:00:00Z&to=2025-10-09T09:30:00Z"
    rows = (await visitor.get(f"{SERIES}/readings{window}")).json()
    assert rows == (await visitor.get(READINGS + window.replace("?", "&"))).json()
    (one,) = (await visitor.get(f"{SERIES}/envelope{window}&buckets=10")).json()
    assert (one["from"], one["to"], one["width_s"]) == (
        "2025-10-09T16:00:00.000+07:00",
        "2025-10-09T16:30:00.000+07:00",
        300,
    )
    values = [Decimal(row["value"]) for row in rows]
    assert sum(bucket["count"] for bucket in one["buckets"]) == len(values)
    assert sum(Decimal(bucket["sum"]) for bucket in one["buckets"]) == sum(values)
    assert min(Decimal(bucket["min"]) for bucket in one["buckets"]) == min(values)
    first = one["buckets"][0]
    assert abs(Decimal(first["mean"]) * first["count"] - Decimal(first["sum"])) <= Decimal("0.0005")
    last = (await visitor.get(f"{SERIES}/last")).json()
    spans = {(one["gateway"], one["channel"]): one for one in (await visitor.get("/api/v1/series")).json()}
    assert last["observed"] == spans["gw-kho-01", "room-1/air"]["last"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{SERIES}/envelope", 400),
        (f"{SERIES}/envelope?from=2025-10-09T09:00:00Z&to=2025-10-09T09:00:00Z", 400),
        (f"{SERIES}/envelope?from=2025-10-09T09:00:00&to=2025-10-09T10:00:00", 400),
        (f"{SERIES}/envelope?from=2025-10-09T09:00:00Z&to=2025-10-10T09:00:00Z&buckets=0", 400),
        (f"{SERIES}/envelope?from=2025-10-09T09:00:00Z&to=2025-10-10T09:00:00Z&buckets=1000000", 400),
        (f"{SERIES}/envelope?from=0001-01-01T00:00:00Z&to=9999-12-31T00:00:00Z", 413),
        (f"{SERIES}/readings?from=0001-01-01T00:00:00Z&to=9999-12-31T00:00:00Z", 413),
        ("/api/v1/series/no/thing/here/last", 404),
    ],
)
async def test_what_a_series_cannot_answer_is_refused(visit: Visit, path: str, status: int) -> None:
    assert (await (await visit().sign_in("official")).get(path)).status_code == status


async def test_more_readings_than_fit_into_memory_are_refused_unread(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "STORED_MAX", 100)
    half_hour = "?from=2025-10-09T09:00:00Z&to=2025-10-09T09:30:00Z"
    day = "?from=2025-10-09T09:00:00Z&to=2025-10-10T09:00:00Z"
    visitor = await visit().sign_in("official")
    assert (await visitor.get(f"{SERIES}/readings{half_hour}")).status_code == 200
    monkeypatch.setattr(api, "readings", None)
    assert (await visitor.get(f"{SERIES}/readings{day}")).status_code == 413


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/api/v1/lots/{world.GTIN}/unknown", "unknown_lot"),
        (f"/api/v1/lots/{world.GTIN}/unknown/events", "unknown_lot"),
        ("/api/v1/lots/abc/L1", "impossible_lot"),
        ("/api/v1/nothing", "not_found"),
    ],
)
async def test_errors_are_problems_with_a_code(visit: Visit, path: str, code: str) -> None:
    answer = await (await visit().sign_in("official")).get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


async def test_openapi_describes_the_answers(visit: Visit) -> None:
    document = (await visit().get("/api/v1/openapi.json")).json()
    assert {"/api/v1/lots", "/api/v1/lots/{gtin}/{lot}", "/api/v1/readings"} <= set(document["paths"])
    assert {"EnvelopeJson", "BucketJson", "SeriesSpan"} <= set(document["components"]["schemas"])
    schemas = document["components"]["schemas"]
    assert schemas["Stay"]["properties"]["from"] == {"type": "string", "format": "date-time"}
    assert schemas["Stay"]["properties"]["to"]["anyOf"][1] == {"type": "null"}
    assert "from" in schemas["Stay"]["required"]
    assert not [path for path in document["paths"] if not path.startswith("/api/")]


def test_instants_travel_as_iso_and_nothing_else_changes() -> None:
    plain = {"from_ms": 0, "to_ms": None, "count": 3, "stays": [{"until_ms": 1500, "until": "x"}]}
    assert travelling(plain) == {
        "from": "1970-01-01T07:00:00.000+07:00",
        "to": None,
        "count": 3,
        "stays": [{"until_at": "1970-01-01T07:00:01.500+07:00", "until": "x"}],
    }
