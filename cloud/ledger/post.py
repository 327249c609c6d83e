"""One HTTP request to somebody who vouches for the ledger, bounded in time and size; nobody is followed elsewhere."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any

import msgspec

from cloud.errors import Retryable

TIMEOUT_S = 10.0  # for the whole answer; a chore is all that waits for it
PIECE_BYTES = 4096


class Unanswered(Retryable):
    """Nobody answered, or not as was asked; `str()` says who and why."""


class Reply(msgspec.Struct, frozen=True):
    """What came back, whatever its status."""

    status: int
    media_type: str
    body: bytes


def post(url: str, data: bytes, *, media_type: str, limit: int, timeout_s: float = TIMEOUT_S) -> Reply:
    """POST `data`; at most `limit` bytes come back. Raises Unanswered."""
    ends_s = time.monotonic() + timeout_s
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(  # noqa: S310 - the configuration allows http and https only
        url, data=data, headers={"Content-Type": media_type, "User-Agent": "coldproof"}, method="POST"
    )
    try:
        with _opened(opener, request, timeout_s) as answer:
            body = _read(answer, limit, ends_s, url)
            return Reply(answer.status, answer.headers.get_content_type(), body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(f"{url}: no answer ({getattr(error, 'reason', error)}); check network and address") from error


def _opened(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout_s: float) -> Any:
    try:
        return opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        return error  # it is an answer, too


def _read(answer: Any, limit: int, ends_s: float, url: str) -> bytes:
    body = bytearray()
    while piece := answer.read1(PIECE_BYTES):
        body += piece
        if len(body) > limit:
            raise Unanswered(f"{url}: answers with more than {limit} bytes; is this the right address?")
        if time.monotonic() > ends_s:
            raise Unanswered(f"{url}: answers too slowly")
    if answer.length:  # a bounded read does not complain by itself
        raise Unanswered(f"{url}: the answer was cut off")
    return bytes(body)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """See urllib.request.HTTPRedirectHandler."""
