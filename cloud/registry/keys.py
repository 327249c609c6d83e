"""Which gateways there are, and the public keys whose signature makes a pack theirs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, insert, select, update

from cloud.db import tables
from cloud.errors import Rejected
from cloud.ledger import log
from standards import cose
from wire.topics import is_gateway_name

KEY_BYTES = 32  # a raw Ed25519 public key, RFC 8032 §5.1.5
FILE_MAX_BYTES = 4096  # a public half is about 130 bytes


class RegistryError(Rejected):
    """The registry refuses an entry; nothing was changed."""


class PublicHalf(msgspec.Struct, frozen=True):
    """What a gateway shows of itself: the JSON file it wrote on its first start. public_key: base64, 32 bytes."""

    gateway: str
    public_key: str
    simulated: bool = False


class GatewayKey(msgspec.Struct, frozen=True):
    """A key that may sign for a gateway, until `revoked_ms` (by time of receipt)."""

    kid: bytes
    public_key: bytes
    revoked_ms: int | None = None


def read_public_half(path: Path) -> PublicHalf:
    """Read a gateway's public half. Raises RegistryError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise RegistryError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > FILE_MAX_BYTES:
        raise RegistryError(f"{path}: more than {FILE_MAX_BYTES} bytes, not a gateway's public half")
    try:
        half = msgspec.json.decode(data, type=PublicHalf)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: not a gateway's public half ({error})") from error
    _raw_key(half)
    return half


def add_gateway(conn: Connection, half: PublicHalf, now_ms: int) -> bool:
    """Admit a gateway with its key; False when it is known with this key already.

    The key becomes a leaf of the ledger. A gateway once simulated stays so. Raises RegistryError for another key
    under a known name.
    """
    raw = _raw_key(half)
    table = tables.gateway
    known = conn.execute(select(table).where(table.c.name == half.gateway)).one_or_none()
    if known is None:
        conn.execute(insert(table).values(name=half.gateway, simulated=half.simulated, added_ms=now_ms))
    else:
        if all(key.public_key != raw for key in keys_of(conn, half.gateway)):
            raise RegistryError(
                f"gateway {half.gateway}: is known with another key. If its buffer or card was replaced, give the "
                "gateway another name; a key change must come signed by the old key, in the gateway's own stream"
            )
        if half.simulated:
            mark_simulated(conn, [half.gateway])
        return False
    kid = cose.key_id(Ed25519PublicKey.from_public_bytes(raw))
    row = {"gateway": half.gateway, "kid": kid, "public_key": raw, "added_ms": now_ms, "revoked_ms": None}
    conn.execute(insert(tables.gateway_key).values(row))
    log.append(conn, "key", payload=key_payload(half.gateway, raw), ref=half.gateway)
    return True


def key_payload(gateway: str, public_key: bytes) -> bytes:
    """The bytes a key's leaf commits to: the gateway's name, a zero byte, the raw key."""
    return gateway.encode("ascii") + b"\x00" + public_key


def keys_of(conn: Connection, gateway: str) -> list[GatewayKey]:
    """The keys of a gateway, revoked ones included; empty for an unknown gateway."""
    return keys_of_many(conn, [gateway]).get(gateway, [])


def keys_of_many(conn: Connection, gateways: Iterable[str]) -> dict[str, list[GatewayKey]]:
    """The keys of several gateways; unknown gateways are missing."""
    table = tables.gateway_key
    query = select(table).where(table.c.gateway.in_(set(gateways))).order_by(table.c.gateway, table.c.kid)
    found: dict[str, list[GatewayKey]] = {}
    for row in conn.execute(query):
        found.setdefault(row.gateway, []).append(GatewayKey(row.kid, row.public_key, row.revoked_ms))
    return found


def mark_simulated(conn: Connection, gateways: Iterable[str]) -> None:
    """Mark gateways as simulated, for ever."""
    table = tables.gateway
    conn.execute(update(table).where(table.c.name.in_(set(gateways))).values(simulated=True))


def _raw_key(half: PublicHalf) -> bytes:
    if not is_gateway_name(half.gateway):
        raise RegistryError(f"gateway {half.gateway[:80]!r}: a name has 1 to 63 lower-case letters, digits and `-`")
    try:
        raw = base64.b64decode(half.public_key, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RegistryError(f"gateway {half.gateway}: public_key is not base64 ({error})") from error
    if len(raw) != KEY_BYTES:
        raise RegistryError(f"gateway {half.gateway}: public_key has {len(raw)} bytes, Ed25519 has {KEY_BYTES}")
    return raw
