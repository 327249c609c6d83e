"""`/healthz`: whether every part of this process does its work, with the reasons where one does not."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy import Engine, text

from cloud.db.engine import reading
from cloud.errors import CloudError
from cloud.health import Health, PartHealth

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz(request: Request) -> Response:
    """200 while everything does its work, 503 with the reasons otherwise."""
    health: Health = request.app.state.health()
    parts = health.parts | {"database": _database_health(request.app.state.engine)}
    reasons = [f"{name}: {part.state}" for name, part in parts.items() if not part.ok]
    body = {"status": "unwell" if reasons else "ok", "reasons": reasons, "parts": parts, "counters": health.counters}
    return Response(msgspec.json.encode(body), status_code=503 if reasons else 200, media_type="application/json")


def _database_health(engine: Engine) -> PartHealth:
    try:
        with reading(engine) as conn:
            conn.execute(text("SELECT 1"))
    except CloudError as error:
        return PartHealth(False, str(error))
    return PartHealth(True, "answers")
