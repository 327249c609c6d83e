"""Enrolment and renewal at the cloud: codes are made, letters of gateways are answered.

Invariants: a code serves one gateway with one pair of keys, and only until it has run out; the same letter, sent
again because the answer was lost, gets the same certificate; nothing is registered for who does not prove to know
the code; a renewal needs a signing key that is still good; a link key whose certificate was revoked gets no other one;
the secret of a code is on no disk of ours.
"""

from __future__ import annotations

import base64
import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, insert, select, update

from cloud.config import CloudConfig
from cloud.db.tables import invitation
from cloud.enrol import authority as ca
from cloud.enrol import links
from cloud.enrol.authority import Authority
from cloud.enrol.links import LinkCertificate
from cloud.errors import Rejected
from cloud.keys import CloudKey
from cloud.registry.keys import GatewayKey, PublicHalf, RegistryError, add_gateway, keys_of
from standards import cose
from standards.cose import Sign1
from wire import enrolment as wire
from wire.enrolment import Enrolment, Renewal
from wire.envelope import WireError

RENEW_BEFORE = datetime.timedelta(days=30)  # as gateways do: a younger certificate is given out again instead

CERTIFICATES_PER_DAY = 5  # of one gateway: what enrolling it again and again on one day takes
DAY_MS = 86_400_000


class EnrolmentRefused(Rejected):
    """A letter is not answered. code: one word for machines; status: of the HTTP answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Office(msgspec.Struct, frozen=True):
    """Who answers: the cloud's key, its authority, and where it sends gateways."""

    key: CloudKey
    authority: Authority
    broker_host: str
    broker_port: int
    lifetime: datetime.timedelta


def open_office(config: CloudConfig, key: CloudKey, now_ms: int) -> Office:
    """What the configuration says about enrolment. Raises AuthorityError."""
    enrol = config.enrol
    return Office(
        key,
        ca.load_or_create(config.data_dir, now_ms),
        enrol.broker_host or config.public_host,
        enrol.broker_port,
        datetime.timedelta(days=enrol.certificate_days),
    )


def invite(conn: Connection, gateway: str, *, url: str, key: CloudKey, now_ms: int, valid_ms: int) -> str:
    """A one-time code for a gateway, in the caller's write transaction; it cannot be shown again.

    One for the same gateway that nobody has used is worthless from then on: it may lie about somewhere.
    Raises ValueError for a URL no gateway could use.
    """
    code = wire.new_code(cloud_key=key.private.public_key(), gateway=gateway, url=url, issued_s=now_ms // 1000)
    public = code.key.public_key()
    unused = (invitation.c.gateway == gateway, invitation.c.used_ms.is_(None), invitation.c.expires_ms > now_ms)
    conn.execute(update(invitation).where(*unused).values(expires_ms=now_ms))
    row = {
        "code_id": cose.key_id(public),
        "code_key": public.public_bytes_raw(),
        "gateway": gateway,
        "invited_ms": now_ms,
        "expires_ms": now_ms + valid_ms,
    }
    conn.execute(insert(invitation).values(row))
    return wire.write_code(code)


class Letter(msgspec.Struct, frozen=True):
    """A letter that was opened. link_key: whose holder asks for a certificate, which he has proven to be."""

    body: bytes
    message: Sign1
    request: Enrolment | Renewal
    link_key: ec.EllipticCurvePublicKey


def open_letter(body: bytes) -> Letter:
    """Open a letter; who wrote it is not known by that. Raises EnrolmentRefused."""
    try:
        message, request = wire.open_request(body)
    except WireError as error:
        status = 413 if error.reason == "too_large" else 400
        raise EnrolmentRefused(status, error.reason, str(error)) from error
    return Letter(body, message, request, _requested_key(request))


def check(conn: Connection, letter: Letter, now_ms: int) -> None:
    """Refuse whoever proves nothing, by reading alone: strangers must not hold others up. Raises EnrolmentRefused."""
    if isinstance(letter.request, Enrolment):
        _require_code(conn, letter.request, letter.link_key, now_ms)
    else:
        _require_good_key(conn, letter.message, letter.request, now_ms)


def answer(conn: Connection, office: Office, letter: Letter, *, now_ms: int, registered_ms: int) -> bytes:
    """Answer a letter, checked once more, in the caller's write transaction.

    now_ms: the real time, for codes and certificates; registered_ms: that of the registry, maybe simulated.
    Raises EnrolmentRefused, and then nothing may be kept.
    """
    request = letter.request
    check(conn, letter, now_ms)
    if isinstance(request, Enrolment):
        _enrol(conn, request, letter.link_key, now_ms=now_ms, registered_ms=registered_ms)
    certificate = _certificate(conn, office, request.gateway, letter.link_key, now_ms)
    link = wire.Link(
        gateway=request.gateway,
        request=wire.letter_hash(letter.body),
        certificate=certificate.certificate,
        authority=office.authority.certificate.public_bytes(Encoding.DER),
        broker_host=office.broker_host,
        broker_port=office.broker_port,
        cloud_key=office.key.private.public_key().public_bytes_raw(),
        issued_at_ms=now_ms,
    )
    return wire.seal_link(link, key=office.key.private)


def _require_code(conn: Connection, request: Enrolment, link_key: ec.EllipticCurvePublicKey, now_ms: int) -> None:
    row = conn.execute(select(invitation).where(invitation.c.code_id == request.code_id)).one_or_none()
    known = row is not None and row.gateway == request.gateway
    if row is None or not known or not wire.is_proven(request, Ed25519PublicKey.from_public_bytes(row.code_key)):
        raise EnrolmentRefused(403, "unknown_code", "this code was not given out by this cloud, for this gateway")
    if row.used_by is not None and row.used_by != request.public_key + ca.public_bytes(link_key):
        raise EnrolmentRefused(403, "used_code", "this code has been used already; ask for a new one")
    if row.expires_ms <= now_ms:
        raise EnrolmentRefused(403, "expired_code", "this code has run out; ask for a new one")


def _enrol(
    conn: Connection, request: Enrolment, link_key: ec.EllipticCurvePublicKey, *, now_ms: int, registered_ms: int
) -> None:
    half = PublicHalf(request.gateway, base64.b64encode(request.public_key).decode(), request.simulated)
    try:
        add_gateway(conn, half, registered_ms)
    except RegistryError as error:
        raise EnrolmentRefused(409, "another_key", str(error)) from error
    keys = request.public_key + ca.public_bytes(link_key)
    this = (invitation.c.code_id == request.code_id, invitation.c.used_by.is_(None))
    conn.execute(update(invitation).where(*this).values(used_ms=now_ms, used_by=keys))


def _require_good_key(conn: Connection, message: Sign1, request: Renewal, now_ms: int) -> None:
    keys = [key for key in keys_of(conn, request.gateway) if key.kid == message.kid]
    signers = [key for key in keys if message.is_signed_by(Ed25519PublicKey.from_public_bytes(key.public_key))]
    if not signers:
        raise EnrolmentRefused(403, "unknown_key", f"this is not the key of a gateway named {request.gateway}")
    if not any(_is_good(key, now_ms) for key in signers):
        raise EnrolmentRefused(403, "revoked_key", "this key was revoked or replaced; enrol the gateway again")


def _is_good(key: GatewayKey, now_ms: int) -> bool:
    return key.end is None and (key.revoked_ms is None or now_ms < key.revoked_ms)


def _certificate(
    conn: Connection, office: Office, gateway: str, link_key: ec.EllipticCurvePublicKey, now_ms: int
) -> LinkCertificate:
    """The certificate of this very key while it has long to live, else a new one; none for a key that lost one."""
    enough_ms = now_ms + round(RENEW_BEFORE.total_seconds() * 1000)
    of_key = links.of_key(conn, gateway, ca.public_bytes(link_key))
    if any(one.revoked_ms is not None for one in of_key):
        raise EnrolmentRefused(403, "revoked_link", "the certificate of this link key was revoked; make another key")
    for one in of_key:
        if one.expires_ms > enough_ms:
            return one
    if links.issued_since(conn, gateway, now_ms - DAY_MS) >= CERTIFICATES_PER_DAY:
        detail = f"{gateway} got {CERTIFICATES_PER_DAY} certificates within a day, more than it can need; wait"
        raise EnrolmentRefused(429, "too_many", detail)
    fresh = ca.issue_client(office.authority, gateway, link_key, now_ms=now_ms, lifetime=office.lifetime)
    return links.keep(conn, gateway, fresh, now_ms)


def _requested_key(request: Enrolment | Renewal) -> ec.EllipticCurvePublicKey:
    """The key of a certificate request, its holder proven; whatever else the request asks for is not given."""
    try:
        csr = x509.load_der_x509_csr(request.csr)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EnrolmentRefused(400, "malformed", f"csr: not a certificate request ({error})") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EnrolmentRefused(400, "invalid", "csr: the link key must be elliptic, on P-256")
    if not signed:
        raise EnrolmentRefused(400, "bad_signature", "csr: not signed by its own key")
    return key
