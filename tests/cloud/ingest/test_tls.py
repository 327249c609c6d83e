"""The broker link over mutual TLS: only with our certificate, only to a broker we trust."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cloud.ingest.subscriber import Link, LinkMisconfigured, Subscriber


class Authority:
    """A certificate authority of one test, writing PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._write(name, self._sign(self._name, self._key, authority=True), self._key)

    def issue(self, name: str) -> Path:
        """A certificate for `name` on loopback; its key stands beside it, ending in .key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._write(name, self._sign(subject, key, authority=False), key)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(loopback, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
        file = self._folder / f"{name}.crt"
        file.write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.with_suffix(".key").write_bytes(pem)
        return file


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority broker and ingest trust."""
    return Authority(tmp_path, "authority")


@pytest.fixture
def port(tmp_path: Path, authority: Authority, broker: Any, free_port: Callable[[], int]) -> Iterator[int]:
    """The port of a broker that asks for certificates."""
    number, certificate = free_port(), authority.issue("broker")
    config = tmp_path / "tls.conf"
    config.write_text(
        f"listener {number} 127.0.0.1\nuser root\nrequire_certificate true\nuse_identity_as_username true\n"
        f"allow_anonymous false\ncafile {authority.file}\ncertfile {certificate}\n"
        f"keyfile {certificate.with_suffix('.key')}\n"
    )
    broker.stop()  # the plain one only shows that mosquitto is installed
    process = subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL, env={"PATH": PATH})
    _wait_for(number)
    yield number
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("mosquitto does not start")


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def reach(port: int, authority: Authority) -> Callable[[Path, Path | None], bool]:
    """Whether the first attempt of a link with these files ends in a subscription."""

    def within(ca: Path, certificate: Path | None) -> bool:
        key = None if certificate is None else certificate.with_suffix(".key")
        subscriber = Subscriber(Link("127.0.0.1", port, "ingest", ca=ca, certificate=certificate, key=key))
        subscriber.open()
        deadline = time.monotonic() + 10
        while subscriber.state == "not connected yet" and time.monotonic() < deadline:
            time.sleep(0.01)
        connected = subscriber.connected
        subscriber.close()
        gc.collect()  # the library leaves the socket of a failed handshake to the collector
        return connected

    return within


def test_our_certificate_opens_the_link(reach: Any, authority: Authority):
    assert reach(authority.file, authority.issue("ingest-1"))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see `reach`
def test_broker_of_another_authority_is_not_trusted(reach: Any, authority: Authority, tmp_path: Path):
    other = Authority(tmp_path, "other")
    assert not reach(other.file, authority.issue("ingest-1"))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # see `reach`
def test_without_certificate_there_is_no_link(reach: Any, authority: Authority):
    assert not reach(authority.file, None)


@pytest.mark.parametrize("content", [None, b"", b"not PEM"])
def test_unusable_file_is_named(authority: Authority, tmp_path: Path, content: bytes | None):
    file = tmp_path / "mine.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LinkMisconfigured, match=r"mine\.crt"):
        Subscriber(Link("127.0.0.1", 1, "ingest", ca=authority.file, certificate=file, key=file))
