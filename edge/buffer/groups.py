"""Open groups, committed and not yet sealed, and entries waiting to be declared: functions over one connection."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from edge.buffer.base import ObservationRefused, SealOptions
from edge.buffer.file import CorruptFile
from edge.buffer.seal import admit, pack_group, unpack_group
from wire.observation import Observation, Scan, Stamp
from wire.pack import Correction, Loss

NUMBER_MAX = 1 << 62
GROUPS_PER_SEAL = 32  # groups sealed in one transaction: bounds memory after a long time without sealing
ENTRIES_PER_SEAL = 100

log = logging.getLogger(__name__)

E = TypeVar("E", Loss, Correction)


class Batch(msgspec.Struct, frozen=True):
    """What the next sealing transaction works through."""

    groups: list[int]
    damaged: list[int]  # of the groups: bytes that no longer decode
    observations: list[Observation]
    entries: list[int]
    losses: list[Loss]
    corrections: list[Correction]

    @property
    def empty(self) -> bool:
        """Whether nothing is open any more."""
        return not self.groups and not self.entries


class Backlog(msgspec.Struct, frozen=True):
    """What is open: observations, the scans among them, the oldest wall time, and entries to declare.

    damaged: observations that were open and can never be sealed.
    """

    observations: int
    scans: int
    from_ms: int | None
    entries: int
    damaged: int


def group_row(observations: Sequence[Observation]) -> tuple[int, int, int, bytes]:
    """(count, from_ms, scans, bytes) of one group."""
    scans = sum(isinstance(observation, Scan) for observation in observations)
    from_ms = min(observation.stamp.observed_at_ms for observation in observations)
    return len(observations), from_ms, scans, pack_group(observations)


def insert_group(db: sqlite3.Connection, number: int, row: tuple[int, int, int, bytes]) -> None:
    """Store one group; in the caller's transaction."""
    db.execute(
        "INSERT INTO open_group (id, count, from_ms, scans, observations) VALUES (?, ?, ?, ?, ?)", (number, *row)
    )


def last_number(db: sqlite3.Connection) -> int:
    """The number of the newest group that this file knows, open or sealed; 0 before the first. Raises CorruptFile."""
    (number,) = db.execute(
        "SELECT max((SELECT coalesce(max(id), 0) FROM open_group), (SELECT coalesce(max(last_group), 0) FROM stream))"
    ).fetchone()
    if number > NUMBER_MAX:
        raise CorruptFile(f"a group has the number {number}, which nobody can have reached")
    return int(number)


def last_stamp(db: sqlite3.Connection) -> Stamp | None:
    """The clocks of the newest open observation; None when there is none, or its group is damaged."""
    row = db.execute("SELECT observations FROM open_group ORDER BY id DESC LIMIT 1").fetchone()
    try:
        return None if row is None else unpack_group(row[0])[-1].stamp
    except ValueError:
        return None


def next_batch(db: sqlite3.Connection, stamp: Stamp, *, check: SealOptions | None = None) -> Batch:
    """The oldest groups and entries, as many as one transaction takes; empty when nothing is open.

    With `check`, groups that break the wire's limits count as damaged: an older program may have admitted them.
    Raises CorruptFile for an entry that no longer decodes.
    """
    batch = Batch([], [], [], [], [], [])
    rows = db.execute("SELECT id, observations FROM open_group ORDER BY id LIMIT ?", (GROUPS_PER_SEAL,))
    for id_, data in rows.fetchall():
        batch.groups.append(id_)
        try:
            observations = unpack_group(data)
            batch.observations.extend(observations if check is None else admit(observations, check))
        except (ValueError, ObservationRefused) as error:
            batch.damaged.append(id_)
            log.error("accepted group cannot be sealed, its bytes are kept aside: group=%d error=%s", id_, error)
    for id_, kind, data in db.execute("SELECT id, kind, body FROM entry ORDER BY id LIMIT ?", (ENTRIES_PER_SEAL,)):
        batch.entries.append(id_)
        if kind == "loss":
            batch.losses.append(_ended(_decode_entry(kind, data, Loss), stamp))
        else:
            batch.corrections.append(_decode_entry(kind, data, Correction))
    return batch


def waiting_losses(db: sqlite3.Connection) -> list[Loss]:
    """Losses that the next packs will declare. Raises CorruptFile."""
    return [_decode_entry("loss", data, Loss) for (data,) in db.execute("SELECT body FROM entry WHERE kind = 'loss'")]


def drop_batch(db: sqlite3.Connection, batch: Batch, stream_id: int) -> None:
    """Forget what was sealed into a stream, keep what was damaged; in the caller's transaction.

    Raises CorruptFile when something would stay: it would be sealed again, and again.
    """
    db.executemany(
        "INSERT INTO damaged_group (count, observations) SELECT count, observations FROM open_group WHERE id = ?",
        [(id_,) for id_ in batch.damaged],
    )
    for table, ids in (("open_group", batch.groups), ("entry", batch.entries)):
        found = db.executemany(f"DELETE FROM {table} WHERE id = ?", [(id_,) for id_ in ids])  # noqa: S608 - our names
        if ids and found.rowcount != len(ids):
            raise CorruptFile(f"{len(ids)} rows of {table} were read, {found.rowcount} of them can be deleted")
    if batch.groups:
        db.execute("UPDATE stream SET last_group = ? WHERE id = ?", (batch.groups[-1], stream_id))


def look_at_backlog(db: sqlite3.Connection) -> Backlog:
    """Count what is open."""
    row = db.execute(
        "SELECT coalesce(sum(count), 0), coalesce(sum(scans), 0), min(from_ms), "
        "(SELECT count(*) FROM entry), (SELECT coalesce(sum(count), 0) FROM damaged_group) FROM open_group"
    ).fetchone()
    return Backlog(*row)


def insert_entries_first(db: sqlite3.Connection, entries: Sequence[Loss | Correction]) -> None:
    """Keep these until the next pack carries them, before all that wait already; in the caller's transaction."""
    (first,) = db.execute("SELECT coalesce(min(id), 1) FROM entry").fetchone()
    for at, entry in enumerate(entries):
        insert_entry(db, entry, id_=first - len(entries) + at)


def insert_entry(db: sqlite3.Connection, entry: Loss | Correction, *, id_: int | None = None) -> None:
    """Keep an entry until the next pack carries it; in the caller's transaction. id_: its place in the queue."""
    kind = "loss" if isinstance(entry, Loss) else "correction"
    db.execute("INSERT INTO entry (id, kind, body) VALUES (?, ?, ?)", (id_, kind, msgspec.msgpack.encode(entry)))


def _decode_entry(kind: str, data: bytes, type_: type[E]) -> E:
    try:
        return msgspec.msgpack.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptFile(f"a {kind} to declare no longer decodes: {error}") from error


def _ended(loss: Loss, stamp: Stamp) -> Loss:
    """A loss gets its latest possible end when it is declared."""
    return loss if loss.to_ms is not None else msgspec.structs.replace(loss, to_ms=stamp.observed_at_ms)
