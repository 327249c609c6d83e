"""The gateway's way onto the broker: enrolled once with a code, its link certificate renewed by itself ever after.

    link-key.pem         the next link key, from before it is asked about until its certificate is here
    link.pem             link key and certificate in one file, so that they can never be found not to fit
    ca.pem               whose broker certificates are trusted
    cloud-public.json    the cloud's key, pinned
    enrolment.json       where the cloud is, and a time that has certainly been

Invariants: private keys are made here and never leave; nothing is believed but what the cloud of the code signed, and
nothing is written before it is believed; whatever happens on the way, doing it again with the same code ends well,
because the keys stay the same; a gateway that is enrolled at one cloud is never carried over to another.
"""

from __future__ import annotations

import base64
import datetime
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from edge.durable import replace_file
from edge.keys import CloudPublicHalf, Identity, KeyFileError, load_cloud_key
from edge.letterbox import CloudRefused, post
from wire import enrolment as wire
from wire.enrolment import Code, Link
from wire.envelope import WireError

NEXT_KEY, LINK, TRUST, CLOUD, PLACE = "link-key.pem", "link.pem", "ca.pem", "cloud-public.json", "enrolment.json"
RENEW_BEFORE = datetime.timedelta(days=30)
REVOKED_LINK = "revoked_link"  # a refusal of the cloud
FILE_MAX_BYTES = 16 * 1024

Post = Callable[..., bytes]


class EnrolError(Exception):
    """Enrolment or renewal did not come about, and nothing was changed; `str()` says why and what to do."""


class Place(msgspec.Struct, frozen=True):
    """Where this gateway is enrolled. known_s: a time that has certainly been."""

    cloud_url: str
    broker_host: str
    broker_port: int
    known_s: int


def enrol(code: Code, folder: Path, identity: Identity, *, send: Post = post) -> Place:
    """Exchange a code for a link certificate; everything that is needed to connect lies in `folder` then.

    Raises EnrolError, KeyFileError, CloudUnreachable, CloudRefused.
    """
    if code.gateway != identity.gateway:
        raise EnrolError(f"the code is for gateway {code.gateway}, this one is {identity.gateway}")
    _refuse_another_cloud(code, folder)

    def ask(key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
        csr, nonce = _csr(key, identity.gateway), secrets.token_bytes(wire.NONCE_BYTES)
        letter = wire.seal_enrolment(code, key=identity.key, simulated=identity.simulated, csr=csr, nonce=nonce)
        return letter, send(code.url, letter, not_before_s=code.issued_s)

    key, letter, answer = _with_a_good_key(folder, ask, _present_key(folder))
    link = _believed(answer, letter, identity.gateway, code.fingerprint, key)
    place = Place(code.url, link.broker_host, link.broker_port, max(code.issued_s, link.issued_at_ms // 1000))
    _write(folder, link, key, place)
    return place


def renew(folder: Path, identity: Identity, *, send: Post = post) -> datetime.datetime:
    """Fetch the next link certificate, asked for with the signing key; until when it is good.

    Raises EnrolError, KeyFileError, CloudUnreachable, CloudRefused.
    """
    place = read_place(folder)
    if place is None:
        raise EnrolError(f"{folder}: this gateway was not enrolled with a code; its certificate comes from elsewhere")
    pinned = wire.fingerprint(load_cloud_key(CLOUD, folder))
    url, known_s = place.cloud_url, place.known_s

    def ask(key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
        csr, nonce = _csr(key, identity.gateway), secrets.token_bytes(wire.NONCE_BYTES)
        letter = wire.seal_renewal(identity.gateway, key=identity.key, csr=csr, nonce=nonce)
        return letter, send(url, letter, not_before_s=known_s)

    key, letter, answer = _with_a_good_key(folder, ask)
    link = _believed(answer, letter, identity.gateway, pinned, key)
    known_s = max(known_s, link.issued_at_ms // 1000)
    _write(folder, link, key, Place(place.cloud_url, link.broker_host, link.broker_port, known_s))
    return x509.load_der_x509_certificate(link.certificate).not_valid_after_utc


def expires_at(folder: Path) -> datetime.datetime | None:
    """Until when the link certificate is good, None without one. Raises KeyFileError."""
    path = folder / LINK
    if not path.exists():
        return None
    try:
        return x509.load_pem_x509_certificate(_read(path)).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path}: no certificate can be read ({error}); enrol the gateway again") from error


def read_place(folder: Path) -> Place | None:
    """Where this gateway is enrolled, None when it never was. Raises KeyFileError."""
    path = folder / PLACE
    if not path.exists():
        return None
    try:
        place = msgspec.json.decode(_read(path), type=Place)
        if not wire.is_cloud_url(place.cloud_url):
            raise ValueError(f"{place.cloud_url!r} is no http://HOST or https://HOST")
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path}: cannot be read ({error}); enrol the gateway again") from error
    return place


def _refuse_another_cloud(code: Code, folder: Path) -> None:
    if (folder / CLOUD).exists() and wire.fingerprint(load_cloud_key(CLOUD, folder)) != code.fingerprint:
        raise EnrolError(
            f"{folder / CLOUD}: this gateway belongs to another cloud than the one the code is from. What it has "
            "recorded goes there; for a new start give it a new name and an empty data folder"
        )


def _believed(answer: bytes, letter: bytes, gateway: str, pinned: bytes, key: ec.EllipticCurvePrivateKey) -> Link:
    try:
        link = wire.open_link(answer, request=letter, gateway=gateway, pinned=pinned)
        certificate = x509.load_der_x509_certificate(link.certificate)
        certificate.verify_directly_issued_by(x509.load_der_x509_certificate(link.authority))
    except (WireError, ValueError, TypeError, InvalidSignature) as error:
        raise EnrolError(
            f"the answer is not the cloud's ({error}): somebody on the way changes it, or the code is another cloud's. "
            "Nothing was changed; try from another network, or ask for a new code"
        ) from error
    if certificate.public_key() != key.public_key():
        raise EnrolError("the certificate that came is not for our key; nothing was changed")
    return link


def _write(folder: Path, link: Link, key: ec.EllipticCurvePrivateKey, place: Place) -> None:
    """The pinned key first, the certificate last: what lets us connect comes when all else is there."""
    half = CloudPublicHalf(base64.b64encode(link.cloud_key).decode())
    certificate = x509.load_der_x509_certificate(link.certificate).public_bytes(Encoding.PEM)
    authority = x509.load_der_x509_certificate(link.authority).public_bytes(Encoding.PEM)
    try:
        for name, data, mode in (
            (CLOUD, msgspec.json.encode(half) + b"\n", 0o644),
            (TRUST, authority, 0o644),
            (PLACE, msgspec.json.encode(place) + b"\n", 0o644),
            (LINK, _pem(key) + certificate, 0o600),
        ):
            replace_file(folder / name, data, mode=mode)
        (folder / NEXT_KEY).unlink(missing_ok=True)
    except OSError as error:
        raise EnrolError(
            f"{folder}: cannot be written ({error}); mend that and do it again with the same code"
        ) from error


def _with_a_good_key(
    folder: Path,
    ask: Callable[[ec.EllipticCurvePrivateKey], tuple[bytes, bytes]],
    present: ec.EllipticCurvePrivateKey | None = None,
) -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes]:
    """Ask with the present key, else with the next one; the key that was answered, the letter and the answer.

    A key whose certificate was revoked gets no other: it is given up, and the one after it is tried.
    """
    for key in (present, None):
        try:
            return (key, *ask(key)) if key is not None else _ask_with_next(folder, ask)
        except CloudRefused as error:
            if error.code != REVOKED_LINK:
                raise
            if key is None:
                (folder / NEXT_KEY).unlink(missing_ok=True)
    return _ask_with_next(folder, ask)


def _ask_with_next(
    folder: Path, ask: Callable[[ec.EllipticCurvePrivateKey], tuple[bytes, bytes]]
) -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes]:
    key = _next_key(folder)
    return (key, *ask(key))


def _present_key(folder: Path) -> ec.EllipticCurvePrivateKey | None:
    """The key of the certificate that is here: who enrols again asks for the same once more."""
    path = folder / LINK
    try:
        key = load_pem_private_key(_read(path), password=None) if path.exists() else None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None  # it will be replaced by what comes
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _next_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The key the next certificate is for: kept until it has come, so that asking again asks the same."""
    path = folder / NEXT_KEY
    try:
        if path.exists():
            key = load_pem_private_key(_read(path), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        fresh = ec.generate_private_key(ec.SECP256R1())
        replace_file(path, _pem(fresh), mode=0o600)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EnrolError(f"{path}: the link key cannot be made ({error}); check the folder") from error
    return fresh


def _csr(key: ec.EllipticCurvePrivateKey, gateway: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gateway)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_MAX_BYTES)
