"""Taking a gateway's rights back: its signing keys, its link certificates, or both.

What the cloud refuses holds at once. The broker learns of certificates from the list on its disk, which it reads when
it is reloaded; who is connected then stays so until somebody connects under the same name: `push_out`.
"""

from __future__ import annotations

import datetime
import tempfile
import threading
from pathlib import Path

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import Connection, select

from cloud.db import tables
from cloud.enrol import authority as ca
from cloud.enrol import links
from cloud.enrol.authority import Authority
from cloud.errors import Retryable
from cloud.registry.keys import RegistryError, Revocation, keys_of, note_revocation, revoke_key

PUSHING_LIFETIME = datetime.timedelta(minutes=10)
ANSWER_WITHIN_S = 10.0


class BrokerUnreachable(Retryable):
    """The broker cannot be asked."""


class Withdrawn(msgspec.Struct, frozen=True):
    """What was taken back: ids of keys and serials of certificates, in hex."""

    keys: list[str]
    certificates: list[str]


def revoke(
    conn: Connection, gateway: str, *, kid: bytes | None, link: bool, from_seq: int | None, reason: str, now_ms: int
) -> Withdrawn:
    """Revoke in the caller's write transaction.

    kid: one key, None for every key that is still good. link: the certificates too. from_seq: counted in the
    gateway's newest stream; None: whatever comes in from now on. Raises RegistryError.
    """
    keys = keys_of(conn, gateway)
    if not keys:
        raise RegistryError(f"gateway {gateway}: not in the registry; `coldproof cloud gateway list` shows what is")
    place = None if from_seq is None else (_newest_stream(conn, gateway), from_seq)
    kids = [key.kid for key in keys if key.revoked_ms is None] if kid is None else [kid]
    for one in kids:
        revoke_key(conn, gateway, one, from_place=place, reason=reason, now_ms=now_ms)
    serials = revoke_links(conn, gateway, reason=reason, now_ms=now_ms) if link else []
    return Withdrawn([one.hex() for one in kids], serials)


def revoke_links(conn: Connection, gateway: str, *, reason: str, now_ms: int) -> list[str]:
    """Revoke every certificate of a gateway that is still good; their serials."""
    good = [one.serial for one in links.of_gateway(conn, gateway) if one.revoked_ms is None]
    for serial in good:
        links.revoke(conn, serial, now_ms)
        note_revocation(conn, Revocation(gateway, "link", serial, None, reason, now_ms))
    return good


def push_out(authority: Authority, gateway: str, *, host: str, port: int, now_ms: int) -> None:
    """Connect as the gateway for a moment, with a certificate of our own: who is on under this name is off then.

    One whose certificate is still good comes back. Raises BrokerUnreachable.
    """
    key = ca.new_key()
    certificate = ca.issue_client(authority, gateway, key.public_key(), now_ms=now_ms, lifetime=PUSHING_LIFETIME)
    connected = threading.Event()
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=gateway, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
    )
    client.on_connect = lambda _c, _u, _f, reason, _p: None if reason.is_failure else connected.set()
    with tempfile.TemporaryDirectory() as folder:
        link, trust = Path(folder) / "link.pem", Path(folder) / "ca.pem"
        ca.write_key_and_certificate(link, key, certificate)
        trust.write_bytes(authority.pem)
        client.tls_set(str(trust), str(link))
    try:
        client.connect(host, port)
    except OSError as error:
        raise BrokerUnreachable(f"broker {host}:{port}: {error}; is this where gateways connect?") from error
    client.loop_start()
    try:
        if not connected.wait(ANSWER_WITHIN_S):
            raise BrokerUnreachable(f"broker {host}:{port}: takes no connection in the name of {gateway}")
    finally:
        client.disconnect()
        client.loop_stop()


def _newest_stream(conn: Connection, gateway: str) -> bytes:
    table = tables.pack
    query = select(table.c.stream).where(table.c.gateway == gateway).order_by(table.c.id.desc()).limit(1)
    stream = conn.scalar(query)
    if stream is None:
        raise RegistryError(
            f"gateway {gateway}: nothing ever came from it, so no seq can be named; leave --from-seq out"
        )
    return bytes(stream)
