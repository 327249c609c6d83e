"""The officials' start page: lots that need a look first, filters and search as part of the address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from cloud.db.engine import reading
from cloud.evidence.verdict import FAIL, INSUFFICIENT
from cloud.review.submissions import APPROVED, RETURNED, SUBMITTED
from cloud.review.worklist import LotSummary, list_lots
from cloud.web.form import Refused
from cloud.web.formats import folded
from cloud.web.page import Page, open_page, render

router = APIRouter(include_in_schema=False)

PER_PAGE = 50
SEARCH_MAX = 80

_FILTERS: dict[str, Callable[[LotSummary], bool]] = {
    "all": lambda _: True,
    "waiting": lambda lot: lot.state == SUBMITTED,
    "attention": lambda lot: lot.verdict in {FAIL, INSUFFICIENT},
    "returned": lambda lot: lot.state == RETURNED,
    "approved": lambda lot: lot.state == APPROVED,
}


@dataclass(frozen=True, slots=True)
class Tile:
    """A filter and how many lots it leaves."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class LotRow:
    """A lot with its names in the reader's language."""

    lot: LotSummary
    product_name: str
    place_name: str


@dataclass(frozen=True, slots=True)
class StartView:
    """One page of the list. show: the filter; number of pages: the page we are on and how many there are.

    as_of_ms: when the oldest of the verdicts shown was computed.
    """

    tiles: list[Tile]
    show: str
    search: str
    rows: list[LotRow]
    found: int
    number: int
    pages: int
    as_of_ms: int | None


@router.get("/")
def start_page(page: Annotated[Page, Depends(open_page)]) -> Response:
    """The list of lots; `show` filters, `q` searches, `page` turns."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    with reading(page.site.engine) as conn:
        lots = list_lots(conn, page.site.now())
    return render(page, "start.html", view=_view(page, lots))


def _view(page: Page, lots: list[LotSummary]) -> StartView:
    show = page.query.get("show", "all")
    show = show if show in _FILTERS else "all"
    search = page.query.get("q", "").strip()[:SEARCH_MAX]
    found = [lot for lot in lots if matches(lot, search)]
    shown = [lot for lot in found if _FILTERS[show](lot)]
    pages = max(1, -(-len(shown) // PER_PAGE))
    number = min(_number(page.query.get("page", "")), pages)
    rows = shown[(number - 1) * PER_PAGE : number * PER_PAGE]
    return StartView(
        tiles=[Tile(name, sum(1 for lot in found if wanted(lot))) for name, wanted in _FILTERS.items()],
        show=show,
        search=search,
        rows=[_row(page, lot) for lot in rows],
        found=len(shown),
        number=number,
        pages=pages,
        as_of_ms=min((lot.as_of_ms for lot in rows), default=None),
    )


def matches(lot: LotSummary, search: str) -> bool:
    """Whether every word of the search stands somewhere in the lot's line, accents and case aside."""
    line = " ".join(
        (lot.lot, lot.gtin, lot.product_name, lot.product_name_en, lot.place_name, lot.place_name_en, lot.place)
    )
    text = folded(line)
    return all(word in text for word in folded(search).split())


def _row(page: Page, lot: LotSummary) -> LotRow:
    return LotRow(
        lot=lot,
        product_name=page.named(lot.product_name, lot.product_name_en) or lot.gtin,
        place_name=page.named(lot.place_name, lot.place_name_en),
    )


def _number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1
