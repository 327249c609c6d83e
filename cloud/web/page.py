"""One request as the pages see it: its language, who is signed in, links that keep the language, and rendering."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine

from cloud.auth import sessions
from cloud.auth.attempts import Attempts
from cloud.auth.sessions import Session
from cloud.clock import Now
from cloud.config import CloudConfig
from cloud.db.engine import reading
from cloud.web import formats
from cloud.web.formats import Language
from cloud.web.wording import Wording, wording

HERE = Path(__file__).parent
STATIC = HERE / "static"
SESSION_COOKIE = "coldproof_session"


@dataclass(frozen=True, slots=True)
class Site:
    """What every page needs. now: the clock of evidence, maybe simulated; wall: the real one, for sessions."""

    engine: Engine
    now: Now
    wall: Now
    config: CloudConfig
    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Page:
    """A request: its language, its session if somebody is signed in, its path and query."""

    site: Site
    language: Language
    session: Session | None
    path: str
    query: dict[str, str]

    @property
    def words(self) -> Wording:
        """The messages in the reader's language."""
        return wording(self.language)

    def link(self, path: str, **query: object) -> str:
        """A link to a page of ours that keeps the language; empty values are left out."""
        return _address(path, query, self.language)

    def in_language(self, language: Language) -> str:
        """This page in another language."""
        kept = {key: value for key, value in self.query.items() if key != "lang"}
        return _address(self.path, kept, language)

    def named(self, vietnamese: str, english: str) -> str:
        """A name in the reader's language, as far as it has one."""
        return english if self.language == "en" and english else vietnamese


def _address(path: str, query: dict[str, Any], language: Language) -> str:
    kept = {key: str(value) for key, value in query.items() if value not in (None, "")}
    if language == "en":
        kept["lang"] = "en"
    return quote(path, safe="/%") + (f"?{urlencode(kept)}" if kept else "")


def open_page(request: Request) -> Page:
    """The page for a request (a FastAPI dependency): reads the session, and nothing else, from the database."""
    site: Site = request.app.state.site
    session = None
    if token := request.cookies.get(SESSION_COOKIE):
        with reading(site.engine) as conn:
            session = sessions.find(conn, token, site.wall())
    language: Language = "en" if request.query_params.get("lang") == "en" else "vi"
    return Page(site, language, session, _page_of(request), dict(request.query_params))


def _page_of(request: Request) -> str:
    """The path of the page a request belongs to, as it came; a lot's forms are sent to paths right below its page."""
    raw: bytes = request.scope.get("raw_path", b"")
    path = raw.decode("ascii", "replace").partition("?")[0]
    if request.method == "GET":
        return path
    return path.rpartition("/")[0] if path.startswith("/lots/") else "/sign-in"


def lot_path(gtin: str, lot: str) -> str:
    """The address of a lot page: the GS1 Digital Link path under /lots."""
    return f"/lots/01/{gtin}/10/{quote(lot, safe='')}"


def gateway_path(name: str) -> str:
    """The address of a gateway's page."""
    return f"/gateways/{name}"


def series_path(gateway: str, channel: str) -> str:
    """The address of a series' page; a channel keeps its slashes."""
    return f"{gateway_path(gateway)}/series/{quote(channel, safe='/')}"


def render(page: Page, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """An HTML response; private pages are kept by no cache."""
    html = _environment().get_template(template).render(page=page, t=page.words, f=_Formats(page.language), **values)
    return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})


class _Formats:
    """The formats with the reader's language filled in, for templates."""

    def __init__(self, language: Language) -> None:
        self.number: Callable[..., str] = partial(formats.number, language=language)
        self.percent = partial(formats.percent, language=language)
        self.day_and_time = partial(formats.day_and_time, language=language)
        self.short_day_and_time = partial(formats.short_day_and_time, language=language)
        self.day = partial(formats.day, language=language)
        self.span = partial(formats.span, language=language)
        self.quantity = partial(formats.quantity, language=language)
        self.iso = formats.iso
        self.clock_time = formats.clock_time


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style_version"] = hashlib.sha256((STATIC / "coldproof.css").read_bytes()).hexdigest()[:12]
    environment.globals |= {"lot_path": lot_path, "gateway_path": gateway_path, "series_path": series_path}
    return environment
