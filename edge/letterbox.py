"""One letter to the cloud by HTTP, one letter back. What they say is signed inside: the line is not what is trusted."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from wire.enrolment import ANSWER_MAX_BYTES, MEDIA_TYPE, PATH

TIMEOUT_S = 30.0
REFUSAL_MAX_BYTES = 4096
SHOWN_CHARS = 300
CLOCK_SLACK_S = 86_400


class CloudUnreachable(Exception):
    """Nobody answered as a cloud would: try again. `str()` says where and why."""


class CloudRefused(Exception):
    """Somebody answered no, in the cloud's place at least: the refusal is not signed. `code` is one word."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def post(url: str, letter: bytes, *, not_before_s: int) -> bytes:
    """Send a letter to the cloud at `url` and return its answer. Blocks for TIMEOUT_S at most per step.

    not_before_s: a time that has certainly been. With a clock before it (1970, say) no certificate of a web server
    would be believed; it is not looked at then. Raises CloudUnreachable, CloudRefused.
    """
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=_context(not_before_s)))
    try:
        request = urllib.request.Request(  # noqa: S310 - read_code and read_place allow http and https only
            url + PATH, data=letter, headers={"Content-Type": MEDIA_TYPE}, method="POST"
        )
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            body: bytes = answer.read(ANSWER_MAX_BYTES + 1)
            if answer.length and len(body) <= ANSWER_MAX_BYTES:  # a bounded read does not complain by itself
                raise CloudUnreachable(f"{url}: the answer was cut off; try again")
            return body
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.code, _read(error), url) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        raise CloudUnreachable(f"{url}: no answer ({why}); check network, address and clock") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The code says where the cloud is; who sends us elsewhere is not it."""

    def redirect_request(self, *_: Any) -> None:
        """See urllib.request.HTTPRedirectHandler."""


def _context(not_before_s: int) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if time.time() < not_before_s - CLOCK_SLACK_S:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(REFUSAL_MAX_BYTES)
    except (OSError, http.client.HTTPException):
        return b""


def _refusal(status: int, body: bytes, url: str) -> CloudRefused | CloudUnreachable:
    try:
        told = json.loads(body)
        code, detail = str(told["code"]), str(told["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return CloudUnreachable(f"{url}: answers with HTTP status {status}; is this the cloud's address?")
    shown = "".join(character if character.isprintable() else "\ufffd" for character in detail[:SHOWN_CHARS])
    return CloudRefused(code[:SHOWN_CHARS], f"{url} says: {shown}")
