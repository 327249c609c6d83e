"""What browsers send us with POST: small, of our own pages, by somebody signed in. All of it is checked here.

Refusals are `Refused`: a status and a message of the catalogue, shown as a page in plain words.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from cloud.auth.sessions import Session
from cloud.web.page import Page

FORM_MAX_BYTES = 32 * 1024  # 2,000 Vietnamese letters, percent-encoded, are 18,000 bytes
FORM_MAX_FIELDS = 16
_FORM_TYPE = "application/x-www-form-urlencoded"


class Refused(Exception):
    """A request we answer with a page that says why not. code: `error.<code>` in the catalogue."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form (a FastAPI dependency). Raises Refused: foreign, too large, or no form at all."""
    if not _is_same_origin(request):
        raise Refused(403, "foreign_form")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise Refused(415, "bad_form")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_MAX_BYTES:
            raise Refused(413, "form_too_large")
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_MAX_FIELDS
        )
    except ValueError as error:
        raise Refused(400, "bad_form") from error
    form = dict(fields)
    if len(form) != len(fields) or any("\x00" in value for value in form.values()):
        raise Refused(400, "bad_form")
    return form


def checked_session(page: Page, form: dict[str, str]) -> Session:
    """The session behind a form whose CSRF token fits. Raises Refused."""
    if page.session is None:
        raise Refused(401, "session_over")
    if not page.session.accepts(form.get("csrf", "")):
        raise Refused(403, "foreign_form")
    return page.session


def _is_same_origin(request: Request) -> bool:
    """Whether a browser says that the form came from one of our own pages; who isn't a browser says nothing."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
