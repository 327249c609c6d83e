"""A lot's evidence bundle as a download: `coldproof verify` checks it on any machine."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from cloud.bundle.make import Ledger, lot_bundle
from cloud.bundle.packs import TooMany
from cloud.db.engine import reading
from cloud.evidence.lot import lot_events
from cloud.web.api import SignedIn
from cloud.web.form import Refused
from cloud.web.lot_page import identify
from cloud.web.page import Site

MEDIA_TYPE = "application/vnd.coldproof.bundle.v1"
PACKS_MAX = 50_000  # made while somebody waits: about a minute; the command line makes larger ones
_CHUNK_BYTES = 256 * 1024
_SPOOL_BYTES = 16 * 1024 * 1024
_one_at_a_time = threading.BoundedSemaphore(1)  # each costs a processor, and up to twice its size on disk

router = APIRouter(prefix="/api/v1")


@router.get("/lots/{gtin}/{lot:path}/bundle", response_class=Response, responses={200: {"content": {MEDIA_TYPE: {}}}})
def bundle(gtin: str, lot: str, page: SignedIn) -> Response:
    """A lot's evidence bundle, as known now; one is made at a time."""
    gtin, lot = identify(gtin, lot)
    site = page.site
    with reading(site.engine) as conn:
        if not lot_events(conn, gtin, lot, site.now()):
            raise Refused(404, "unknown_lot")
    if not _one_at_a_time.acquire(blocking=False):
        raise Refused(503, "unavailable")
    try:
        file = _made(site, gtin, lot)
    finally:
        _one_at_a_time.release()
    size = file.tell()
    file.seek(0)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{gtin}-{lot}.coldproof")
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size)}
    return StreamingResponse(_chunks(file), media_type=MEDIA_TYPE, headers=headers)


def _made(site: Site, gtin: str, lot: str) -> BinaryIO:
    """The bundle in a file without a name, which its reader closes. Raises Refused."""
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the answer closes it
    file = cast("BinaryIO", spool)
    try:
        ledger = Ledger(site.config.data_dir, site.config.ledger_origin, PACKS_MAX)
        lot_bundle(site.engine, ledger, (gtin, lot), file, now_ms=site.now())
    except TooMany as error:
        file.close()
        raise Refused(413, "too_much") from error
    except BaseException:
        file.close()
        raise
    return file


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
