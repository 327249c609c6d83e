"""The cloud's own certificate authority: it says who may speak on the broker, and to whom.

Made on first use (`ca-key.pem`, 0600, and `ca.pem` in the data folder). It signs the broker's certificate, those of
ingest workers, of gateways and of the probe. A certificate opens the link and proves nothing else: packs are signed
by another key, so an expired or revoked certificate never makes a pack invalid.

Invariants: a worker's name has a dot, which no gateway's name can have, so neither can ever pass for the other; the
broker's certificate is for servers only and all others for clients only, so a stolen gateway cannot pose as the
broker; the private half of a gateway's certificate is never here.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.durable import replace_file, write_new
from cloud.errors import Fatal

KEY_FILE = "ca-key.pem"
CERTIFICATE_FILE = "ca.pem"
CA_DAYS = 30 * 365  # longer than any installation; the key is what has to be kept
SERVER_DAYS = 5 * 365
WORKER_DAYS = 5 * 365
REVOCATION_LIST_DAYS = 20 * 365  # a list that has run out would shut every gateway out
BACKDATED = datetime.timedelta(days=1)  # a clock that is a little behind still believes a fresh certificate

_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class AuthorityError(Fatal):
    """The authority's files cannot be read or made."""


class Authority(msgspec.Struct, frozen=True):
    """Who signs certificates: a key, and the certificate everybody trusts."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """What brokers, workers and gateways are given to know each other by."""
        return self.certificate.public_bytes(Encoding.PEM)


class Revoked(msgspec.Struct, frozen=True):
    """A certificate that counts no more."""

    serial: int
    revoked_ms: int


def load_or_create(data_dir: Path, now_ms: int) -> Authority:
    """The authority in `data_dir`, made when there is none.

    A key that exists but cannot be read is an error, never a reason to make another one: gateways trust it.
    Raises AuthorityError.
    """
    path, certificate = data_dir / KEY_FILE, data_dir / CERTIFICATE_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_new(path, key_pem(new_key()))
        key = _read_key(path)
        if not certificate.exists():
            write_new(certificate, _self_signed(key, now_ms).public_bytes(Encoding.PEM))
            certificate.chmod(0o644)
        return Authority(key, _read_certificate(certificate, key))
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}; check the rights of the folder") from error


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh key of the kind we use for links."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as a file, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as bytes to compare by: its point, compressed (SEC 1 §2.3.3)."""
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def issue_client(
    authority: Authority, name: str, public_key: ec.EllipticCurvePublicKey, *, now_ms: int, lifetime: datetime.timedelta
) -> x509.Certificate:
    """A certificate by which the broker knows its holder as `name`."""
    return _issue(authority, name, public_key, now_ms=now_ms, lifetime=lifetime, usage=_CLIENT, hosts=())


def issue_server(
    authority: Authority, hosts: Sequence[str], public_key: ec.EllipticCurvePublicKey, *, now_ms: int
) -> x509.Certificate:
    """The broker's certificate, for every name or address clients reach it by."""
    lifetime = datetime.timedelta(days=SERVER_DAYS)
    name = "broker.coldproof"
    return _issue(authority, name, public_key, now_ms=now_ms, lifetime=lifetime, usage=_SERVER, hosts=hosts)


def worker_name(number: int) -> str:
    """The name of an ingest worker, on its certificate and in the access list."""
    return f"ingest.{number}"


def probe_name(worker: str = "") -> str:
    """The name of a worker's probe: with the rights of a gateway, over topics no gateway can have."""
    number = worker.removeprefix("ingest.")
    return f"probe.{number if number.isdigit() else 1}"


def revocation_list(authority: Authority, revoked: Iterable[Revoked], *, now_ms: int) -> bytes:
    """The list of certificates that count no more, as PEM."""
    now = instant(now_ms)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(now + datetime.timedelta(days=REVOCATION_LIST_DAYS))
        .add_extension(_issuer_id(authority.key.public_key()), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(instant(one.revoked_ms))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def write_key_and_certificate(path: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Key and certificate in one file, so that they can never be found not to fit. Raises OSError."""
    replace_file(path, key_pem(key) + certificate.public_bytes(Encoding.PEM), mode=0o600)


def instant(at_ms: int) -> datetime.datetime:
    """Whole seconds, as certificates have them."""
    return datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)


def _issue(
    authority: Authority,
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now_ms: int,
    lifetime: datetime.timedelta,
    usage: x509.ObjectIdentifier,
    hosts: Sequence[str],
) -> x509.Certificate:
    now = instant(now_ms)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + lifetime, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_id(authority.key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _self_signed(key: ec.EllipticCurvePrivateKey, now_ms: int) -> x509.Certificate:
    name = _common_name(f"coldproof CA {secrets.token_hex(4)}")  # two clouds must not be taken for one
    now = instant(now_ms)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issuer_id(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise AuthorityError(f"{path}: not a private key ({error}); restore it from the backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{path}: not an elliptic curve key; restore it from the backup")
    return key


def _read_certificate(path: Path, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise AuthorityError(f"{path}: not a certificate ({error}); restore it from the backup") from error
    if certificate.public_key() != key.public_key():
        raise AuthorityError(f"{path}: is not the certificate of {KEY_FILE}; restore both from one backup")
    return certificate
