"""The HTTP server of a witness: one path, small bodies, bounded time and company, from the standard library."""

from __future__ import annotations

import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloud.errors import Fatal
from coldproof.ledger_witness import Witness
from standards.tlog.witness import REQUEST_MAX_BYTES, TEXT_TYPE

PATH = "/add-checkpoint"
COMPANY_MAX = 32  # connections at once; logs are few, and each asks once a minute
TIMEOUT_S = 10  # for each read: who is slower is cut off
_log = logging.getLogger(__name__)


class WitnessServer(ThreadingHTTPServer):
    """Answers for one witness; `serve_forever` until `shutdown`. Raises Fatal when the address is taken."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        self.witness = witness
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._company = threading.BoundedSemaphore(COMPANY_MAX)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise Fatal(f"{host}:{port}: cannot listen there ({error.strerror}); choose another port") from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """As the base class, unless there is too much company already."""
        if not self._company.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """As the base class; makes room at the end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._company.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """A client that went away is no error of ours; anything else is logged."""
        _log.info("a request ended early: %s", client_address[0], exc_info=_log.isEnabledFor(logging.DEBUG))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "coldproof-witness"
    sys_version = ""
    timeout = TIMEOUT_S
    server: WitnessServer

    def do_POST(self) -> None:
        """`add-checkpoint`."""
        length = self._length()
        if length is None:
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self._say(400, TEXT_TYPE, "the request was cut off\n", last=True)
        elif self.path != PATH:
            self._say(404, TEXT_TYPE, f"there is only {PATH} here\n")
        else:
            self._say(*self.server.witness.answer(body))

    def do_GET(self) -> None:
        """Say what this is."""
        self._say(405, TEXT_TYPE, f"a witness (c2sp.org/tlog-witness): POST {PATH}\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Requests are not logged; what was cosigned is."""

    def _length(self) -> int | None:
        """How long the body is; None when it was refused already."""
        told = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (told.isascii() and told.isdecimal() and len(told) < 20):
            self._say(411, TEXT_TYPE, "say the length of the body (Content-Length)\n", last=True)
        elif int(told) > REQUEST_MAX_BYTES:
            self._say(413, TEXT_TYPE, f"a request has at most {REQUEST_MAX_BYTES} bytes\n", last=True)
        else:
            return int(told)
        return None

    def _say(self, status: int, media_type: str, body: str, *, last: bool = False) -> None:
        data = body.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        if last:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)
