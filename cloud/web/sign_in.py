"""Signing in and out."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from cloud.auth import sessions
from cloud.auth.people import verify
from cloud.db.engine import reading, writing
from cloud.web.form import checked_session, read_form
from cloud.web.page import SESSION_COOKIE, Page, open_page, render

router = APIRouter(include_in_schema=False)
OpenPage = Annotated[Page, Depends(open_page)]
Form = Annotated[dict[str, str], Depends(read_form)]

_LOGIN_MAX = 64


@router.get("/sign-in")
def sign_in_page(page: OpenPage) -> Response:
    """The form; somebody signed in already goes where they wanted."""
    target = safe_target(page.query.get("next", ""))
    if page.session is not None:
        return RedirectResponse(page.link(target), status_code=303)
    return render(page, "sign_in.html", target=target, login="", problem=None)


@router.post("/sign-in")
def sign_in(request: Request, page: OpenPage, form: Form) -> Response:
    """Check login and password. A new token is made each time; the one the browser brought is ended."""
    site, words = page.site, page.words
    login = form.get("login", "").strip().lower()[:_LOGIN_MAX]
    target = safe_target(form.get("next", ""))
    address = request.client.host if request.client else ""
    wait_s = site.attempts.reserve(login, address)
    if wait_s > 0:
        problem = words.counted("sign_in.locked", math.ceil(wait_s / 60))
        locked = render(page, "sign_in.html", 429, target=target, login=login, problem=problem)
        locked.headers["Retry-After"] = str(math.ceil(wait_s))
        return locked
    with reading(site.engine) as conn:
        person = verify(conn, login, form.get("password", ""))
    if person is None:
        return render(page, "sign_in.html", 401, target=target, login=login, problem=words("sign_in.wrong"))
    site.attempts.succeeded(login, address)
    with writing(site.engine) as conn:
        if old := request.cookies.get(SESSION_COOKIE):
            sessions.end(conn, old)
        token = sessions.start(conn, person.login, site.wall())
    answer = RedirectResponse(page.link(target), status_code=303)
    answer.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=sessions.LIFETIME_MS // 1000,
        httponly=True,
        samesite="lax",
        secure=_is_https(request, page),
    )
    return answer


@router.post("/sign-out")
def sign_out(request: Request, page: OpenPage, form: Form) -> Response:
    """End the session, here and in the database."""
    checked_session(page, form)
    with writing(page.site.engine) as conn:
        sessions.end(conn, request.cookies[SESSION_COOKIE])
    answer = RedirectResponse(page.link("/sign-in"), status_code=303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=_is_https(request, page))
    return answer


def safe_target(wanted: str) -> str:
    """Where to go after signing in: a path of ours, never another site; the start page when in doubt."""
    is_ours = wanted.startswith("/") and not wanted.startswith("//") and len(wanted) <= 512
    is_plain = wanted.isascii() and wanted.isprintable() and not set(wanted) & set("\\?#")
    return wanted if is_ours and is_plain else "/"


def _is_https(request: Request, page: Page) -> bool:
    """Also behind a proxy that ends TLS: then the public address says so."""
    return request.url.scheme == "https" or page.site.config.public_url.startswith("https:")
