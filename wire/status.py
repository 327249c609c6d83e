"""The gateway's state as retained JSON on `up/status`; the last will is the same with online = false.

It is unsigned and steers nothing by itself: the cloud shows it, and asks for what it seems to lack.
"""

from __future__ import annotations

import msgspec

from wire.envelope import HASH_BYTES, WireError
from wire.observation import INT64_MAX
from wire.rule import STREAM_BYTES, require, require_text, require_time
from wire.topics import is_gateway_name

STATUS_MAX_BYTES = 16 * 1024


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """One gateway as it sees itself. Hashes and ids are lower-case hex; instants are UTC milliseconds."""

    gateway: str
    online: bool
    simulated: bool = False
    version: str = ""
    at_ms: int = 0
    stream: str = ""
    head_seq: int = 0
    head_hash: str = ""
    released_through: int = 0
    unsent_packs: int = 0
    checkpoint_size: int = 0
    checkpoint_root: str = ""
    devices: dict[str, str] = {}  # name → up, silent or down


def encode(status: Status) -> bytes:
    """The JSON bytes of a status."""
    return msgspec.json.encode(status)


def decode(data: bytes) -> Status:
    """Read a status. Raises WireError `too_large`, `malformed` or `invalid`."""
    if len(data) > STATUS_MAX_BYTES:
        raise WireError("too_large", f"status of {len(data)} bytes, the limit is {STATUS_MAX_BYTES}")
    try:
        status = msgspec.json.decode(data, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("malformed", f"status: {error}") from error
    check(status)
    return status


def check(status: Status) -> None:
    """Hold a status against the rules of docs/wire.md §7. Raises WireError `invalid`."""
    require(is_gateway_name(status.gateway), "status.gateway", "not a gateway name")
    require_text(status.version, "status.version")
    require_time(status.at_ms, "status.at_ms")
    for name in ("head_seq", "released_through", "unsent_packs", "checkpoint_size"):
        require(0 <= getattr(status, name) <= INT64_MAX, f"status.{name}", "out of range")
    for name, size in (("stream", STREAM_BYTES), ("head_hash", HASH_BYTES), ("checkpoint_root", HASH_BYTES)):
        text = getattr(status, name)
        require(text == "" or _is_hex(text, size), f"status.{name}", f"not {size} bytes in lower-case hex")
    for device, state in status.devices.items():
        require_text(device, "status.devices")
        require_text(state, f"status.devices.{device}")


def _is_hex(text: str, size: int) -> bool:
    return len(text) == 2 * size and all(digit in "0123456789abcdef" for digit in text)
