"""The gateway's own account of itself: `status.json` in its data folder, for `coldproof edge status` and people.

Replaced whole every few seconds, without fsync: it is worth nothing after a power cut, and SD cards wear. Facts only;
what follows from them is reckoned by edge/budget.py and whoever shows it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec

from edge.buffer.base import BufferState
from edge.device import DeviceState
from edge.host import HostState
from edge.intake import IntakeState
from edge.uplink.base import UplinkState

STATUS_NAME = "status.json"
STATUS_MAX_BYTES = 4 * 1024 * 1024  # 1,000 devices take about half of one
EVERY_S = 10.0
LOOK_S = 0.5
STALE_AFTER_S = 4 * EVERY_S

log = logging.getLogger(__name__)


class StatusError(Exception):
    """There is no usable status; `str()` says where, why and what to do."""


class HealthTable(msgspec.Struct, frozen=True):
    """`[health]`: what the gateway says of itself, and of its card.

    every_s: between two sets of readings on `gateway/…` in real seconds; 0 for none. card_endurance_tb: terabytes the
    SD card or disk is good for.
    """

    every_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0
    card_endurance_tb: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 30.0


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
    damaged_observations: int = 0
    unsent_bytes: int = 0
    archive_packs: int = 0
    archive_bytes: int = 0
    max_bytes: int = 0
    thinned_readings: int = 0
    lost_packs: int = 0
    pending_declarations: int = 0


class Health(msgspec.Struct, frozen=True):
    """The gateway at one moment.

    written_at_ms: by the machine's clock; clock_ms and clock_state: by the gateway's, which may be simulated.
    head_seq_at_start: of the stream being written; 0 when that one is younger. min_free_bytes, card_endurance_bytes: as
    configured.
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
    host: HostState = HostState()
    head_seq_at_start: int = 0
    min_free_bytes: int = 0
    card_endurance_bytes: float = 0.0

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
        damaged_observations=state.damaged_observations,
        unsent_bytes=state.unsent_bytes,
        archive_packs=state.archive_packs,
        archive_bytes=state.archive_bytes,
        max_bytes=state.max_bytes,
        thinned_readings=state.thinned_readings,
        lost_packs=state.lost_packs,
        pending_declarations=state.pending_declarations,
    )


def write_health(folder: Path, health: Health) -> None:
    """Replace the status in one step. Raises OSError."""
    fresh = folder / f"{STATUS_NAME}.new"
    fresh.write_bytes(msgspec.json.encode(health) + b"\n")
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


async def keep_writing(
    folder: Path, look: Callable[[], Health], *, words: Callable[[], dict[str, str]], changed: Callable[[], None]
) -> None:
    """Write what `look` sees every few seconds, and within one when a device changed its state; until cancelled.

    words: the state of each device, asked far more often than `look`. `changed` is told when they differ from before.
    A full disk does not stop the gateway.
    """
    complaint = ""
    known: dict[str, str] = {}
    written_at_s = -EVERY_S
    while True:
        now = words()
        if now != known:
            known, written_at_s = now, -EVERY_S
            changed()
        if time.monotonic() - written_at_s >= EVERY_S:
            written_at_s = time.monotonic()
            complaint = _try_to_write(folder, look(), complaint)
        await asyncio.sleep(LOOK_S)


def _try_to_write(folder: Path, health: Health, complaint: str) -> str:
    try:
        write_health(folder, health)
    except OSError as error:
        if str(error) != complaint:
            log.error("status cannot be written: %s", error)
        return str(error)
    return ""
