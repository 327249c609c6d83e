"""What browsers send with POST: small, sent by our own pages, by somebody signed in. All of it is checked here."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

FORM_MAX_BYTES = 16 * 1024
FORM_MAX_FIELDS = 24
_FORM_TYPE = "application/x-www-form-urlencoded"


class Refused(Exception):
    """A request answered by a page that says why not. code: `error.<code>` of the catalogue."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form. Raises Refused: foreign, too large, or no form at all."""
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
    if len(form) != len(fields) or any("\0" in value for value in form.values()):
        raise Refused(400, "bad_form")
    return form


def _is_same_origin(request: Request) -> bool:
    """Whether a browser says that the form came from one of our own pages; who isn't a browser says nothing."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
