"""Checkpoints: the log's root, signed, in order and for good.

Invariants: for one size at most one root is ever signed, and never for a size smaller than one before; nothing is
signed that does not continue what was signed last; what is shown was committed first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine, Select, insert, select

from cloud.clock import Now
from cloud.config import LedgerConfig
from cloud.db.engine import reading, writing
from cloud.db.tables import checkpoint as checkpoint_table
from cloud.db.tables import cosignature
from cloud.errors import Retryable
from cloud.ledger import epoch, keys, log, proof
from standards.tlog import note
from standards.tlog.checkpoint import Checkpoint

EPOCH_WAIT_S = (
    30  # after a restore: retained statuses come with the broker's first second, gateways come back by themselves
)


class Contradicted(Retryable):
    """The tree does not continue what was signed: nothing more is signed until somebody has put it right."""


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint on record. note: with the log's own signatures; `signed_note` adds those of witnesses."""

    size: int
    root: bytes
    epoch: int
    note: str
    signed_ms: int


def latest(conn: Connection) -> Signed | None:
    """The newest checkpoint, None when nothing was signed yet."""
    return _one(conn, select(checkpoint_table).order_by(checkpoint_table.c.size.desc()).limit(1))


def at_size(conn: Connection, size: int) -> Signed | None:
    """The checkpoint of exactly this size, None when none was signed."""
    return _one(conn, select(checkpoint_table).where(checkpoint_table.c.size == size))


def covering(conn: Connection, size: int) -> Signed | None:
    """The smallest checkpoint of at least this size, None when there is none yet."""
    table = checkpoint_table
    return _one(conn, select(table).where(table.c.size >= size).order_by(table.c.size).limit(1))


def signed_note(conn: Connection, one: Signed) -> str:
    """The note with the signatures of all witnesses that have cosigned it."""
    lines = conn.scalars(select(cosignature.c.line).where(cosignature.c.size == one.size).order_by(cosignature.c.vkey))
    return one.note + "".join(lines)


def sign(conn: Connection, data_dir: Path, *, origin: str, now_ms: int) -> Signed | None:
    """Sign the log as it is in the caller's write transaction; None for an empty one.

    origin: for a log that was never signed. When it has not grown since, or an epoch is not open yet, the last
    checkpoint is returned. Raises Contradicted, KeyFileError.
    """
    head, last = log.head(conn), latest(conn)
    if last is not None:
        _require_continued(conn, last, head)
        if last.size == head.size:
            return last
    if head.size == 0:
        return None
    at = epoch.current_or_first(conn, origin, now_ms)
    if at.pending:
        return last
    text = Checkpoint(at.origin, head.size, head.root).text()
    signed = note.sign(text, keys.signers(conn, data_dir, at.origin, now_ms))
    made = Signed(head.size, head.root, at.number, str(signed), now_ms)
    conn.execute(insert(checkpoint_table).values(msgspec.structs.asdict(made)))
    return made


class Checkpointer:
    """Signs by cadence: when leaves are new, and so much time went by or so many came. A chore's step.

    After a restore it opens the new epoch, EPOCH_WAIT_S after the start. shown: which checkpoints gateways know;
    witnessed: which ones witnesses do, asked then; elapsed_s: a clock that never goes back.
    """

    def __init__(
        self,
        engine: Engine,
        data_dir: Path,
        *,
        origin: str,
        now: Now,
        config: LedgerConfig,
        shown: Callable[[Connection], Sequence[epoch.Shown]] = lambda _: (),
        witnessed: Callable[[], Sequence[epoch.Shown]] = tuple,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._data_dir, self._origin, self._now = engine, data_dir, origin, now
        self._config, self._elapsed_s = config, elapsed_s
        self._shown, self._witnessed = shown, witnessed
        self._start_s = elapsed_s()
        self._signed_s = -float(config.checkpoint_every_s)  # what was left unsigned before is due at the start

    def step(self, _stop: threading.Event | None = None) -> int:
        """Sign if it is due; returns how many checkpoints. Raises Contradicted, DatabaseUnavailable."""
        with reading(self._engine) as conn:
            at = epoch.current(conn)
            due = self._due(conn, at)
        if not due:
            return 0
        opens = at is not None and at.pending
        witnessed = self._witnessed() if opens else ()  # over the network: never inside a transaction
        with writing(self._engine) as conn:
            if opens:
                epoch.complete(conn, now_ms=self._now(), shown=[*self._shown(conn), *witnessed])
            sign(conn, self._data_dir, origin=self._origin, now_ms=self._now())
        self._signed_s = self._elapsed_s()
        return 1

    def _due(self, conn: Connection, at: epoch.Epoch | None) -> bool:
        if at is not None and at.pending:
            return self._elapsed_s() - self._start_s >= EPOCH_WAIT_S
        head, last = log.head(conn), latest(conn)
        if last is None:
            return head.size > 0
        if head.size == last.size:
            return head.root != last.root
        return (
            head.size < last.size
            or head.size - last.size >= self._config.checkpoint_every_leaves
            or self._elapsed_s() - self._signed_s >= self._config.checkpoint_every_s
            or (at is not None and at.number != last.epoch)
        )


def _require_continued(conn: Connection, last: Signed, head: log.Head) -> None:
    if head.size < last.size:
        raise Contradicted(
            f"ledger: {head.size} leaves, but a checkpoint of {last.size} was signed; leaves were removed: "
            "run `coldproof cloud fsck`, then restore a backup"
        )
    found = head.root if head.size == last.size else proof.root_at(conn, last.size)
    if found != last.root:
        raise Contradicted(
            f"ledger: the first {last.size} leaves have the root {found.hex()}, but {last.root.hex()} was signed for "
            "them; leaves were changed: run `coldproof cloud fsck`, then restore a backup"
        )


def _one(conn: Connection, query: Select[tuple[int]]) -> Signed | None:
    row = conn.execute(query).one_or_none()
    return None if row is None else Signed(row.size, row.root, row.epoch, row.note, row.signed_ms)
