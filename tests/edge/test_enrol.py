"""Enrolment ends well however often it is interrupted, and believes nobody but the cloud of the code."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from cloud.enrol import authority as ca
from edge import enrol as module
from edge.durable import replace_file
from edge.enrol import CLOUD, LINK, NEXT_KEY, PLACE, TRUST, EnrolError, enrol, expires_at, read_place, renew
from edge.keys import PRIVATE_NAME, PUBLIC_NAME, Identity, load_cloud_key, load_or_make
from edge.letterbox import CloudRefused, CloudUnreachable, post
from wire import enrolment as wire
from wire.enrolment import Code, Enrolment, Link

NAME = "gw-1"
LIFETIME = datetime.timedelta(days=90)


class Cloud:
    """A cloud on loopback that answers every proper letter; `meddle` is who sits on the line."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.authority = ca.load_or_create(folder / "cloud", _now_ms())
        self.meddle: Callable[[bytes, BaseHTTPRequestHandler], bytes | None] = lambda answer, _: answer
        self.shape: Callable[[Link], Link] = lambda link: link
        self.asked: list[wire.Enrolment | wire.Renewal] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                letter = self.rfile.read(int(self.headers["Content-Length"]))
                answer = cloud.meddle(cloud.answer(letter), self)
                if answer is not None:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            key = ca.new_key()
            made = ca.issue_server(self.authority, ["127.0.0.1"], key.public_key(), now_ms=_now_ms())
            file = folder / "web.pem"
            ca.write_key_and_certificate(file, key, made)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def code(self, gateway: str = NAME, *, issued_s: int | None = None) -> Code:
        issued_s = int(time.time()) if issued_s is None else issued_s
        return wire.new_code(cloud_key=self.key.public_key(), gateway=gateway, url=self.url, issued_s=issued_s)

    def answer(self, letter: bytes) -> bytes:
        _, request = wire.open_request(letter)
        self.asked.append(request)
        public = x509.load_der_x509_csr(request.csr).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        made = ca.issue_client(self.authority, request.gateway, public, now_ms=_now_ms(), lifetime=LIFETIME)
        link = Link(
            request.gateway,
            wire.letter_hash(letter),
            made.public_bytes(Encoding.DER),
            self.authority.certificate.public_bytes(Encoding.DER),
            "broker.example.vn",
            8883,
            self.key.public_key().public_bytes_raw(),
            _now_ms(),
        )
        return wire.seal_link(self.shape(link), key=self.key)

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join(10)
        self.server.server_close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The gateway's data folder."""
    return tmp_path / "edge"


def _who(folder: Path) -> Identity:
    return load_or_make(folder, NAME)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


UNENROLLED = sorted([PRIVATE_NAME, PUBLIC_NAME, NEXT_KEY])
ENROLLED = sorted([PRIVATE_NAME, PUBLIC_NAME, CLOUD, TRUST, PLACE, LINK])


def test_enrolled_gateway_has_all_it_needs_and_keeps_its_keys_to_itself(cloud: Cloud, folder: Path) -> None:
    code, who = cloud.code(), _who(folder)
    place = enrol(code, folder, who)
    assert (place.cloud_url, place.broker_host, place.broker_port) == (cloud.url, "broker.example.vn", 8883)
    assert read_place(folder) == place
    assert place.known_s >= code.issued_s
    assert _names(folder) == ENROLLED
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert (modes[LINK], modes[PRIVATE_NAME], modes[TRUST], modes[CLOUD]) == (0o600, 0o600, 0o644, 0o644)
    assert load_cloud_key(CLOUD, folder) == cloud.key.public_key()
    link = (folder / LINK).read_bytes()
    key, certificate = load_pem_private_key(link, None), x509.load_pem_x509_certificate(link)
    assert key.public_key() == certificate.public_key()
    ssl.create_default_context(cafile=folder / TRUST).load_cert_chain(folder / LINK)
    assert expires_at(folder) == certificate.not_valid_after_utc
    (request,) = cloud.asked
    assert isinstance(request, Enrolment)
    assert wire.is_proven(request, code.key.public_key())
    assert request.public_key == who.key.public_key().public_bytes_raw()


def test_lost_answer_is_asked_for_again_with_the_same_keys(cloud: Cloud, folder: Path) -> None:
    def cut(_answer: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\nhalf")

    code, cloud.meddle = cloud.code(), cut
    with pytest.raises(CloudUnreachable):
        enrol(code, folder, _who(folder))
    assert _names(folder) == UNENROLLED
    cloud.meddle = lambda answer, _: answer
    enrol(code, folder, _who(folder))
    enrol(code, folder, _who(folder))
    keys = {
        x509.load_der_x509_csr(one.csr).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for one in cloud.asked
    }
    assert len(cloud.asked) == 3
    assert len(keys) == 1
    assert _names(folder) == ENROLLED


@pytest.mark.parametrize("at", range(5))
def test_power_cut_while_writing_is_mended_by_doing_it_again(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    code, who, writes = cloud.code(), _who(folder), 0

    def failing(path: Path, content: bytes, *, mode: int) -> None:
        nonlocal writes
        if writes == at:
            raise OSError("the power is gone")
        writes += 1
        replace_file(path, content, mode=mode)

    monkeypatch.setattr(module, "replace_file", failing)
    with pytest.raises(EnrolError, match="the power is gone"):
        enrol(code, folder, who)
    assert not (folder / LINK).exists()
    monkeypatch.undo()
    enrol(code, folder, who)
    assert _names(folder) == ENROLLED
    assert len({x509.load_der_x509_csr(one.csr).public_key().public_numbers().x for one in cloud.asked}) == 1


def _flipped(answer: bytes, at: int) -> bytes:
    return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]


@pytest.mark.parametrize("at", [0, 60, 120, 300, -1])
def test_answer_changed_by_somebody_on_the_line_is_not_believed(cloud: Cloud, folder: Path, at: int) -> None:
    cloud.meddle = lambda answer, _: _flipped(answer, at % len(answer))
    with pytest.raises(EnrolError, match=r"not the cloud's.*somebody on the way"):
        enrol(cloud.code(), folder, _who(folder))
    assert _names(folder) == UNENROLLED


def test_another_cloud_on_the_line_is_not_believed(cloud: Cloud, folder: Path, tmp_path: Path) -> None:
    code, impostor = cloud.code(), Cloud(tmp_path / "impostor")
    cloud.key, cloud.authority = impostor.key, impostor.authority  # it answers in its own name, all in order
    impostor.close()
    with pytest.raises(EnrolError, match="another cloud's than the one the code names"):
        enrol(code, folder, _who(folder))
    assert _names(folder) == UNENROLLED


@pytest.mark.parametrize("what", ["replayed", "foreign authority", "other key", "host", "huge"])
def test_answer_that_does_not_fit_is_not_believed(cloud: Cloud, folder: Path, tmp_path: Path, what: str) -> None:
    replace = msgspec.structs.replace
    match what:
        case "replayed":  # an answer of the right cloud, to somebody else's letter
            cloud.shape = lambda link: replace(link, request=bytes(32))
        case "foreign authority":
            other = ca.load_or_create(tmp_path / "other", _now_ms()).certificate.public_bytes(Encoding.DER)
            cloud.shape = lambda link: replace(link, authority=other)
        case "other key":
            made = ca.issue_client(
                cloud.authority, NAME, ca.new_key().public_key(), now_ms=_now_ms(), lifetime=LIFETIME
            )
            cloud.shape = lambda link: replace(link, certificate=made.public_bytes(Encoding.DER))
        case "host":
            cloud.shape = lambda link: replace(link, broker_host='b"\n[evil]')
        case "huge":
            cloud.meddle = lambda answer, _: answer + bytes(10_000_000)
    with pytest.raises(EnrolError):
        enrol(cloud.code(), folder, _who(folder))
    assert _names(folder) == UNENROLLED


def test_code_of_another_gateway_asks_nobody(cloud: Cloud, folder: Path) -> None:
    with pytest.raises(EnrolError, match="for gateway gw-2, this one is gw-1"):
        enrol(cloud.code("gw-2"), folder, _who(folder))
    assert cloud.asked == []


def test_gateway_of_one_cloud_is_not_carried_over_to_another(cloud: Cloud, folder: Path) -> None:
    enrol(cloud.code(), folder, _who(folder))
    before = (folder / LINK).read_bytes()
    cloud.key = Ed25519PrivateKey.generate()
    with pytest.raises(EnrolError, match="belongs to another cloud"):
        enrol(cloud.code(), folder, _who(folder))
    assert (folder / LINK).read_bytes() == before


def _say(status: int, body: bytes, **headers: str) -> Callable[[bytes, BaseHTTPRequestHandler], None]:
    def answer(_: bytes, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_refusal_is_told_in_its_own_words(cloud: Cloud, folder: Path) -> None:
    refusal = json.dumps({"code": "used_code", "detail": "used \x1b[2J already" + "x" * 1000}).encode()
    cloud.meddle = _say(403, refusal)
    with pytest.raises(CloudRefused, match="says: used \ufffd") as caught:
        enrol(cloud.code(), folder, _who(folder))
    assert caught.value.code == "used_code"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (502, b"<html>", {}),
        (403, b"[" * 5000, {}),
        (403, b'{"code": 1}', {}),
        (302, b"", {"Location": "http://127.0.0.1:1/"}),
        (307, b"", {"Location": "http://127.0.0.1:1/"}),
    ],
)
def test_what_is_no_cloud_is_told(
    cloud: Cloud, folder: Path, status: int, body: bytes, headers: dict[str, str]
) -> None:
    cloud.meddle = _say(status, body, **headers)
    with pytest.raises(CloudUnreachable, match=f"HTTP status {status}"):
        enrol(cloud.code(), folder, _who(folder))


def test_nobody_there_is_told(folder: Path, cloud: Cloud) -> None:
    code = msgspec.structs.replace(cloud.code(), url="http://127.0.0.1:1")
    with pytest.raises(CloudUnreachable, match="check network, address and clock"):
        enrol(code, folder, _who(folder))


def test_web_servers_certificate_is_looked_at_unless_our_clock_is_surely_wrong(tmp_path: Path, folder: Path) -> None:
    secure = Cloud(tmp_path, tls=True)
    try:
        with pytest.raises(CloudUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            enrol(secure.code(), folder, _who(folder))
        in_a_month_s = int(time.time()) + 30 * 86_400  # to a clock of 1970 today is the far future
        assert enrol(secure.code(issued_s=in_a_month_s), folder, _who(folder)).known_s == in_a_month_s
    finally:
        secure.close()


# --- renewal ----------------------------------------------------------------------------------------------------------


def test_renewal_brings_a_new_key_and_certificate_in_one_step(cloud: Cloud, folder: Path) -> None:
    enrol(cloud.code(), folder, _who(folder))
    before = load_pem_private_key((folder / LINK).read_bytes(), None)
    assert renew(folder, _who(folder)) == expires_at(folder)
    link = (folder / LINK).read_bytes()
    after, certificate = load_pem_private_key(link, None), x509.load_pem_x509_certificate(link)
    assert certificate.public_key() == after.public_key() != before.public_key()
    assert _names(folder) == ENROLLED


UNKNOWN_KEY = (  # PKCS #8 with the algorithm 1.2.3.4
    b"-----BEGIN PRIVATE KEY-----\nMA4CAQAwBQYDKgMEBAIEAA==\n-----END PRIVATE KEY-----\n"
)


def test_link_key_of_an_unknown_kind_is_told_or_replaced(cloud: Cloud, folder: Path) -> None:
    identity = load_or_make(folder, NAME)
    enrol(cloud.code(), folder, identity)
    (folder / NEXT_KEY).write_bytes(UNKNOWN_KEY)
    with pytest.raises(EnrolError, match="the link key cannot be made"):
        renew(folder, identity)
    (folder / NEXT_KEY).unlink()
    (folder / LINK).write_bytes(UNKNOWN_KEY)
    enrol(cloud.code(), folder, identity)
    assert expires_at(folder) is not None


def _refuse_keys(cloud: Cloud, revoked: set[bytes]) -> None:
    """The cloud answers nobody whose link key's certificate was revoked."""

    def meddle(answer: bytes, handler: BaseHTTPRequestHandler) -> bytes | None:
        if _asked_with(cloud) not in revoked:
            return answer
        _say(403, json.dumps({"code": "revoked_link", "detail": "revoked"}).encode())(answer, handler)
        return None

    cloud.meddle = meddle


def _asked_with(cloud: Cloud) -> bytes:
    """The link key of the last letter."""
    key = x509.load_der_x509_csr(cloud.asked[-1].csr).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("way", ["enrolment", "renewal"])
def test_revoked_link_key_is_given_up(cloud: Cloud, folder: Path, way: str) -> None:
    enrol(cloud.code(), folder, _who(folder))
    revoked = {_asked_with(cloud)}
    cloud.meddle = _say(503, b"")  # a certificate is issued and its answer lost: the next key is known there too
    with pytest.raises(CloudUnreachable):
        renew(folder, _who(folder))
    revoked.add(_asked_with(cloud))
    _refuse_keys(cloud, revoked)
    if way == "enrolment":
        enrol(cloud.code(), folder, _who(folder))
    else:
        renew(folder, _who(folder))
    assert len(revoked | {_asked_with(cloud)}) == 3
    link = (folder / LINK).read_bytes()
    assert x509.load_pem_x509_certificate(link).public_key() == load_pem_private_key(link, None).public_key()
    assert _names(folder) == ENROLLED


def test_renewal_that_is_not_the_pinned_clouds_changes_nothing(cloud: Cloud, folder: Path) -> None:
    enrol(cloud.code(), folder, _who(folder))
    before = (folder / LINK).read_bytes()
    cloud.key = Ed25519PrivateKey.generate()
    with pytest.raises(EnrolError, match="another cloud"):
        renew(folder, _who(folder))
    assert (folder / LINK).read_bytes() == before
    assert read_place(folder) is not None


def test_gateway_that_was_never_enrolled_has_nothing_to_renew(folder: Path) -> None:
    with pytest.raises(EnrolError, match="not enrolled with a code"):
        renew(folder, _who(folder))


def test_post_takes_no_more_than_an_answer_can_be(cloud: Cloud) -> None:
    cloud.answer = lambda _: bytes(10_000_000)  # type: ignore[method-assign]
    assert len(post(cloud.url, b"x", not_before_s=0)) == wire.ANSWER_MAX_BYTES + 1
