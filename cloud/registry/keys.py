"""Which gateways there are, and the public keys whose signature makes a pack theirs.

Invariants: a key that ended signs nothing from its end on, in its stream and in any stream begun later; below it, and
in the streams from before, it stays good, whenever a pack comes in, but in none of them without an upper bound; of two
ends of one key the first one counts, and a revocation only ever takes more away; every key and every revocation is a
leaf of the ledger.

The streams from before are those the end's stream went on from, as their successors name them, up to the last seq
named there; and any other that was known when the key ended, up to the highest seq stored then. Whoever stole the key
may have begun one: it ends there. After a revocation all count as such others.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, delete, func, insert, select, update

from cloud.db import tables
from cloud.errors import Rejected
from cloud.ledger import log
from standards import cose
from wire.pack import KeyChange
from wire.topics import is_gateway_name

_log = logging.getLogger(__name__)

KEY_BYTES = 32  # a raw Ed25519 public key, RFC 8032 §5.1.5
LINKED_MAX = 1_000  # streams before a key's end: a card is restored now and then, not a thousand times
FILE_MAX_BYTES = 4096  # a public half is about 130 bytes


class RegistryError(Rejected):
    """The registry refuses an entry; nothing was changed."""


class PublicHalf(msgspec.Struct, frozen=True):
    """What a gateway shows of itself: the JSON file it wrote on its first start. public_key: base64, 32 bytes."""

    gateway: str
    public_key: str
    simulated: bool = False


class KeyEnd(msgspec.Struct, frozen=True):
    """Where a key ends: at `first_seq` of `stream`. older: the streams from before, and the last seq it signs there.

    cause: changed (it named its successor itself) or revoked. linked: those of the older that the stream went on from.
    """

    cause: str
    stream: bytes
    first_seq: int
    older: Mapping[bytes, int] = {}
    successor: bytes | None = None
    linked: frozenset[bytes] = frozenset()

    def last_seq(self, stream: bytes) -> int:
        """The highest number of a stream that the key signs; 0 for none."""
        return self.first_seq - 1 if stream == self.stream else self.older.get(stream, 0)

    def forbids(self, stream: bytes, seq: int) -> bool:
        """Whether the key may no longer sign this number."""
        return seq > self.last_seq(stream)

    def forbids_loss(self, stream: bytes, last_seq: int) -> bool:
        """Whether the key may no longer declare lost up to this number. A stream from before is over: all of it."""
        return last_seq >= self.first_seq if stream == self.stream else stream not in self.older


class GatewayKey(msgspec.Struct, frozen=True):
    """A key that may sign for a gateway: until `revoked_ms` by time of receipt, up to `end` by number."""

    kid: bytes
    public_key: bytes
    revoked_ms: int | None = None
    end: KeyEnd | None = None


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
        keys = keys_of(conn, half.gateway)
        same = [key for key in keys if key.public_key == raw]
        if any(_is_revoked(key) for key in same):
            raise RegistryError(f"gateway {half.gateway}: this key was revoked; the gateway needs a new one")
        if not same and not all(_is_revoked(key) for key in keys):
            raise RegistryError(
                f"gateway {half.gateway}: is known with another key. If its card was lost, revoke that one first "
                f"(`coldproof cloud gateway revoke {half.gateway}`), or give the gateway another name; a key change "
                "must come signed by the old key, in the gateway's own stream"
            )
        if half.simulated:
            mark_simulated(conn, [half.gateway])
        if same:
            return False
    _insert_key(conn, half.gateway, raw, now_ms)
    return True


def _is_revoked(key: GatewayKey) -> bool:
    return key.revoked_ms is not None or (key.end is not None and key.end.cause == "revoked")


def _insert_key(conn: Connection, gateway: str, raw: bytes, now_ms: int) -> None:
    kid = cose.key_id(Ed25519PublicKey.from_public_bytes(raw))
    row = {"gateway": gateway, "kid": kid, "public_key": raw, "added_ms": now_ms, "revoked_ms": None}
    conn.execute(insert(tables.gateway_key).values(row))
    log.append(conn, "key", payload=key_payload(gateway, raw), ref=gateway)


def key_payload(gateway: str, public_key: bytes) -> bytes:
    """The bytes a key's leaf commits to: the gateway's name, a zero byte, the raw key."""
    return gateway.encode("ascii") + b"\x00" + public_key


def keys_of(conn: Connection, gateway: str) -> list[GatewayKey]:
    """The keys of a gateway, revoked ones included; empty for an unknown gateway."""
    return keys_of_many(conn, [gateway]).get(gateway, [])


def keys_of_many(conn: Connection, gateways: Iterable[str]) -> dict[str, list[GatewayKey]]:
    """The keys of several gateways; unknown gateways are missing."""
    table = tables.gateway_key
    names = set(gateways)
    query = select(table.c.gateway, table.c.kid, table.c.public_key, table.c.revoked_ms)
    rows = conn.execute(query.where(table.c.gateway.in_(names)).order_by(table.c.gateway, table.c.kid)).all()
    ends = _ends(conn, names)
    found: dict[str, list[GatewayKey]] = {}
    for gateway, kid, public_key, revoked_ms in rows:
        found.setdefault(gateway, []).append(GatewayKey(kid, public_key, revoked_ms, ends.get((gateway, kid))))
    return found


class SignedPack(msgspec.Struct, frozen=True):
    """What a pack on record says about keys. kid: of the key that signed it."""

    gateway: str
    kid: bytes
    stream: bytes
    predecessor: bytes | None
    change: KeyChange | None


def note_packs(conn: Connection, packs: Iterable[SignedPack], now_ms: int) -> set[str]:
    """Take in what packs say about keys, in the transaction that records them; whose new key is known by it."""
    with_new_key: set[str] = set()
    for one in packs:
        if one.change is not None and _change(conn, one, one.change, now_ms):
            with_new_key.add(one.gateway)
        if one.predecessor is not None:
            _note_older(conn, one)
    return with_new_key


def end_key(conn: Connection, gateway: str, kid: bytes, end: KeyEnd, now_ms: int) -> bool:
    """Set where a key ends, in the caller's write transaction; False when that is known already."""
    if (gateway, kid) in _ends(conn, {gateway}):
        return False
    row = {"gateway": gateway, "kid": kid, "cause": end.cause, "stream": end.stream, "first_seq": end.first_seq}
    row |= {"successor": end.successor, "ended_ms": now_ms}
    conn.execute(insert(tables.key_end).values(row))
    for stream, last_seq in end.older.items():
        _put_older(conn, gateway, kid, stream, last_seq, linked=stream in end.linked)
    return True


def revoke_key(
    conn: Connection, gateway: str, kid: bytes, *, from_place: tuple[bytes, int] | None, reason: str, now_ms: int
) -> None:
    """Take a key back, in the caller's write transaction; the revocation becomes a leaf.

    from_place: stream and the first seq the key may no longer sign; in other streams it signs nothing above what is
    stored now. None: nothing that comes in from now on, whatever its number. Raises RegistryError for a key the
    gateway never had, and for one that ended at or before that place.
    """
    table = tables.gateway_key
    here = (table.c.gateway == gateway, table.c.kid == kid)
    if conn.execute(select(table.c.kid).where(*here)).one_or_none() is None:
        raise RegistryError(f"gateway {gateway}: has no key {kid.hex()}; `coldproof cloud gateway show {gateway}`")
    if from_place is None:
        conn.execute(update(table).where(*here, table.c.revoked_ms.is_(None)).values(revoked_ms=now_ms))
    else:
        stream, first_seq = from_place
        _replace_end(conn, gateway, kid, KeyEnd("revoked", stream, first_seq), now_ms)
    note_revocation(conn, Revocation(gateway, "key", kid.hex(), from_place and from_place[1], reason, now_ms))


class Revocation(msgspec.Struct, frozen=True):
    """What was taken back. kind: key or link; subject: the key's id, or the certificate's serial, in hex."""

    gateway: str
    kind: str
    subject: str
    from_seq: int | None
    reason: str
    revoked_ms: int


def note_revocation(conn: Connection, one: Revocation) -> None:
    """Put a revocation on record, as a leaf over its JSON."""
    leaf_index = log.append(conn, "key", payload=msgspec.json.encode(one), ref=one.gateway)
    conn.execute(insert(tables.revocation).values(leaf_index=leaf_index, **msgspec.structs.asdict(one)))


def _replace_end(conn: Connection, gateway: str, kid: bytes, end: KeyEnd, now_ms: int) -> None:
    """A revocation stands in the place of a change: somebody may have made that one with a stolen key.

    It widens nothing: what the key could not sign before it cannot sign now.
    """
    before = _ends(conn, {gateway}).get((gateway, kid))
    if before is not None and before.forbids(end.stream, end.first_seq):
        raise RegistryError(
            f"gateway {gateway}: key {kid.hex()} ended at seq {before.first_seq} of stream {before.stream.hex()}, "
            f"which is no later than seq {end.first_seq} of stream {end.stream.hex()}"
        )
    for table in (tables.key_end, tables.key_older_stream):
        conn.execute(delete(table).where(table.c.gateway == gateway, table.c.kid == kid))
    older = {
        stream: seq if before is None else min(seq, before.last_seq(stream))
        for stream, seq in stored_through(conn, gateway).items()
        if stream != end.stream
    }
    end_key(conn, gateway, kid, msgspec.structs.replace(end, older={k: v for k, v in older.items() if v > 0}), now_ms)


def stored_through(conn: Connection, gateway: str) -> dict[bytes, int]:
    """The streams of a gateway that packs are stored of, each with its highest seq."""
    known, pack = tables.settled, tables.pack
    streams = conn.scalars(select(known.c.stream).where(known.c.gateway == gateway).distinct()).all()
    highest = {
        stream: conn.scalar(select(func.max(pack.c.seq)).where(pack.c.gateway == gateway, pack.c.stream == stream))
        for stream in streams
    }
    return {stream: int(seq) for stream, seq in highest.items() if seq is not None}


def _change(conn: Connection, pack: SignedPack, change: KeyChange, now_ms: int) -> bool:
    """Whether the registry has a key more now."""
    successor = cose.key_id(Ed25519PublicKey.from_public_bytes(change.public_key))
    linked = _heads_before(conn, pack.gateway, pack.stream)
    older = {stream: seq for stream, seq in stored_through(conn, pack.gateway).items() if stream != pack.stream}
    end = KeyEnd("changed", pack.stream, change.first_seq, older | linked, successor, frozenset(linked))
    if not end_key(conn, pack.gateway, pack.kid, end, now_ms):
        _log.warning("a second end of a key is not believed: gateway=%s kid=%s", pack.gateway, pack.kid.hex())
        return False
    is_new = all(key.public_key != change.public_key for key in keys_of(conn, pack.gateway))
    if is_new:
        _insert_key(conn, pack.gateway, change.public_key, now_ms)
    _log.info("key changed: gateway=%s old=%s new=%s", pack.gateway, pack.kid.hex(), successor.hex())
    return is_new


def _note_older(conn: Connection, pack: SignedPack) -> None:
    """A stream that this one goes on from is older than the key's end, if this one is, and so are those before it."""
    end = _ends(conn, {pack.gateway}).get((pack.gateway, pack.kid))
    if end is None or end.cause != "changed" or (pack.stream != end.stream and pack.stream not in end.linked):
        return
    for stream, last_seq in _heads_before(conn, pack.gateway, pack.stream).items():
        if stream != end.stream and stream not in end.linked:
            _put_older(conn, pack.gateway, pack.kid, stream, last_seq, linked=True)


def _heads_before(conn: Connection, gateway: str, stream: bytes) -> dict[bytes, int]:
    """The streams that one went on from, directly or not, each with the last seq named by its successor."""
    table = tables.succession
    found: dict[bytes, int] = {}
    at = stream
    while len(found) < LINKED_MAX:
        query = select(table.c.prior_stream, table.c.last_seq).where(table.c.gateway == gateway, table.c.stream == at)
        row = conn.execute(query.limit(1)).one_or_none()
        if row is None or row.prior_stream in found or row.prior_stream == stream:
            break
        found[row.prior_stream] = row.last_seq
        at = row.prior_stream
    return found


def _put_older(conn: Connection, gateway: str, kid: bytes, stream: bytes, last_seq: int, *, linked: bool) -> None:
    table = tables.key_older_stream
    this = (table.c.gateway == gateway, table.c.kid == kid, table.c.stream == stream)
    conn.execute(delete(table).where(*this))
    row = {"gateway": gateway, "kid": kid, "stream": stream, "last_seq": last_seq, "linked": linked}
    conn.execute(insert(table).values(row))


def _ends(conn: Connection, gateways: set[str]) -> dict[tuple[str, bytes], KeyEnd]:
    ends, older = tables.key_end, tables.key_older_stream
    rows = conn.execute(select(ends).where(ends.c.gateway.in_(gateways))).all()
    if not rows:
        return {}
    bounds: dict[tuple[str, bytes], dict[bytes, int]] = {}
    linked: dict[tuple[str, bytes], set[bytes]] = {}
    for row in conn.execute(select(older).where(older.c.gateway.in_(gateways))):
        bounds.setdefault((row.gateway, row.kid), {})[row.stream] = row.last_seq
        if row.linked:
            linked.setdefault((row.gateway, row.kid), set()).add(row.stream)
    return {
        (row.gateway, row.kid): KeyEnd(
            row.cause,
            row.stream,
            row.first_seq,
            bounds.get((row.gateway, row.kid), {}),
            row.successor,
            frozenset(linked.get((row.gateway, row.kid), ())),
        )
        for row in rows
    }


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
