"""The buffer's account of itself, from what its records say."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edge.buffer.base import BufferState
from edge.buffer.file import disk_bytes
from edge.buffer.groups import Backlog
from edge.buffer.meta import LOST_PACKS, THINNED_READINGS, tally
from edge.buffer.packs import Amount, oldest_ms
from edge.buffer.ranges import size
from edge.buffer.stream import Stream


def state_of(
    db: sqlite3.Connection,
    path: Path,
    streams: Sequence[Stream],
    backlog: Backlog,
    *,
    unsent: Amount,
    archive: Amount,
    max_bytes: int,
    full: bool,
    set_aside: tuple[str, ...],
) -> BufferState:
    """The buffer now. streams: oldest first, the last one is being written."""
    current = streams[-1]
    waiting = [(stream, stream.unsent) for stream in streams]
    oldest = [backlog.from_ms, *(oldest_ms(db, stream, ranges[0][0]) for stream, ranges in waiting if ranges)]
    return BufferState(
        stream=current.name,
        head_seq=current.last_seq,
        head_hash=current.last_hash,
        released_through=current.released_through,
        open_observations=backlog.observations,
        unsent_packs=sum(size(ranges) for _, ranges in waiting),
        unsent_observations=unsent.observations,
        refused_packs=sum(kind == "refused" for stream in streams for kind in stream.shelved.values()),
        oldest_unsent_ms=min((ms for ms in oldest if ms is not None), default=None),
        bytes=disk_bytes(path),
        full=full,
        set_aside=set_aside,
        damaged_observations=backlog.damaged,
        unsent_bytes=unsent.size_bytes,
        archive_packs=archive.packs,
        archive_bytes=archive.size_bytes,
        max_bytes=max_bytes,
        thinned_readings=tally(db, THINNED_READINGS),
        lost_packs=tally(db, LOST_PACKS),
        pending_declarations=backlog.entries,
        disputed_streams=sum(stream.disputed for stream in streams),
        pending_carriage=sum(size(stream.to_carry) for stream in streams),
    )
