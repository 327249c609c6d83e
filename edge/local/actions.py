"""Forms of the page that change something: each needs a session and its token."""

from __future__ import annotations

from starlette.responses import Response

from edge.commission import letters
from edge.commission.bind import BindRefused
from edge.config import ConfigError
from edge.local.form import Refused, read_form
from edge.local.pages import COOKIE, Page, change_page, find_page
from edge.local.work import Busy


async def sign_out(page: Page) -> Response:
    """End the session."""
    await _checked(page)
    page.house.sessions.end(page.token)
    answer = page.go("/sign-in")
    answer.delete_cookie(COOKIE, path="/")
    return answer


async def start_scan(page: Page) -> Response:
    """Look for devices."""
    form = await _checked(page)
    try:
        page.house.work.start_scan(form)
    except Busy:
        return await find_page(page, problem=page.words("error.busy"), status=409)
    except ValueError as error:
        return await find_page(page, problem=str(error), status=400)
    return page.go("/find")


async def bind(page: Page) -> Response:
    """Write a found device into the configuration."""
    form = await _checked(page)
    try:
        name = page.house.work.bind(form)
    except (BindRefused, ConfigError, OSError, ValueError) as error:
        return await find_page(page, problem=str(error), status=400)
    return await find_page(page, saved=page.words("find.saved", name=name))


async def start_change(page: Page) -> Response:
    """Take over what the file says."""
    form = await _checked(page)
    try:
        within_s = max(1.0, min(600.0, float(form.get("within") or 30)))
        page.house.work.start_change(within_s, form.get("expected", ""))
    except Busy:
        return await change_page(page, problem=page.words("error.busy"), status=409)
    except ValueError as error:
        return await change_page(page, problem=str(error), status=400)
    return page.go("/change")


async def make_test(page: Page) -> Response:
    """A test alarm or scan."""
    form = await _checked(page)
    kind = "scan" if form.get("kind") == "scan" else "alarm"
    request = letters.Test(kind, form.get("channel", "")[:200], form.get("value", "")[:4096])  # type: ignore[arg-type]
    answer = await page.house.desk.test(request)
    if isinstance(answer, letters.Refused):
        return page.show("error.html", 400, message=f"{page.words('test.refused')} {answer.text}")
    return page.go("/")


async def _checked(page: Page) -> dict[str, str]:
    """The form of somebody signed in, with the session's token. Raises Refused."""
    form = await read_form(page.request)
    if page.session is None:
        raise Refused(401, "session_over")
    if not page.session.accepts(form.get("csrf", "")):
        raise Refused(403, "foreign_form")
    return form
