"""The gateway's state as retained JSON on `up/status`; the last will is the same with online = false.

It is unsigned and steers nothing by itself: the cloud shows it, and asks for what it seems to lack.
"""

from __future__ import annotations

import msgspec

from wire.envelope import WireError

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
    """Read a status. Raises WireError `too_large` or `malformed`."""
    if len(data) > STATUS_MAX_BYTES:
        raise WireError("too_large", f"status of {len(data)} bytes, the limit is {STATUS_MAX_BYTES}")
    try:
        return msgspec.json.decode(data, type=Status)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise WireError("malformed", f"status: {error}") from error
