"""Serves the page within the gateway's own process: 25 MB less than a process of its own, and nothing to keep in step.

It is a chore like others (edge/chores.py): whatever goes wrong in it, the recording goes on. Every request is bounded:
connections, header and form sizes, guesses of the password. It speaks plain HTTP: on 127.0.0.1 nobody listens in; on
another address it belongs into a network of the site's own, or behind a proxy that ends TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.alarms import Alarms
from edge.commission.control import Desk
from edge.config import GatewayConfig
from edge.local import actions, pages, password
from edge.local.form import Refused
from edge.local.pages import House, Page

CONNECTIONS_MAX = 24
HEADER_MAX_BYTES = 16 * 1024
KEEP_ALIVE_S = 5
LEAVE_S = 2.0
PASSWORD_LOOK_S = 2.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}

log = logging.getLogger(__name__)


async def keep_page(config: GatewayConfig, desk: Desk, alarms: Alarms) -> None:
    """Serve until cancelled; before there is a password, nobody. Raises OSError when the address cannot be used."""
    assert config.local is not None  # else nobody calls this
    await _password_is_there(config)
    house = House(desk, alarms)
    with socket.create_server((config.local.listen, config.local.port), reuse_port=False) as listener:
        server = _Server(
            uvicorn.Config(
                application(house),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=HEADER_MAX_BYTES,
                http="h11",
                ws="none",
            )
        )
        log.info("the page is served: address=%s port=%d", config.local.listen, config.local.port)
        serving = asyncio.create_task(server.serve([listener]), name="local page")
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = server.force_exit = True
            await house.work.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await asyncio.gather(serving, return_exceptions=True)


def application(house: House) -> ASGIApp:
    """The page as an ASGI application."""
    routes = [
        _route(house, "/sign-in", "GET", pages.sign_in_page, public=True),
        _route(house, "/sign-in", "POST", pages.sign_in, public=True),
        _route(house, "/static/local.css", "GET", pages.style, public=True),
        _route(house, "/", "GET", pages.status_page),
        _route(house, "/find", "GET", pages.find_page),
        _route(house, "/find", "POST", actions.start_scan),
        _route(house, "/bind", "POST", actions.bind),
        _route(house, "/change", "GET", pages.change_page),
        _route(house, "/change", "POST", actions.start_change),
        _route(house, "/report", "GET", pages.report_page),
        _route(house, "/test", "POST", actions.make_test),
        _route(house, "/sign-out", "POST", actions.sign_out),
    ]

    async def unknown(request: Request, _error: Exception) -> Response:
        return await pages.refused_page(Page(house, request), Refused(404, "not_found"))

    return _Headers(Starlette(routes=routes, exception_handlers={404: unknown, 405: unknown}))


def _route(
    house: House, path: str, method: str, handler: Callable[[Page], Awaitable[Response]], *, public: bool = False
) -> Route:
    async def answer(request: Request) -> Response:
        page = Page(house, request)
        if page.session is None and not public and method == "GET":
            return page.go("/sign-in")
        try:
            return await handler(page)
        except Refused as refused:
            return await pages.refused_page(page, refused)

    return Route(path, answer, methods=[method])


async def _password_is_there(config: GatewayConfig) -> None:
    told = ""
    while True:
        try:
            password.read(config.data_dir)
        except password.PasswordError as error:
            if str(error) != told:
                log.warning("the page is not served: %s", error)
            told = str(error)
            await asyncio.sleep(PASSWORD_LOOK_S)
        else:
            return


class _Server(uvicorn.Server):
    """Leaves the signals to the gateway."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


class _Headers:
    """ASGI middleware that puts HEADERS on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
