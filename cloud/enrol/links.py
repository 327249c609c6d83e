"""Which link certificates are out there: issued to gateways, revoked, listed for the broker.

Invariants: no certificate leaves that is not on record; one that was revoked stays on the broker's list until it has
run out by itself.
"""

from __future__ import annotations

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, func, insert, select, update

from cloud.db.tables import link_certificate
from cloud.enrol import authority as ca
from cloud.enrol.authority import Authority, Revoked


class LinkCertificate(msgspec.Struct, frozen=True):
    """A gateway's certificate. serial: in hex. link_key: as `authority.public_bytes` has it. certificate: DER."""

    serial: str
    gateway: str
    link_key: bytes
    certificate: bytes
    issued_ms: int
    expires_ms: int
    revoked_ms: int | None


def keep(conn: Connection, gateway: str, certificate: x509.Certificate, now_ms: int) -> LinkCertificate:
    """Put a fresh certificate, of an elliptic key, on record, in the caller's write transaction."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"a link key is elliptic, not {type(key).__name__}")
    expires_ms = round(certificate.not_valid_after_utc.timestamp() * 1000)
    der = certificate.public_bytes(Encoding.DER)
    serial = f"{certificate.serial_number:x}"
    kept = LinkCertificate(serial, gateway, ca.public_bytes(key), der, now_ms, expires_ms, None)
    conn.execute(insert(link_certificate).values(msgspec.structs.asdict(kept)))
    return kept


def of_gateway(conn: Connection, gateway: str) -> list[LinkCertificate]:
    """Every certificate a gateway ever got, newest first."""
    query = select(link_certificate).where(link_certificate.c.gateway == gateway)
    rows = conn.execute(query.order_by(link_certificate.c.issued_ms.desc()))
    return [LinkCertificate(**row) for row in rows.mappings()]


def of_key(conn: Connection, gateway: str, link_key: bytes) -> list[LinkCertificate]:
    """Every certificate that a gateway got for one key, newest first."""
    table = link_certificate
    query = select(table).where(table.c.gateway == gateway, table.c.link_key == link_key)
    return [LinkCertificate(**row) for row in conn.execute(query.order_by(table.c.issued_ms.desc())).mappings()]


def issued_since(conn: Connection, gateway: str, since_ms: int) -> int:
    """How many certificates a gateway got since then."""
    table = link_certificate
    query = select(func.count()).select_from(table).where(table.c.gateway == gateway, table.c.issued_ms > since_ms)
    return int(conn.scalar(query) or 0)


def expiries(conn: Connection) -> dict[str, int]:
    """Until when each gateway can connect, as far as we issued its certificate: the latest that is not revoked."""
    table = link_certificate
    query = select(table.c.gateway, func.max(table.c.expires_ms).label("expires_ms"))
    rows = conn.execute(query.where(table.c.revoked_ms.is_(None)).group_by(table.c.gateway))
    return {row.gateway: row.expires_ms for row in rows}


def revoke(conn: Connection, serial: str, now_ms: int) -> None:
    """Mark a certificate as revoked, in the caller's write transaction; the first time counts."""
    table = link_certificate
    conn.execute(update(table).where(table.c.serial == serial, table.c.revoked_ms.is_(None)).values(revoked_ms=now_ms))


def has_listed(conn: Connection, gateway: str, now_ms: int) -> bool:
    """Whether a certificate of a gateway is on the broker's list."""
    table = link_certificate
    listed = (table.c.gateway == gateway, table.c.revoked_ms.is_not(None), table.c.expires_ms > now_ms)
    return conn.scalar(select(table.c.serial).where(*listed).limit(1)) is not None


def revocation_list(conn: Connection, authority: Authority, now_ms: int) -> bytes:
    """The list for the broker, as PEM: what is revoked and would otherwise still be good."""
    table = link_certificate
    query = select(table.c.serial, table.c.revoked_ms).where(table.c.revoked_ms.is_not(None))
    rows = conn.execute(query.where(table.c.expires_ms > now_ms).order_by(table.c.serial))
    return ca.revocation_list(authority, [Revoked(int(row.serial, 16), row.revoked_ms) for row in rows], now_ms=now_ms)
