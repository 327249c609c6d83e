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
from cloud.registry.keys import (
    GatewayKey,
    RegistryError,
    Revocation,
    keys_of,
    note_revocation,
    revoke_key,
    stored_through,
)

PUSHING_LIFETIME = datetime.timedelta(minutes=10)
ANSWER_WITHIN_S = 10.0
STREAMS_SHOWN = 8


class BrokerUnreachable(Retryable):
    """The broker cannot be asked."""


class Withdrawn(msgspec.Struct, frozen=True):
    """What was taken back: ids of keys and serials of certificates, in hex. stream: the one seqs are counted in."""

    keys: list[str]
    certificates: list[str]
    stream: bytes | None = None


def revoke(
    conn: Connection,
    gateway: str,
    *,
    kid: bytes | None,
    link: bool,
    from_seq: int | None,
    reason: str,
    now_ms: int,
    stream: bytes | None = None,
) -> Withdrawn:
    """Revoke in the caller's write transaction.

    kid: one key, None for every key that is still good (there). link: the certificates too. from_seq: counted in
    `stream`, or in the only one that nothing went on from; None: whatever comes in from now on. Raises RegistryError.
    """
    keys = keys_of(conn, gateway)
    if not keys:
        raise RegistryError(f"gateway {gateway}: not in the registry; `coldproof cloud gateway list` shows what is")
    place = None if from_seq is None else (_stream(conn, gateway, stream), from_seq)
    kids = [key.kid for key in keys if key.revoked_ms is None and _is_good_at(key, place)] if kid is None else [kid]
    for one in kids:
        revoke_key(conn, gateway, one, from_place=place, reason=reason, now_ms=now_ms)
    serials = revoke_links(conn, gateway, reason=reason, now_ms=now_ms) if link else []
    return Withdrawn([one.hex() for one in kids], serials, place and place[0])


def _is_good_at(key: GatewayKey, place: tuple[bytes, int] | None) -> bool:
    """Whether a key would sign this number: one that ended before needs no other end."""
    return key.end is None or place is None or not key.end.forbids(*place)


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


def _stream(conn: Connection, gateway: str, named: bytes | None) -> bytes:
    """The stream that seqs are counted in: the one named, or the only one that no other went on from."""
    known = stored_through(conn, gateway)
    if not known:
        raise RegistryError(
            f"gateway {gateway}: nothing ever came from it, so no seq can be named; leave --from-seq out"
        )
    prior = tables.succession.c.prior_stream
    over = set(conn.scalars(select(prior).where(tables.succession.c.gateway == gateway, prior.in_(known))))
    candidates = sorted(set(known) - over if named is None else {named} & set(known))
    if len(candidates) == 1:
        return candidates[0]
    shown = sorted(set(known) - over)[:STREAMS_SHOWN] or sorted(known)[:STREAMS_SHOWN]
    streams = ", ".join(f"{one.hex()} (through {known[one]})" for one in shown)
    if named is None:
        raise RegistryError(f"gateway {gateway}: has no single newest stream; name one with --stream: {streams}")
    raise RegistryError(f"gateway {gateway}: nothing is stored of stream {named.hex()}; there is {streams}")
