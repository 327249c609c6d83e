"""What to do with bytes that came in on a pack topic. Pure: no database, no clock, no broker.

`examine` looks at the letter alone: topic, envelope, the keys of the gateway the topic names. `judge` then compares
it with what is stored under its identity (gateway, stream, seq). Checks stand in the order of what they cost an
attacker to reach: size, form, key, signature, and only then is anything inflated or decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.ingest.signature import public_key
from cloud.registry.keys import GatewayKey
from standards.cose import Sign1
from wire import pack as wire_pack
from wire.envelope import WireError, envelope_hash, open_envelope
from wire.observation import INT64_MAX
from wire.pack import Pack
from wire.topics import TopicError, gateway_of, up_pack

Identity = tuple[str, bytes, int]  # gateway, stream, seq


class Candidate(msgspec.Struct, frozen=True):
    """A pack whose signature holds. hash: SHA-256 of the envelope as sent; kid: of the key that signed it."""

    pack: Pack
    hash: bytes
    kid: bytes

    @property
    def identity(self) -> Identity:
        """What no other envelope may claim."""
        return self.pack.gateway, self.pack.stream, self.pack.seq


class Quarantined(msgspec.Struct, frozen=True):
    """Not acceptable. reason: one word for machines; detail: what, where and why."""

    reason: str
    detail: str


class Accepted(msgspec.Struct, frozen=True):
    """First of its identity: store it."""

    candidate: Candidate


class Duplicate(msgspec.Struct, frozen=True):
    """The same bytes are stored: only a receipt is owed."""

    candidate: Candidate


class Conflict(msgspec.Struct, frozen=True):
    """Other bytes are stored under this identity: keep the first, record the second."""

    candidate: Candidate


Verdict = Accepted | Duplicate | Conflict | Quarantined


def examine(topic: str, envelope: bytes, *, keys: Sequence[GatewayKey], received_ms: int) -> Candidate | Quarantined:
    """Judge a letter by itself. `keys`: all keys of the gateway named in the topic, none if it is unknown."""
    try:
        gateway = gateway_of(topic)
        if topic != up_pack(gateway):
            return Quarantined("foreign_topic", f"{topic[:200]!r} does not carry packs")
        message = open_envelope(envelope)
        signers = _signers(gateway, message, keys, received_ms)
        if isinstance(signers, Quarantined):
            return signers
        pack = wire_pack.read_payload(message)
    except TopicError as error:
        return Quarantined("foreign_topic", str(error))
    except WireError as error:
        return Quarantined(error.reason, str(error))
    if pack.gateway != gateway:
        return Quarantined("foreign_gateway", f"a pack of gateway {pack.gateway} came on the topic of {gateway}")
    ended = _refuse_after_end(pack, signers)
    return ended or Candidate(pack, envelope_hash(envelope), message.kid)


def key_named_by(envelope: bytes) -> bytes | None:
    """The id of the key that a letter says it is signed by, None where there is no letter."""
    try:
        return open_envelope(envelope).kid
    except WireError:
        return None


def judge(candidate: Candidate, stored_hash: bytes | None) -> Accepted | Duplicate | Conflict:
    """Compare with the hash stored under the same identity, None when there is none."""
    if stored_hash is None:
        return Accepted(candidate)
    return Duplicate(candidate) if stored_hash == candidate.hash else Conflict(candidate)


def _signers(
    gateway: str, message: Sign1, keys: Sequence[GatewayKey], received_ms: int
) -> list[GatewayKey] | Quarantined:
    """The keys under which the signature holds; more than one only if two key ids should ever be equal."""
    if not keys:
        return Quarantined("unknown_gateway", f"gateway {gateway} is not in the registry")
    named = [key for key in keys if key.kid == message.kid]
    if not named:
        return Quarantined("unknown_key", f"gateway {gateway} has no key with id {message.kid.hex()}")
    signers = [key for key in named if message.is_signed_by(public_key(key.public_key))]
    if not signers:
        return Quarantined("bad_signature", f"the signature of gateway {gateway} does not hold")
    valid = [key for key in signers if key.revoked_ms is None or received_ms < key.revoked_ms]
    if not valid:
        return Quarantined("revoked_key", f"key {message.kid.hex()} of gateway {gateway} was revoked before this came")
    return valid


def _refuse_after_end(pack: Pack, signers: Sequence[GatewayKey]) -> Quarantined | None:
    """A key that ended signs no later number, and declares none lost either."""
    ends = [key.end for key in signers if key.end is not None]
    if len(ends) < len(signers):
        return None
    lost = [(one.stream, one.last_seq or INT64_MAX) for one in pack.losses]
    for end in ends:
        if end.forbids(pack.stream, pack.seq) or any(end.forbids_loss(stream, seq) for stream, seq in lost):
            reason = "superseded_key" if end.cause == "changed" else "revoked_key"
            what = f"seq {pack.seq} of stream {pack.stream.hex()}"
            return Quarantined(reason, f"{what}: its key ended at seq {end.first_seq} of stream {end.stream.hex()}")
    return None
