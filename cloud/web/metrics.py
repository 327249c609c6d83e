"""`/metrics` for Prometheus. They tell of stock and traffic: for this machine, or for whoever shows the token.

Without a token a request must come from this machine and straight to us: not through a web server in front, which would
bring the whole world in under its own address.
"""

from __future__ import annotations

import hmac
import ipaddress

from fastapi import APIRouter, Request, Response

from cloud.config import WatchConfig
from cloud.errors import Fatal
from cloud.watch.exposition import CONTENT_TYPE, exposition
from cloud.watch.gauges import MetricsOf

router = APIRouter(include_in_schema=False)

TOKEN_MIN = 16  # letters; `openssl rand -hex 32` gives 64
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def read_token(config: WatchConfig) -> str | None:
    """The token that opens the metrics, None when there is none. Raises Fatal."""
    file = config.metrics_token_file
    if file is None:
        return None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Fatal(
            f"[watch] metrics_token_file {file}: cannot be read ({error}); write a token on one line"
        ) from error
    if len(token) < TOKEN_MIN or not token.isprintable() or " " in token:
        raise Fatal(f"[watch] metrics_token_file {file}: {TOKEN_MIN} letters or more on one line, without a space")
    return token


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """The figures as Prometheus text; 403 for strangers, 401 for a wrong token."""
    token: str | None = request.app.state.metrics_token
    if token is not None:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            return _said(401, "metrics: show the token of [watch] metrics_token_file\n", {"WWW-Authenticate": "Bearer"})
    elif not _is_from_here(request):
        return _said(403, "metrics: for this machine only; set [watch] metrics_token_file to let others in\n")
    metrics_of: MetricsOf = request.app.state.metrics
    return Response(exposition(metrics_of()), media_type=CONTENT_TYPE)


def _is_from_here(request: Request) -> bool:
    if any(name in request.headers for name in _FORWARDED):
        return False
    here = request.url.hostname or ""
    return _is_loopback(request.client.host if request.client else "") and (here == "localhost" or _is_loopback(here))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _said(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status_code=status, media_type="text/plain; charset=utf-8", headers=headers)
