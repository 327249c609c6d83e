"""A time stamping authority (RFC 3161) of one's own: openssl answers, behind a small HTTP server."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""
EXTENSIONS = "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n"


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Authority:
    """Keys, certificates and answers of an authority. `spoil` changes an answer before it goes out."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.asked = 0
        self.status = 200
        self.spoil = lambda data: data
        self._file("tsa.cnf", CONFIG.format(folder=folder))
        self._file("extensions", EXTENSIONS)
        self._file("serial", "01\n")
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        for name in ("root", "tsa"):
            _openssl("genpkey", *curve, "-out", str(folder / f"{name}.key"))
        self.roots, self.certificate = folder / "root.pem", folder / "tsa.pem"
        root = ("-x509", "-new", "-key", str(folder / "root.key"), "-subj", "/CN=Root", "-days", "9", "-out")
        _openssl("req", *root, str(self.roots))
        _openssl("req", "-new", "-key", str(folder / "tsa.key"), "-subj", "/CN=TSA", "-out", str(folder / "tsa.csr"))
        signed = ("-CA", str(self.roots), "-CAkey", str(folder / "root.key"), "-CAcreateserial", "-days", "9")
        extensions = ("-extfile", str(folder / "extensions"))
        _openssl("x509", "-req", "-in", str(folder / "tsa.csr"), *signed, *extensions, "-out", str(self.certificate))

    def answer(self, query: bytes) -> bytes:
        """The response to a query, as the authority makes it."""
        self.asked += 1
        (self.folder / "query").write_bytes(query)
        who = ("-signer", str(self.certificate), "-inkey", str(self.folder / "tsa.key"))
        files = ("-queryfile", str(self.folder / "query"), "-out", str(self.folder / "response"))
        _openssl("ts", "-reply", "-config", str(self.folder / "tsa.cnf"), *files, *who)
        return self.spoil((self.folder / "response").read_bytes())

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The address it answers at."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = authority.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(authority.status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
