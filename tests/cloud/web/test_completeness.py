"""People and programs see what of a gateway is here, and nobody else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from cloud.config import CloudConfig
from cloud.ingest.completeness import OVERDUE_MS
from cloud.ingest.gap_follower import GapFollower
from cloud.instant import from_ms
from cloud.web.app import create_app
from cloud.web.page import lot_path
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor

STORE = "gw-kho-01"
PAGE = f"/gateways/{STORE}"
SERIES = f"{PAGE}/series/room-1/air"
API = f"/api/v1/completeness/{STORE}"


@pytest.fixture
def declared(engine: Engine) -> Engine:
    """The story with what the store's gateway declares of its gap."""
    world.declare(engine)
    GapFollower(engine).run_once()
    return engine


async def test_gateway_page_tells_what_is_missing_and_what_was_declared(
    declared: Engine, visit: Callable[..., Visitor]
) -> None:
    page = (await (await visit().sign_in("official")).get(f"{PAGE}?lang=en")).text
    assert "14–799" in page
    assert "830–850" in page
    assert world.DECLARED_LOST in page
    assert f'href="{SERIES}?lang=en"' in page
    assert "71 declared lost" in page


async def test_series_page_counts_by_hour_and_turns_to_other_periods(
    declared: Engine, visit: Callable[..., Visitor]
) -> None:
    visitor = await visit().sign_in("official")
    page = (await visitor.get(f"{SERIES}?lang=en&span=week")).text
    assert "94.8\u202f% complete: of 2,804 readings expected 2,675 came; 23 are missing" in page
    assert "10 Oct 2025" in page
    assert page.count("<svg") >= 2
    assert "until=2025-10-04" in page, "to the week before"
    before = (await visitor.get(f"{SERIES}?lang=en&span=week&until=2025-10-04")).text
    assert "Nothing expected".lower() in before.lower()
    assert "until=2025-10-11" in before, "and back"
    year = (await visitor.get(f"{SERIES}?span=year")).text
    assert "mỗi ô là một ngày" in year


@pytest.mark.parametrize(
    ("query", "status"),
    [("until=yesterday", 200), ("until=9999-12-31", 200), ("span=decade", 200), ("until=0001-01-01", 404)],
)
async def test_odd_periods_are_put_right(visit: Callable[..., Visitor], query: str, status: int) -> None:
    answer = await (await visit().sign_in("official")).get(f"{SERIES}?{query}")
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/gateways/gw-la", f"{PAGE}/series/room-9/air", "/gateways/x/series/a"])
async def test_unknown_names_are_told(visit: Callable[..., Visitor], path: str) -> None:
    assert (await (await visit().sign_in("official")).get(path)).status_code == 404


async def test_lot_page_and_checks_page_lead_there(visit: Callable[..., Visitor]) -> None:
    visitor = await visit().sign_in("official")
    lot = (await visitor.get(lot_path(world.GTIN, world.FAILED))).text
    assert f'href="{SERIES}?until=2025-10-' in lot
    assert f'href="{PAGE}"' in lot
    assert f'href="{PAGE}"' in (await visitor.get("/checks")).text


async def test_what_is_overdue_is_named_on_the_checks_page(
    declared: Engine, config: CloudConfig, visit: Callable[..., Visitor]
) -> None:
    later = create_app(declared, lambda: world.NOW_MS + OVERDUE_MS, config)
    async with Visitor(later, "10.0.0.9") as visitor:
        await visitor.sign_in("operator")
        assert "835 numbers missing" in (await visitor.get("/checks?lang=en")).text
        told = (await visitor.get("/api/v1/completeness")).json()
        assert [(one["gateway"], one["numbers"]) for one in told] == [(STORE, 835)]
        assert "835 numbers have been missing" in (await visitor.get(f"{PAGE}?lang=en")).text
    assert "numbers missing" not in (await (await visit().sign_in("operator")).get("/checks?lang=en")).text


async def test_api_tells_the_same(declared: Engine, visit: Callable[..., Visitor]) -> None:
    visitor = await visit().sign_in("operator")
    told = (await visitor.get(API)).json()
    stream = next(one for one in told["streams"] if one["head_seq"] == 900)
    assert stream["came"] + stream["open"] + stream["explained"] == 900
    assert {(gap["first_seq"], gap["last_seq"], gap["state"]) for gap in stream["gaps"]} >= {
        (14, 799, "open"), (800, 829, "explained"),
    }  # fmt: skip
    assert stream["gaps"][0]["opened"].startswith("2025-10-11T14:53:20")
    day = {"from": from_ms(world.START_MS).isoformat(), "to": from_ms(world.NOW_MS).isoformat()}
    series = (await visitor.get(f"{API}/room-1/air", params=day)).json()
    assert (series["expected"], series["came"], series["missing"]) == (2804, 2675, 23)
    assert sum(cell["came"] for cell in series["cells"]) == 2675
    assert (await visitor.get("/api/v1/completeness")).json() == [], "nothing is overdue yet"
    described = (await visitor.get("/api/v1/openapi.json")).json()
    nouns = described["components"]["schemas"]
    assert set(series) == set(nouns["Completeness"]["properties"])
    assert set(told) == set(nouns["GatewayCompleteness"]["properties"])
    assert set(stream) == set(nouns["StreamCompleteness"]["properties"])


async def test_api_refuses_what_is_too_much_or_without_offset(visit: Callable[..., Visitor]) -> None:
    visitor = await visit().sign_in("operator")
    for query, status in (
        ("from=2025-10-09T00:00:00&to=2025-10-10T00:00:00", 400),
        ("from=2023-10-09T00:00:00Z&to=2025-10-10T00:00:00Z", 413),
        ("from=2025-10-10T00:00:00Z&to=2025-10-09T00:00:00Z", 400),
        ("from=2024-06-10T00:00:00Z&to=2024-06-11T00:00:00Z", 404),
    ):
        assert (await visitor.get(f"{API}/room-1/air?{query}")).status_code == status, query


async def test_only_who_is_signed_in_sees_it(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    for path in (PAGE, SERIES):
        assert "/sign-in" in str((await visitor.get(path)).url)
    for path in (API, f"{API}/room-1/air?from=2025-10-09T00:00:00Z&to=2025-10-10T00:00:00Z", "/api/v1/completeness"):
        assert (await visitor.get(path)).status_code == 401
