"""Time stamps of checkpoints by an authority (RFC 3161): at most one for each, as often as configured. A chore's step.

What is stamped are the bytes of the note with the log's own signatures. The answer is verified before it is kept, as it
came; the extra `timestamp` does the reading.
"""

from __future__ import annotations

import threading
from pathlib import Path

from cryptography import x509
from sqlalchemy import Connection, Engine, func, insert, select

from cloud.clock import Now
from cloud.config import TimestampConfig
from cloud.db.engine import reading, writing
from cloud.db.tables import time_stamp
from cloud.errors import Fatal, Retryable
from cloud.instant import to_ms
from cloud.ledger import checkpoint
from cloud.ledger.checkpoint import Signed
from cloud.ledger.post import post
from standards.tlog import timestamp

QUERY_TYPE, REPLY_TYPE = "application/timestamp-query", "application/timestamp-reply"  # RFC 3161 §3.4
BACK_OFF_MS = 60_000


class StampingImpossible(Fatal):
    """The certificates of the configuration, or the library, are not there."""


class Unstamped(Retryable):
    """The authority gave no time stamp that holds; `str()` says why."""


def response_of(conn: Connection, size: int) -> bytes | None:
    """The answer that stamps the checkpoint of this size, None when it was not stamped."""
    return conn.scalar(select(time_stamp.c.response).where(time_stamp.c.size == size))


class Stamping:
    """Has the newest checkpoint stamped when the last stamp is old enough.

    Raises StampingImpossible at once when it could never work.
    """

    def __init__(self, engine: Engine, config: TimestampConfig, now: Now) -> None:
        self._engine, self._config, self._now = engine, config, now
        self._authority, *self._between = _certificates(config.certificate)
        self._roots = _certificates(config.roots)
        try:
            import rfc3161_client  # noqa: F401 - whether it is there
        except ModuleNotFoundError as error:
            raise StampingImpossible("[ledger.timestamp]: pip install 'coldproof[timestamp]'") from error
        self._failed: Retryable | None = None
        self._again_ms = 0

    def step(self, _stop: threading.Event | None = None) -> int:
        """Stamp if it is due; how many. Raises Retryable, and asks no more than once a minute then."""
        if self._failed is not None and self._now() < self._again_ms:
            raise self._failed
        try:
            done = self._step()
        except Retryable as error:
            self._failed, self._again_ms = error, self._now() + BACK_OFF_MS
            raise
        self._failed = None
        return done

    def _step(self) -> int:
        with reading(self._engine) as conn:
            signed = self._due(conn)
        if signed is None:
            return 0
        response, stamped_ms = self._ask(signed)
        row = {"size": signed.size, "authority": self._config.url, "response": response, "stamped_ms": stamped_ms}
        with writing(self._engine) as conn:
            if conn.scalar(select(time_stamp.c.size).where(time_stamp.c.size == signed.size)) is None:
                conn.execute(insert(time_stamp).values(row))
        return 1

    def _due(self, conn: Connection) -> Signed | None:
        newest = checkpoint.latest(conn)
        last_size = conn.scalar(select(func.max(time_stamp.c.size)))
        if newest is None or newest.size == last_size:
            return None
        last = None if last_size is None else checkpoint.at_size(conn, last_size)
        due = last is None or newest.signed_ms - last.signed_ms >= self._config.every_s * 1000
        return newest if due else None

    def _ask(self, signed: Signed) -> tuple[bytes, int]:
        message = signed.note.encode("utf-8")
        query, nonce = timestamp.request(message)
        reply = post(self._config.url, query, media_type=QUERY_TYPE, limit=timestamp.RESPONSE_MAX_BYTES)
        if reply.status != 200:
            raise Unstamped(f"time stamp by {self._config.url}: HTTP {reply.status}; check the address")
        try:
            at = timestamp.verify(
                reply.body,
                message,
                authority=self._authority,
                intermediates=self._between,
                roots=self._roots,
                nonce=nonce,
            )
        except timestamp.TimestampError as error:
            raise Unstamped(
                f"{error} (by {self._config.url}); check [ledger.timestamp] certificate and roots"
            ) from error
        return reply.body, to_ms(at)


def _certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, one at least. Raises StampingImpossible."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise StampingImpossible(f"[ledger.timestamp] {path}: {error.strerror}; check name and rights") from error
    except ValueError as error:
        raise StampingImpossible(f"[ledger.timestamp] {path}: no certificate in PEM ({error})") from error
