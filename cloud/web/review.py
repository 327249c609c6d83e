"""Decisions by form: submit, approve, return with a reason."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import RedirectResponse

from cloud.db.engine import writing
from cloud.review import submissions
from cloud.review.submissions import ReviewError
from cloud.web.form import Refused, checked_session, read_form
from cloud.web.lot_page import identify
from cloud.web.page import Page, lot_path, open_page

router = APIRouter(include_in_schema=False)
OpenPage = Annotated[Page, Depends(open_page)]
Form = Annotated[dict[str, str], Depends(read_form)]

_LOT = "/lots/01/{gtin}/10/{lot:path}"
_STATUS = {"unknown_lot": 404, "wrong_role": 403, "own_submission": 403, "reason_required": 422, "reason_too_long": 422}


@router.post(_LOT + "/submit")
def submit(gtin: str, lot: str, page: OpenPage, form: Form) -> Response:
    """An operator hands the evidence in."""
    return _decide("submit", gtin, lot, page, form)


@router.post(_LOT + "/approve")
def approve(gtin: str, lot: str, page: OpenPage, form: Form) -> Response:
    """An official approves the version they looked at."""
    return _decide("approve", gtin, lot, page, form)


@router.post(_LOT + "/return")
def return_(gtin: str, lot: str, page: OpenPage, form: Form) -> Response:
    """An official sends it back with a reason."""
    return _decide("return", gtin, lot, page, form)


def _decide(kind: str, gtin: str, lot: str, page: Page, form: dict[str, str]) -> Response:
    by = checked_session(page, form).person
    gtin, lot = identify(gtin, lot)
    now_ms = page.site.now()
    try:
        if kind == "return":
            reason, version = form.get("reason", "").replace("\r\n", "\n"), _version(form)
            with writing(page.site.engine) as conn:
                submissions.return_(conn, gtin, lot, by=by, reason=reason, now_ms=now_ms, version=version)
        elif kind == "submit":
            act = partial(submissions.submit, gtin=gtin, lot=lot, by=by, now_ms=now_ms)
            submissions.decide(page.site.engine, gtin, lot, now_ms, lambda conn, seen: act(conn, examined=seen))
        else:
            act = partial(submissions.approve, gtin=gtin, lot=lot, by=by, now_ms=now_ms, version=_version(form))
            submissions.decide(page.site.engine, gtin, lot, now_ms, lambda conn, seen: act(conn, examined=seen))
    except ReviewError as error:
        raise Refused(_STATUS.get(error.code, 409), error.code) from error
    return RedirectResponse(page.link(lot_path(gtin, lot)), status_code=303)


def _version(form: dict[str, str]) -> int:
    """The evidence version the official had before them: a decision without one is not taken."""
    text = form.get("version", "")
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise Refused(400, "bad_form")
    return int(text)
