"""Thinned and lost readings, contradictions and commands: on the pages in both languages, and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page as BrowserPage
from sqlalchemy import Engine

from cloud.db.engine import writing
from cloud.ingest import command, finding
from cloud.keys import load_or_create
from cloud.web.page import lot_path
from tests.cloud.field import Gateway
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor
from tests.cloud.web.test_browser import PHONE, WIDE, address, has_sideways_scroll, open_browser
from tests.cloud.web.test_pages import Text

__all__ = ["address", "open_browser"]  # fixtures

Visit = Callable[..., Visitor]
LOT = lot_path(world.GTIN, world.FAILED)


@pytest.fixture
def declared(engine: Engine, tmp_path: Any) -> None:
    """The site after its store's gateway declared what will not come, and after a restore."""
    world.declare(engine)
    with writing(engine) as conn:
        key = load_or_create(tmp_path / "keys")
        command.send_again(conn, key, "gw-kho-01", b"\xc0" * 16, [(2, 3), (9, 9)], now_ms=world.NOW_MS)


@pytest.mark.usefixtures("declared")
async def test_lot_page_tells_thinned_and_lost_spans(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    told = Text((await visitor.get(LOT)).text)
    assert "cổng kết nối khai báo đã mất 71 giá trị" in told.text
    assert "cổng kết nối đã lược bớt 72 giá trị" in told.text
    assert "72 giá trị bị lược bớt" in told.text
    assert "Trung bình theo thời gian (gần đúng)" in told.text
    assert told.scripts == []
    english = Text((await visitor.get(LOT + "?lang=en")).text).text
    assert "declared lost by the gateway memory card failed" in english, "the gap's cause, and why"
    assert "the gateway declares 71 reading(s)" in english
    assert "lowest and highest are exact, the mean is approximate" in english
    assert "Declared by the gateway" in english
    assert "thinned out, lowest and highest kept" in english, "the legend"


@pytest.mark.usefixtures("declared")
async def test_charts_draw_thinned_and_lost_spans_apart_from_gaps(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    html = (await visitor.get(LOT)).text
    for pattern in ("journey-wide-thinned", "journey-wide-lost", "stay-2-1-narrow-thinned", "stay-2-1-narrow-lost"):
        assert html.count(f'fill="url(#{pattern})"') == 1, pattern
    assert 'fill="url(#stay-2-1-wide-gap)"' in html, "the sensor's failure is a gap still"


async def test_pages_without_declarations_do_not_speak_of_them(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    html = (await visitor.get(LOT)).text
    assert "lược bớt" not in Text(html).text
    assert "-lost)" not in html


@pytest.mark.usefixtures("declared")
async def test_proof_tells_declared_numbers_and_broken_links(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    english = Text((await visitor.get(LOT + "?lang=en")).text).text
    assert "51 packs did not come as they were sealed" in english
    assert "fingerprint of the one before it, and these agree" not in english, "numbers are missing"


async def test_proof_of_a_whole_chain_says_so(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    english = Text((await visitor.get(LOT + "?lang=en")).text).text
    assert "no number is missing" in english
    assert "Each carries the fingerprint of the one before it, and these agree." in english


async def test_proof_of_a_broken_chain_says_so(visit: Visit, engine: Engine) -> None:
    with writing(engine) as conn:
        broken = finding.Finding(finding.CHAIN_BROKEN, "gw-xe-01", Gateway("gw-xe-01").stream, 2, "made for this test")
        finding.keep(conn, [broken], world.NOW_MS)
    visitor = await visit().sign_in("official")
    english = Text((await visitor.get(LOT + "?lang=en")).text).text
    assert "1 pack does not hang on the one before it" in english
    assert "these agree" not in english


@pytest.mark.usefixtures("declared")
async def test_json_has_what_was_declared(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    lot = (await visitor.get(f"/api/v1/lots/{world.GTIN}/{world.FAILED}")).json()
    series = next(one for stay in lot["stays"] for one in stay["series"] if one["channel"] == "room-1/air")
    assert [(one["kind"], one["left_out"], one["reason"]) for one in series["declared"]] == [
        ("thinned", 72, world.DECLARED_THINNED),
        ("lost", 71, world.DECLARED_LOST),
    ]
    assert series["declared"][0]["from"] == "2025-10-10T03:06:20.000+07:00"
    assert [(one["cause"], one["reason"]) for one in series["gaps"]] == [
        ("lost", world.DECLARED_LOST),
        ("sensor_error", ""),
    ]


@pytest.mark.usefixtures("declared")
async def test_checks_page_lists_what_does_not_fit(visit: Visit) -> None:
    visitor = await visit().sign_in("operator")
    english = Text((await visitor.get("/checks?lang=en")).text).text
    assert "A new stream goes on from another pack than the record has" in english
    assert "Disputed: two copies wrote the old stream" in english
    assert f"thinned {world.DECLARED_THINNED}" in english
    assert "still missing" in english
    told = (await visitor.get("/api/v1/checks")).json()
    assert [(one["gateway"], one["seq"], one["others"]) for one in told["conflicts"]] == [("gw-kho-01", 1, 1)]
    assert [(one["kind"], one["left_out"], one["withdrawn"]) for one in told["losses"]] == [
        ("lost", 71, False),
        ("thinned", 72, False),
    ]
    assert [one["ranges"] for one in told["asked"]] == ["2–3, 9"]
    assert [one["disputed"] for one in told["streams"]] == [True]
    assert told["doubts"]


@pytest.mark.browser
@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("path", [LOT, LOT + "?lang=en", "/checks", "/checks?lang=en"])
@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_declarations_fit_into_every_width(open_browser: Callable[..., BrowserPage], path: str, width: int) -> None:
    page = open_browser("official", width=width)
    page.goto(path)
    assert not has_sideways_scroll(page)


def test_openapi_knows_the_new_nouns(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    assert {"Declared", "LossRow", "ConflictRow", "AskedRow", "StreamRow", "DoubtRow"} <= set(schemas)
