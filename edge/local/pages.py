"""The pages: what is shown at which address, to whom. Forms that change something are in actions.py."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.alarms import Alarms
from edge.commission.change import compare
from edge.commission.control import Desk
from edge.commission.hand_over import report_of
from edge.commission.installation import InstallationError
from edge.commission.pdf import NoPdf, make_pdf
from edge.config import ConfigError
from edge.local import password, view
from edge.local.form import Refused, read_form
from edge.local.session import Guesses, Session, Sessions
from edge.local.wording import LANGUAGES, Language, Wording, language_of
from edge.local.work import Work, expected_of

COOKIE = "coldproof_local"
RENEW_S = 10
WORK_RENEW_S = 2


class House:
    """What all pages share."""

    def __init__(self, desk: Desk, alarms: Alarms) -> None:
        self.desk, self.alarms = desk, alarms
        self.work = Work(desk)
        self.sessions = Sessions(time.monotonic)
        self.guesses = Guesses(time.monotonic)
        self.reporting = asyncio.Lock()
        self._password = self._stamp()

    def mind_password(self) -> None:
        """A password that was set anew signs everybody out."""
        now = self._stamp()
        if now != self._password:
            self._password = now
            self.sessions.end_all()

    def _stamp(self) -> int:
        try:
            return (self.desk.applier.running.data_dir / password.NAME).stat().st_mtime_ns
        except OSError:
            return 0


class Page:
    """One request: its language, its session, and how it is answered."""

    def __init__(self, house: House, request: Request) -> None:
        self.house, self.request = house, request
        self.words = Wording(language_of(request.query_params.get("lang", "")))
        self.token = request.cookies.get(COOKIE, "")
        house.mind_password()
        self.session: Session | None = house.sessions.find(self.token)

    @property
    def language(self) -> Language:
        """The language asked for."""
        return self.words.language

    def link(self, path: str, language: str = "") -> str:
        """An address of ours in this language, or another one."""
        language = language or self.language
        return path if language == "vi" else f"{path}?lang={language}"

    def show(self, template: str, status: int = 200, *, renew_s: int = 0, **values: Any) -> Response:
        """The page made of a template."""
        running = self.house.desk.applier.running
        html = _templates().get_template(template).render(
            page=self, t=self.words, gateway=running.name, languages=LANGUAGES, renew_s=renew_s, view=view, **values
        )  # fmt: skip
        return Response(html, status, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})

    def go(self, path: str) -> Response:
        """Show another page instead."""
        return RedirectResponse(self.link(path), status_code=303)


Handler = Callable[[Page], Awaitable[Response]]


async def sign_in_page(page: Page) -> Response:
    """The form."""
    return page.go("/") if page.session else page.show("sign_in.html", problem="")


async def sign_in(page: Page) -> Response:
    """Look at a password. A new token is made each time."""
    house, form = page.house, await read_form(page.request)
    address = page.request.client.host if page.request.client else ""
    wait_s = house.guesses.wait_s(address)
    if wait_s > 0:
        problem = page.words("sign_in.wait", seconds=math.ceil(wait_s))
        return page.show("sign_in.html", 429, problem=problem)
    house.guesses.failed(address)
    try:
        kept = password.read(house.desk.applier.running.data_dir)
    except password.PasswordError:
        return page.show("sign_in.html", 401, problem=page.words("sign_in.wrong"))
    if not await run_in_threadpool(password.fits, kept, form.get("password", "")):
        return page.show("sign_in.html", 401, problem=page.words("sign_in.wrong"))
    house.guesses.succeeded(address)
    house.sessions.end(page.token)
    answer = page.go("/")
    answer.set_cookie(COOKIE, house.sessions.start(), httponly=True, samesite="strict", path="/")
    return answer


async def status_page(page: Page) -> Response:
    """Alarms, devices with their curves, and the gateway itself."""
    house = page.house
    desk, running, look = house.desk, house.desk.applier.running, house.desk.status()
    alarms = house.alarms.active()
    newest, curves = desk.tap.newest(), desk.tap.curves()

    def drawn() -> list[view.Device]:
        return view.devices(look, newest, curves=curves, limits=running.limits, alarms=alarms, words=page.words)

    shown = await run_in_threadpool(drawn)  # the loop has scanners to answer meanwhile
    return await run_in_threadpool(
        page.show,
        "status.html",
        renew_s=RENEW_S,
        look=look,
        devices=shown,
        alarms=alarms,
        history=house.alarms.history()[:8],
        command_error=house.alarms.last_error,
        rows=view.gateway_rows(look, running, page.words),
        scans=desk.tap.scans()[::-1][:8],
        limited={limit.channel for limit in running.limits},
        scanners=[
            f"{device.name}/{device.options.point}" for device in desk.crew.devices if hasattr(device.options, "point")
        ],
        now=view.when(time.time_ns() // 1_000_000),
    )


async def find_page(page: Page, *, problem: str = "", saved: str = "", status: int = 200) -> Response:
    """What was found, and the form to look again."""
    work = page.house.work
    return page.show(
        "find.html",
        status,
        renew_s=WORK_RENEW_S if work.scan.running else 0,
        work=work,
        problem=problem,
        saved=saved,
        places=work.places(),
        cause=lambda finding: page.words(f"cause.{finding.cause}") if finding.cause else "",
    )


async def change_page(page: Page, *, problem: str = "", status: int = 200) -> Response:
    """How the file differs from what runs, and how the last change went."""
    work = page.house.work
    change, expected = None, ""
    try:
        wanted = await run_in_threadpool(work.wanted)
        change, expected = compare(work.config, wanted), expected_of(wanted)
    except ConfigError as error:
        problem = problem or f"{page.words('change.wrong')}\n{error}"
    renew_s = WORK_RENEW_S if work.change.running else 0
    return page.show(
        "change.html", status, renew_s=renew_s, work=work, change=change, expected=expected, problem=problem
    )


async def report_page(page: Page) -> Response:
    """The installation report as PDF, one at a time."""
    house = page.house
    if house.reporting.locked():
        raise Refused(409, "busy")
    async with house.reporting:
        running = house.desk.applier.running
        try:
            made = await run_in_threadpool(report_of, house.desk.status(), running, page.language)
            pdf = await make_pdf(made)
        except (InstallationError, NoPdf) as error:
            return page.show("error.html", 500, message=str(error))
    name = f'attachment; filename="{running.name}-installation-{page.language}.pdf"'
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return Response(pdf, media_type="application/pdf", headers=headers)


async def refused_page(page: Page, refused: Refused) -> Response:
    """Why not."""
    return page.show("error.html", refused.status, message=page.words(f"error.{refused.code}"))


async def style(_page: Page) -> Response:
    """The style sheet."""
    return Response(_style(), media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@cache
def _style() -> str:
    return (resources.files("edge.local") / "static" / "local.css").read_text("utf-8")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("edge.local"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
