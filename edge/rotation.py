"""What a running gateway does for its own identity: follows a change of key through, renews its link certificate.

A change of key, safe at every point: `edge rotate-key` makes the next key; the buffer writes the change into the
stream, signed by the old key, and signs with the next one from there on; the next key takes the old one's place as
soon as the cloud is known to have the change (edge/buffer/succession.py), and not before. Until then both are kept:
whatever stream begins meanwhile, because the file broke or has a copy, begins with the change again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from edge.buffer.base import Buffer, BufferFull
from edge.clock import Clock
from edge.enrol import RENEW_BEFORE, EnrolError, expires_at, read_place, renew
from edge.keys import Identity, KeyFileError, load_next, load_or_make, promote_next
from edge.letterbox import CloudRefused, CloudUnreachable
from wire.observation import ClockState

LOOK_S = 5.0
RENEWAL_LOOK_S = 6 * 3600.0
RENEWAL_FIRST_S = 60.0  # let the gateway come up, and its clock be set

log = logging.getLogger(__name__)


async def keep_rotating(
    folder: Path, identity: Identity, buffer: Buffer, clock: Clock, *, notify: Callable[[], None]
) -> None:
    """Follow changes of key through, until cancelled. Raises KeyFileError when a key cannot be read."""
    told = ""
    while True:
        try:
            if await follow(folder, identity, buffer, clock):
                notify()
            told = ""
        except (BufferFull, KeyFileError) as error:
            if str(error) != told:
                log.error("the change of key waits: %s", error)
            told = str(error)
        await asyncio.sleep(LOOK_S)


async def follow(folder: Path, identity: Identity, buffer: Buffer, clock: Clock) -> bool:
    """Take the next step of a change of key, if one is under way; whether a pack was sealed.

    Raises BufferFull, KeyFileError.
    """
    successor = load_next(folder, identity)
    if successor is None:
        return False
    if buffer.kid != successor.kid:
        await buffer.change_key(successor, clock.stamp())
        log.info("key changed: next=%s", successor.kid.hex())
        return True
    if await buffer.change_arrived():
        promote_next(folder, successor)
        await buffer.finish_change()
        log.info("the cloud has the change of key: key=%s", successor.kid.hex())
    return False


async def keep_renewing(folder: Path, identity: Identity, clock: Clock) -> None:
    """Renew the link certificate when it has less than 30 days left, until cancelled.

    The next connection is made with it: the files are read for each.
    """
    told = ""
    await asyncio.sleep(RENEWAL_FIRST_S)
    while True:
        problem = await renew_if_due(folder, identity, clock)
        if problem != told and problem:
            log.warning("the link certificate is not renewed: %s", problem)
        told = problem
        await asyncio.sleep(RENEWAL_LOOK_S)


async def renew_if_due(folder: Path, identity: Identity, clock: Clock) -> str:
    """Why it could not be renewed; empty when it was, or need not be."""
    expires = None
    try:
        expires = expires_at(folder)
        if expires is None or read_place(folder) is None:
            return ""
        if _now_ms(identity, clock) < (expires - RENEW_BEFORE).timestamp() * 1000:
            return ""
        current = load_or_make(folder, identity.gateway, simulated=identity.simulated)
        # urllib blocks; a thread for a moment, once in two years, is simpler than HTTP by hand.
        until = await asyncio.to_thread(renew, folder, current)
    except (EnrolError, KeyFileError, CloudUnreachable, CloudRefused) as error:
        return str(error) if expires is None else f"{error}; it runs out {expires:%Y-%m-%d}"
    log.info("link certificate renewed: until=%s", until.isoformat())
    return ""


def _now_ms(identity: Identity, clock: Clock) -> int:
    """The machine's UTC, for what concerns certificates; what has certainly passed, while nobody has set its clock.

    A simulated gateway's own time says nothing about the machine's.
    """
    if identity.simulated:
        return time.time_ns() // 1_000_000
    floor_ms = clock.known_floor_ms()
    unsynced = clock.stamp().clock == ClockState.UNSYNCED
    return floor_ms if unsynced else max(floor_ms, time.time_ns() // 1_000_000)
