"""The pages and the API as one ASGI application. No script anywhere; every answer carries the security headers."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from starlette.exceptions import HTTPException

from cloud.auth.attempts import Attempts
from cloud.clock import Now, system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import OutcomeUnknown
from cloud.errors import Retryable
from cloud.web import (
    api,
    bundle,
    checks_page,
    completeness_page,
    enrol,
    history_api,
    ledger,
    lot_page,
    review,
    sign_in,
    start_page,
)
from cloud.web.form import Refused
from cloud.web.page import STATIC, Page, Site, open_page, render
from cloud.web.security import HEADERS, SecurityHeaders
from cloud.web.watch import add_watch

_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(engine: Engine, now: Now, config: CloudConfig, *, wall: Now = system_now_ms) -> FastAPI:
    """The web application over an open, migrated database.

    now: the clock evidence is judged by, maybe simulated; wall: the real clock, for sessions. Raises Fatal.
    """
    app = FastAPI(title="coldproof", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    app.state.site = Site(engine, now, wall, config, Attempts())
    app.state.enrolments = Attempts()  # apart from people's: one must not lock the other out
    app.add_middleware(SecurityHeaders, https=config.public_url.startswith("https:"))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for part in (
        start_page,
        sign_in,
        review,
        lot_page,
        checks_page,
        completeness_page,
        enrol,
        ledger,
        bundle,
        api,
        history_api,
    ):
        app.include_router(part.router)
    add_watch(app, engine, config.watch)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Retryable, _unavailable)
    app.add_exception_handler(Exception, _unexpected)
    api.describe(app, history_api.NOUNS)
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _answer(request, error.status, error.code)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _answer(request, error.status_code, _CODES.get(error.status_code, "bad_request"))
    answer.headers.update(error.headers or {})
    return answer


def _bad_request(request: Request, _error: Exception) -> Response:
    return _answer(request, 400, "bad_request")


def _unavailable(request: Request, error: Exception) -> Response:
    """The database is locked, full or away."""
    answer = _blind_answer(request, 503, "outcome_unknown" if isinstance(error, OutcomeUnknown) else "unavailable")
    answer.headers["Retry-After"] = "30"
    return answer


def _unexpected(request: Request, _error: Exception) -> Response:
    """A defect of ours: the server logs it; this answer passes by the middleware, so it brings its own headers."""
    answer = _blind_answer(request, 500, "unexpected")
    answer.headers.update(HEADERS)
    return answer


def _blind_answer(request: Request, status: int, code: str) -> Response:
    """An answer that asks the database nothing: whatever went wrong would only go wrong again."""
    page = Page(request.app.state.site, "en" if request.query_params.get("lang") == "en" else "vi", None, "/", {})
    return api.problem(page, status, code) if _is_api(request) else _error_page(page, status, code)


def _answer(request: Request, status: int, code: str) -> Response:
    page = open_page(request)
    if _is_api(request):
        return api.problem(page, status, code)
    if code == "sign_in_first":
        return RedirectResponse(page.link("/sign-in", next=page.path if page.path != "/" else ""), status_code=303)
    return _error_page(page, status, code)


def _error_page(page: Page, status: int, code: str) -> Response:
    way_out = "/sign-in" if code == "session_over" else "/"
    if page.session is not None and page.path.startswith("/lots/") and code not in {"unknown_lot", "impossible_lot"}:
        way_out = page.path
    return render(page, "error.html", status, number=status, code=code, way_out=way_out)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
