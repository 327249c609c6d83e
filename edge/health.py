"""The gateway's own account of itself: `status.json` in its data folder, for `coldproof edge status` and people.

Replaced whole every few seconds, without fsync: it is worth nothing after a power cut, and SD cards wear.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.buffer.base import BufferState
from edge.device import DeviceState
from edge.intake import IntakeState
from edge.uplink.base import UplinkState

STATUS_NAME = "status.json"
STATUS_MAX_BYTES = 4 * 1024 * 1024  # 1,000 devices take about half of one
EVERY_S = 5.0
LOOK_S = 0.5
STALE_AFTER_S = 4 * EVERY_S

log = logging.getLogger(__name__)


class StatusError(Exception):
    """There is no usable status; `str()` says where, why and what to do."""


class BufferHealth(msgspec.Struct, frozen=True):
    """BufferState as text: stream and head_hash in hex. Instants are UTC milliseconds."""

    stream: str
    head_seq: int
    head_hash: str
    released_through: int
    open_observations: int
    unsent_packs: int
    unsent_observations: int
    refused_packs: int
    oldest_unsent_ms: int | None
    bytes: int
    full: bool
    set_aside: list[str]


class Health(msgspec.Struct, frozen=True):
    """The gateway at one moment.

    written_at_ms: by the machine's clock; clock_ms and clock_state: by the gateway's, which may be simulated.
    """

    gateway: str
    version: str
    simulated: bool
    running: bool
    pid: int
    written_at_ms: int
    clock_ms: int
    clock_state: str
    buffer: BufferHealth
    uplink: UplinkState
    intake: IntakeState
    devices: list[DeviceState]

    @property
    def fresh(self) -> bool:
        """Whether the gateway is running, as far as this can tell."""
        return self.running and time.time() * 1000 - self.written_at_ms < STALE_AFTER_S * 1000


def buffer_health(state: BufferState) -> BufferHealth:
    """The buffer's state as text."""
    return BufferHealth(
        stream=state.stream.hex(),
        head_seq=state.head_seq,
        head_hash="" if state.head_hash is None else state.head_hash.hex(),
        released_through=state.released_through,
        open_observations=state.open_observations,
        unsent_packs=state.unsent_packs,
        unsent_observations=state.unsent_observations,
        refused_packs=state.refused_packs,
        oldest_unsent_ms=state.oldest_unsent_ms,
        bytes=state.bytes,
        full=state.full,
        set_aside=list(state.set_aside),
    )


def write_health(folder: Path, health: Health) -> None:
    """Replace the status in one step. Raises OSError."""
    fresh = folder / f"{STATUS_NAME}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(health)) + b"\n")
    fresh.replace(folder / STATUS_NAME)


def read_health(folder: Path) -> Health:
    """The last status written. Raises StatusError."""
    path = folder / STATUS_NAME
    try:
        with path.open("rb") as file:
            data = file.read(STATUS_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise StatusError(f"{path}: no status there; has this gateway run yet? (coldproof edge run)") from error
    except OSError as error:
        raise StatusError(f"{path}: {error}") from error
    try:
        return msgspec.json.decode(data, type=Health)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StatusError(f"{path}: not a status of this version ({error})") from error


async def keep_writing(folder: Path, look: Callable[[], Health], changed: Callable[[], None]) -> None:
    """Write what `look` sees every few seconds, and within one when a device changed its state; until cancelled.

    `changed` is told of such a change. A full disk does not stop the gateway.
    """
    complaint = ""
    words: dict[str, str] = {}
    written_at_s = -EVERY_S
    while True:
        health = look()
        now = {device.name: device.state for device in health.devices}
        if now != words:
            words, written_at_s = now, -EVERY_S
            changed()
        if time.monotonic() - written_at_s >= EVERY_S:
            written_at_s = time.monotonic()
            complaint = _try_to_write(folder, health, complaint)
        await asyncio.sleep(LOOK_S)


def _try_to_write(folder: Path, health: Health, complaint: str) -> str:
    try:
        write_health(folder, health)
    except OSError as error:
        if str(error) != complaint:
            log.error("status cannot be written: %s", error)
        return str(error)
    return ""
