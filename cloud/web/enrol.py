"""Where gateways enrol and renew their link certificates: one signed letter in, one signed letter out.

Refusals are JSON: `code` for machines, `detail` for the person at the gateway.
"""

from __future__ import annotations

import hashlib
import math

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from cloud.auth.attempts import Attempts
from cloud.db.engine import reading, writing
from cloud.enrol.admission import EnrolmentRefused, answer, check, open_letter, open_office
from cloud.keys import load_or_create
from cloud.web.page import Site
from wire.enrolment import MEDIA_TYPE, PATH, REQUEST_MAX_BYTES

router = APIRouter(include_in_schema=False)


@router.post(PATH)
async def enrol(request: Request) -> Response:
    """Take a letter within its bounds; wrong ones are counted per address."""
    letter = bytearray()
    async for part in request.stream():
        letter += part
        if len(letter) > REQUEST_MAX_BYTES:
            return _refusal(413, "too_large", f"more than {REQUEST_MAX_BYTES} bytes")
    address = request.client.host if request.client else ""
    state = request.app.state
    return await run_in_threadpool(_answer, state.site, state.enrolments, bytes(letter), address)


def _answer(site: Site, attempts: Attempts, letter: bytes, address: str) -> Response:
    which = hashlib.sha256(letter).hexdigest()  # the same wrong letter again is stopped sooner than different ones
    wait_s = attempts.reserve(which, address)
    if wait_s > 0:
        refusal = _refusal(429, "too_many", f"too many wrong letters from {address}; try again later")
        refusal.headers["Retry-After"] = str(math.ceil(wait_s))
        return refusal
    now_ms = site.wall()
    office = open_office(site.config, load_or_create(site.config.data_dir), now_ms)
    try:
        opened = open_letter(letter)
        with reading(site.engine) as conn:
            check(conn, opened, now_ms)
        with writing(site.engine) as conn:
            body = answer(conn, office, opened, now_ms=now_ms, registered_ms=site.now())
    except EnrolmentRefused as error:
        return _refusal(error.status, error.code, str(error))
    attempts.succeeded(which, address)
    return Response(body, media_type=MEDIA_TYPE)


def _refusal(status: int, code: str, detail: str) -> Response:
    body = msgspec.json.encode({"status": status, "code": code, "detail": detail})
    return Response(body, status_code=status, media_type="application/problem+json")
