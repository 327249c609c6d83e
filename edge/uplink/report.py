"""The gateway's status letter, from what buffer, uplink and devices say of themselves."""

from __future__ import annotations

import msgspec

from edge.buffer.base import BufferState
from edge.keys import Identity
from wire import status as wire_status
from wire.receipt import Checkpoint
from wire.status import Status


def status_of(
    buffer: BufferState,
    identity: Identity,
    *,
    online: bool,
    version: str,
    at_ms: int,
    checkpoint: Checkpoint | None,
    devices: dict[str, str],
) -> Status:
    """The status letter; device states are left out when they would not fit into it."""
    status = Status(
        gateway=identity.gateway,
        online=online,
        simulated=identity.simulated,
        version=version,
        at_ms=at_ms,
        stream=buffer.stream.hex(),
        head_seq=buffer.head_seq,
        head_hash="" if buffer.head_hash is None else buffer.head_hash.hex(),
        released_through=buffer.released_through,
        unsent_packs=buffer.unsent_packs,
        checkpoint_size=0 if checkpoint is None else checkpoint.size,
        checkpoint_root="" if checkpoint is None else checkpoint.root.hex(),
        devices=devices,
    )
    if len(wire_status.encode(status)) > wire_status.STATUS_MAX_BYTES:
        return msgspec.structs.replace(status, devices={})
    return status
