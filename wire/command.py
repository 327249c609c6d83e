"""The command: the cloud asks a gateway to do something. Signed, numbered, and good for one use."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire.envelope import HASH_BYTES, decode, open_envelope, require_type
from wire.observation import INT64_MAX
from wire.rule import STREAM_BYTES, require, require_seq, require_text, require_time
from wire.topics import is_gateway_name

CONTENT_TYPE = "application/vnd.coldproof.command.v1"
ID_BYTES = 16
RANGES_MAX = 256


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
    require_type(message, CONTENT_TYPE)
    command = decode(message.payload, Command, "command")
    check(command)
    return message, command


def check(command: Command) -> None:
    """Hold a command against the rules of docs/wire.md §6. Raises WireError `invalid`."""
    require(len(command.id) == ID_BYTES, "command.id", f"must have {ID_BYTES} bytes")
    require(is_gateway_name(command.gateway), "command.gateway", "not a gateway name")
    require(1 <= command.counter <= INT64_MAX, "command.counter", "out of range, it starts at 1")
    require_time(command.issued_at_ms, "command.issued_at_ms")
    require_time(command.expires_at_ms, "command.expires_at_ms")
    require(command.issued_at_ms < command.expires_at_ms, "command.expires_at_ms", "not after it was issued")
    match command.order:
        case SendAgain(stream, ranges):
            require(len(stream) == STREAM_BYTES, "command.order.stream", f"must have {STREAM_BYTES} bytes")
            require(len(ranges) <= RANGES_MAX, "command.order.ranges", f"more than {RANGES_MAX}")
            for first, last in ranges:
                require_seq(first, "command.order.ranges")
                require_seq(last, "command.order.ranges")
                require(first <= last, "command.order.ranges", "out of order")
        case ApplyConfiguration(version, sha256):
            require(1 <= version <= INT64_MAX, "command.order.version", "out of range, it starts at 1")
            require(len(sha256) == HASH_BYTES, "command.order.sha256", f"a SHA-256 has {HASH_BYTES} bytes")
        case TestAlarm(text):
            require_text(text, "command.order.text")
        case SignOff(person):
            require_text(person, "command.order.person")
