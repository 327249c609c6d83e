"""The command: the cloud asks a gateway to do something. Signed, numbered, and good for one use."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire.envelope import WireError, decode, open_envelope
from wire.pack import STREAM_BYTES
from wire.topics import is_gateway_name

CONTENT_TYPE = "application/vnd.coldproof.command.v1"
ID_BYTES = 16


class SendAgain(msgspec.Struct, frozen=True, array_like=True, tag="send_again"):
    """Send these ranges of a stream again, from buffer or archive."""

    stream: bytes
    ranges: list[tuple[int, int]]


class ApplyConfiguration(msgspec.Struct, frozen=True, array_like=True, tag="apply_configuration"):
    """Fetch and apply configuration `version`, whose text has this SHA-256."""

    version: int
    sha256: bytes


class TestAlarm(msgspec.Struct, frozen=True, array_like=True, tag="test_alarm"):
    """Raise a test alarm, marked as such for ever."""

    __test__ = False  # a noun of ours, not a test class
    text: str


class SignOff(msgspec.Struct, frozen=True, array_like=True, tag="sign_off"):
    """Record that a person has accepted the installation."""

    person: str


Order = SendAgain | ApplyConfiguration | TestAlarm | SignOff


class Command(msgspec.Struct, frozen=True, array_like=True):
    """One order to one gateway. `counter` rises per gateway: a used or older one is refused."""

    id: bytes
    gateway: str
    counter: int
    issued_at_ms: int
    expires_at_ms: int
    order: Order


def seal(command: Command, *, key: Ed25519PrivateKey, kid: bytes) -> bytes:
    """Encode and sign a command. Raises WireError `invalid`."""
    check(command)
    return cose.sign1(msgspec.msgpack.encode(command), content_type=CONTENT_TYPE, key=key, kid=kid)


def unseal(envelope: bytes) -> tuple[cose.Sign1, Command]:
    """Open a command; the caller checks signature, counter and expiry. Raises WireError."""
    message = open_envelope(envelope)
    if message.content_type != CONTENT_TYPE:
        raise WireError("unknown_type", f"content type {message.content_type!r}, expected {CONTENT_TYPE!r}")
    command = decode(message.payload, Command, "command")
    check(command)
    return message, command


def check(command: Command) -> None:
    """Hold a command against the rules of docs/wire.md §6. Raises WireError `invalid`."""
    if len(command.id) != ID_BYTES or not is_gateway_name(command.gateway) or command.counter < 1:
        raise WireError("invalid", "command: bad id, gateway or counter")
    if command.expires_at_ms <= command.issued_at_ms:
        raise WireError("invalid", "command: expires before it was issued")
    if isinstance(command.order, SendAgain):
        ranges_ok = all(1 <= first <= last for first, last in command.order.ranges)
        if len(command.order.stream) != STREAM_BYTES or not ranges_ok or len(command.order.ranges) > 256:
            raise WireError("invalid", "command: send_again: bad stream or ranges")
