"""A mosquitto that asks for certificates, and an authority that issues them for any span of time."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.x509.oid import NameOID

from edge.uplink.base import TlsOptions

DAY = datetime.timedelta(days=1)
Span = tuple[datetime.datetime, datetime.datetime]


def around_now() -> Span:
    """Yesterday to the day after tomorrow."""
    now = datetime.datetime.now(datetime.UTC)
    return now - DAY, now + 2 * DAY


class Authority:
    """A certificate authority; an intermediate one when `above` is given."""

    def __init__(self, name: str, span: Span | None = None, above: Authority | None = None) -> None:
        self.key = generate_private_key(SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = above or self
        self.certificate = issuer.sign(self.name, self.key, span or around_now(), authority=True)

    def sign(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, span: Span, *, authority: bool = False
    ) -> x509.Certificate:
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(span[0])
            .not_valid_after(span[1])
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(loopback, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, folder: Path, name: str, span: Span | None = None, *, chain: bytes = b"") -> None:
        """Write NAME.pem, followed by `chain`, and NAME.key."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self.sign(subject, key, span or around_now())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + chain)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(pem)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, path: Path) -> None:
        """Write its own certificate."""
        path.write_bytes(self.pem)


class TlsBroker:
    """A mosquitto that asks for certificates and takes the name from them; ca.pem, server and gw-1 are made."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        self.port, self.folder = port, folder
        self.authority = Authority("test authority")
        self.authority.write(folder / "ca.pem")
        self.authority.issue(folder, "server")
        self.issue("gw-1")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        folder = self.folder
        (folder / "acl").write_text("pattern readwrite coldproof/v1/%u/#\n")
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nuser root\nallow_anonymous false\nrequire_certificate true\n"
            f"use_identity_as_username true\nacl_file {folder}/acl\ncafile {folder}/ca.pem\n"
            f"certfile {folder}/server.pem\nkeyfile {folder}/server.key\n"
        )
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/sbin")
        assert program is not None, "mosquitto is missing"
        command = [program, "-c", str(folder / "mosquitto.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto does not start")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)

    def issue(self, name: str, span: Span | None = None) -> TlsOptions:
        """A certificate for a gateway, and the options to use it."""
        self.authority.issue(self.folder, name, span)
        return self.options(name)

    def options(self, name: str) -> TlsOptions:
        """The options to come as `name`."""
        at = self.folder
        return TlsOptions(str(at / "ca.pem"), str(at / f"{name}.pem"), str(at / f"{name}.key"))
