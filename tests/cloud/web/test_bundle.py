"""The evidence bundle as a download: for people who are signed in, of lots there are, and one that verifies."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from cloud.web import bundle
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor
from wire.bundle.verify import verify

Visit = Callable[..., Visitor]
LOT = f"/api/v1/lots/{world.GTIN}/{world.FAILED}/bundle"


async def test_a_lots_bundle_is_downloaded_and_verifies(visit: Visit) -> None:
    answer = await (await visit().sign_in("official")).get(LOT)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == bundle.MEDIA_TYPE
    assert answer.headers["content-disposition"].endswith('.coldproof"')
    report = verify(io.BytesIO(answer.content), size=len(answer.content))
    assert report.intact, report.bad
    assert report.content is not None
    assert report.content.subject.lot == world.FAILED


async def test_the_lot_page_leads_to_it(visit: Visit) -> None:
    page = await (await visit().sign_in("official")).get(f"/lots/01/{world.GTIN}/10/{world.FAILED}")
    assert f'href="{LOT}"' in page.text


async def test_nobody_has_it_without_signing_in(visit: Visit) -> None:
    assert (await visit().get(LOT)).status_code == 401


async def test_an_unknown_lot_has_none(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    assert (await visitor.get(f"/api/v1/lots/{world.GTIN}/L-NOBODY/bundle")).status_code == 404


async def test_one_is_made_at_a_time_and_none_that_is_too_large(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = await visit().sign_in("official")
    assert bundle._one_at_a_time.acquire(blocking=False)
    try:
        assert (await visitor.get(LOT)).status_code == 503
    finally:
        bundle._one_at_a_time.release()
    monkeypatch.setattr(bundle, "PACKS_MAX", 1)
    assert (await visitor.get(LOT)).status_code == 413
    monkeypatch.undo()
    assert (await visitor.get(LOT)).status_code == 200
