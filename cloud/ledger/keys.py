"""The keys that sign checkpoints: their own, apart from the key of receipts, in files of the data folder (0600).

The first is made with the first checkpoint. A change of keys is a leaf (kind `signer`) over a text that names both;
from then on both sign, until the old one ends, so that whoever knows the old one only can follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Connection, insert, select, update

from cloud import keys as key_files
from cloud.db.tables import ledger_key
from cloud.errors import Rejected
from cloud.keys import KeyFileError
from cloud.ledger import epoch, log
from standards.tlog.key import LogSigner, VerifierKey

OVERLAP_DAYS = 90
_DAY_MS = 86_400_000


class RotationRefused(Rejected):
    """The signing key cannot be changed like this; nothing was changed."""


class LedgerKey(msgspec.Struct, frozen=True):
    """A public key of the log. first_size: the size its checkpoints begin at; ends_ms: when it stops signing."""

    number: int
    public_key: bytes
    first_size: int
    added_ms: int
    ends_ms: int | None = None
    body: str = ""
    leaf_index: int | None = None

    def vkey(self, origin: str) -> VerifierKey:
        """As verifiers write it: the key's name is the log's origin."""
        return VerifierKey(origin, self.public_key)

    def signs(self, now_ms: int) -> bool:
        """Whether checkpoints are signed with it at that instant."""
        return self.ends_ms is None or now_ms < self.ends_ms


def key_file(data_dir: Path, number: int) -> Path:
    """Where the private key with this number is."""
    return data_dir / ("ledger-key.pem" if number == 1 else f"ledger-key-{number}.pem")


def known(conn: Connection) -> list[LedgerKey]:
    """Every key the log has had, the first one first."""
    rows = conn.execute(select(ledger_key).order_by(ledger_key.c.number))
    return [LedgerKey(**row._asdict()) for row in rows]


def verifiers(conn: Connection) -> list[VerifierKey]:
    """Every key under every origin of the log: what its own checkpoints are checked with."""
    every = known(conn)
    return [key.vkey(one.origin) for one in epoch.epochs(conn) for key in every]


def signers(conn: Connection, data_dir: Path, origin: str, now_ms: int) -> list[LogSigner]:
    """Who signs now, the newest key first, in the caller's write transaction; the first key is made here.

    Raises KeyFileError when a key is gone: it is not made again, for verifiers have the old one.
    """
    every = known(conn)
    if not every:
        private = key_files.load_or_create_private(key_file(data_dir, 1))
        every = [LedgerKey(1, private.public_key().public_bytes_raw(), 0, now_ms)]
        conn.execute(insert(ledger_key).values(msgspec.structs.asdict(every[0])))
    return [_signer(data_dir, key, origin) for key in reversed(every) if key.signs(now_ms)]


def rotate(conn: Connection, data_dir: Path, *, now_ms: int, overlap_days: int = OVERLAP_DAYS) -> LedgerKey:
    """Bring in a new key, in the caller's write transaction; the old one signs along for `overlap_days`.

    0 days: the old key was stolen or is lost, and signs no more. Raises RotationRefused, KeyFileError.
    """
    every, at = known(conn), epoch.current(conn)
    if not every or at is None:
        raise RotationRefused("the ledger has signed nothing yet: there is no key to change")
    if at.pending:
        raise RotationRefused("the ledger was restored and has not gone on yet: start the cloud first")
    old = every[-1]
    number = old.number + 1
    if overlap_days:
        _signer(data_dir, old, at.origin)
    private = key_files.load_or_create_private(key_file(data_dir, number))
    ends_ms = now_ms + overlap_days * _DAY_MS
    made = LedgerKey(number, private.public_key().public_bytes_raw(), log.head(conn).size + 1, now_ms)
    if any(one.public_key == made.public_key for one in every):
        raise RotationRefused(f"{key_file(data_dir, number)}: is a key the log had before; move the file away")
    told = {"origin": at.origin, "old": str(old.vkey(at.origin)), "new": str(made.vkey(at.origin))}
    body = msgspec.json.encode(told | {"first_size": made.first_size, "changed_ms": now_ms, "old_ends_ms": ends_ms})
    leaf_index = log.append(conn, "signer", payload=body, ref=f"key {number}")
    made = msgspec.structs.replace(made, body=body.decode(), leaf_index=leaf_index)
    _end(conn, [one for one in every if one.signs(now_ms)], ends_ms)
    conn.execute(insert(ledger_key).values(msgspec.structs.asdict(made)))
    return made


def _end(conn: Connection, keys: Sequence[LedgerKey], ends_ms: int) -> None:
    for key in keys:
        ends = ends_ms if key.ends_ms is None else min(ends_ms, key.ends_ms)
        conn.execute(update(ledger_key).where(ledger_key.c.number == key.number).values(ends_ms=ends))


def _signer(data_dir: Path, key: LedgerKey, origin: str) -> LogSigner:
    path = key_file(data_dir, key.number)
    private = key_files.load_private(path)
    if private.public_key().public_bytes_raw() != key.public_key:
        raise KeyFileError(f"{path}: is not key {key.number} of this ledger; restore it from the backup")
    return LogSigner(origin, private)
