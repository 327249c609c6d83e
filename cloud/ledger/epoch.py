"""Epochs: the origins a log has had. After a restore from a backup the log goes on under a new one.

What the lost database had signed beyond the backup can never be continued: the same sizes would get other roots. So the
tree, its leaves and their numbers go on, but the name that checkpoints are signed under changes from ORIGIN to
ORIGIN/2-xxxxxxxx, ORIGIN/3-xxxxxxxx …, drawn by lot: one backup may be restored several times, and what one restore
signed another one doesn't know. The leaf that opens an epoch says what was restored and the largest checkpoints anybody
is known to have seen. Everything signed before stays valid and, up to the restored size, provably continued (ADR 0020).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from cloud.db.tables import checkpoint as checkpoint_table
from cloud.db.tables import ledger_epoch
from cloud.errors import Fatal
from cloud.ledger import log

SHOWN_MAX = 1_000  # of a leaf's bytes: about 100 KiB
_LOT_BYTES = 4  # of a new name


class OriginFixed(Fatal):
    """The configuration names another origin than the log has."""


class Epoch(msgspec.Struct, frozen=True):
    """A name of the log. base_size: how many leaves there were when it was opened; body: the bytes of its leaf."""

    number: int
    origin: str
    base_size: int
    opened_ms: int
    body: str = ""
    leaf_index: int | None = None

    @property
    def pending(self) -> bool:
        """Whether the leaf that opens it is still missing; the first epoch has none."""
        return self.number > 1 and self.leaf_index is None


class Shown(msgspec.Struct, frozen=True):
    """A checkpoint somebody has seen. by: `gateway NAME` or `witness NAME`; root: in hex, empty if it was not told."""

    by: str
    size: int
    root: str


def epochs(conn: Connection) -> list[Epoch]:
    """Every epoch, the first one first; none before the log was first signed."""
    rows = conn.execute(select(ledger_epoch).order_by(ledger_epoch.c.number))
    return [Epoch(**row._asdict()) for row in rows]


def current(conn: Connection) -> Epoch | None:
    """The epoch checkpoints are signed in, None before the first."""
    row = conn.execute(select(ledger_epoch).order_by(ledger_epoch.c.number.desc()).limit(1)).one_or_none()
    return None if row is None else Epoch(**row._asdict())


def current_or_first(conn: Connection, origin: str, now_ms: int) -> Epoch:
    """The current epoch; a log without one is given its first under this origin, in the caller's write transaction."""
    known = current(conn)
    if known is not None:
        return known
    first = Epoch(1, origin, 0, now_ms)
    conn.execute(insert(ledger_epoch).values(msgspec.structs.asdict(first)))
    return first


def require_origin(conn: Connection, configured: str | None) -> None:
    """Raise OriginFixed when the configuration names an origin that is not the log's."""
    if configured is None:
        return
    first = conn.scalar(select(ledger_epoch.c.origin).where(ledger_epoch.c.number == 1))
    if first is not None and first != configured:
        raise OriginFixed(
            f"[ledger] origin {configured!r}: this log was first signed as {first!r}, which cannot change; "
            "write that, or remove the line"
        )


def open_epoch(conn: Connection, *, now_ms: int) -> Epoch:
    """Go on under a new origin, in the caller's write transaction: what a restore from a backup ends with.

    Nothing more is signed until `complete` has put the leaf that opens it, which is soon after the cloud's start: then
    gateways have said which checkpoints they know. A log that was never signed in the backup gets a name of its own,
    since nobody knows what it was signed as later. An epoch that the backup was to open is renamed: it may have been
    opened and signed after the backup was made.
    """
    before = current(conn)
    if before is not None and before.pending:
        conn.execute(delete(ledger_epoch).where(ledger_epoch.c.number == before.number))
        before = current(conn)
    size = log.head(conn).size
    if before is None:
        before = Epoch(1, f"restored.invalid/ledger-{now_ms}", 0, now_ms)
        conn.execute(insert(ledger_epoch).values(msgspec.structs.asdict(before)))
    number = before.number + 1
    name = f"{_first_origin(conn)}/{number}-{secrets.token_hex(_LOT_BYTES)}"
    opened = Epoch(number, name, size, now_ms)
    conn.execute(insert(ledger_epoch).values(msgspec.structs.asdict(opened)))
    return opened


def complete(conn: Connection, *, now_ms: int, shown: Sequence[Shown]) -> Epoch:
    """Put the leaf that opens the current epoch, if it is missing, in the caller's write transaction.

    shown: the largest checkpoints that gateways and witnesses are known to have seen.
    """
    every = epochs(conn)
    opened = every[-1]
    if not opened.pending:
        return opened
    last = conn.execute(
        select(checkpoint_table.c.size, checkpoint_table.c.root).order_by(checkpoint_table.c.size.desc()).limit(1)
    ).one_or_none()
    body = msgspec.json.encode(
        {
            "origin": opened.origin,
            "before": every[-2].origin,
            "restored_ms": opened.opened_ms,
            "restored_size": opened.base_size,
            "opened_ms": now_ms,
            "checkpoint": None if last is None else {"size": last.size, "root": last.root.hex()},
            "shown": [msgspec.structs.asdict(one) for one in largest(shown)],
        }
    )
    leaf_index = log.append(conn, "epoch", payload=body, ref=f"epoch {opened.number}")
    row = {"body": body.decode(), "leaf_index": leaf_index}
    conn.execute(update(ledger_epoch).where(ledger_epoch.c.number == opened.number).values(row))
    return msgspec.structs.replace(opened, **row)


def largest(shown: Sequence[Shown]) -> list[Shown]:
    """The largest of what was shown, each once, at most SHOWN_MAX."""
    return sorted(set(shown), key=lambda one: (-one.size, one.by, one.root))[:SHOWN_MAX]


def _first_origin(conn: Connection) -> str:
    return str(conn.execute(select(ledger_epoch.c.origin).where(ledger_epoch.c.number == 1)).scalar_one())
