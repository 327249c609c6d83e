"""Asking a witness to cosign the newest checkpoint (c2sp.org/tlog-witness): a chore each, which nothing waits for.

What it answers is verified with the key of the configuration, and kept beside the checkpoint. A witness that knows
more of this log than we do, or another tree of the same size, is the state of the chore: somebody has to look.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select

from cloud.config import WitnessConfig
from cloud.db.engine import reading, writing
from cloud.db.tables import checkpoint as checkpoint_table
from cloud.db.tables import cosignature
from cloud.errors import Fatal, Retryable
from cloud.ledger import checkpoint, proof
from cloud.ledger.checkpoint import Signed
from cloud.ledger.epoch import Shown
from cloud.ledger.post import Reply, Unanswered, post
from standards.tlog import note
from standards.tlog.checkpoint import CheckpointError, read_count
from standards.tlog.key import COSIGNATURE_V1, KeyTextError, VerifierKey, cosigned_at_s, parse_vkey
from standards.tlog.witness import AddCheckpoint

PATH = "/add-checkpoint"
ANSWER_MAX_BYTES = 16 * 1024
BACK_OFF_S, BACK_OFF_MAX_S = 5.0, 300.0


class WitnessKeyWrong(Fatal):
    """The configuration's key of a witness is none."""


class Uncosigned(Retryable):
    """The witness did not cosign; `str()` says what it answered and what to do."""


class _Asked(msgspec.Struct, frozen=True):
    """What is asked for: a checkpoint, grown out of a size the witness is thought to know."""

    signed: Signed
    old_size: int
    body: bytes


class WitnessClient:
    """Keeps one witness up with the newest checkpoint. A chore's step.

    elapsed_s: a clock that never goes back.
    """

    def __init__(
        self,
        engine: Engine,
        config: WitnessConfig,
        *,
        elapsed_s: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._engine, self._elapsed_s, self._rng = engine, elapsed_s, rng or random.SystemRandom()
        self._url = config.url.rstrip("/") + PATH
        self._key = _key(config.vkey)
        self._told: dict[int, int] = {}  # by epoch: the size the witness said it knows
        self._failed: Retryable | None = None
        self._again_s = self._wait_s = 0.0

    @property
    def name(self) -> str:
        """The name in its signatures."""
        return self._key.name

    def step(self, _stop: threading.Event | None = None) -> int:
        """Have the newest checkpoint cosigned; 0 when it is. Raises Retryable, with back-off between tries."""
        if self._failed is not None and self._elapsed_s() < self._again_s:
            raise self._failed
        try:
            done = self._step()
        except Retryable as error:
            self._wait_s = min(BACK_OFF_MAX_S, self._wait_s * 2 or BACK_OFF_S)
            self._again_s = self._elapsed_s() + self._wait_s * self._rng.uniform(0.5, 1.0)
            self._failed = error
            raise
        self._failed, self._wait_s = None, 0.0
        return done

    def knows(self) -> list[Shown]:
        """The largest tree of this log that the witness has cosigned, as far as it says so; nothing when it doesn't.

        It is asked to cosign the newest checkpoint once more: if it has seen more, it refuses with that size.
        """
        with reading(self._engine) as conn:
            newest = checkpoint.latest(conn)
        if newest is None:
            return []
        try:
            reply = self._ask(_Asked(newest, newest.size, AddCheckpoint(newest.size, (), newest.note).to_bytes()))
            size = read_count(reply.body.decode("ascii", "replace").removesuffix("\n"), "the size")
        except (Unanswered, CheckpointError):
            return []
        return [Shown(f"witness {self.name}", size, "")] if reply.status == 409 and size > newest.size else []

    def _step(self) -> int:
        with reading(self._engine) as conn:
            asked = self._next(conn)
        if asked is None:
            return 0
        reply = self._ask(asked)
        if reply.status == 409:
            self._told[asked.signed.epoch] = self._size_in(reply, asked)
            with reading(self._engine) as conn:
                asked = self._request(conn, asked.signed)
            reply = self._ask(asked)
        if reply.status != 200:
            raise Uncosigned(self._why(reply, asked))
        self._keep(asked.signed, reply)
        return 1

    def _next(self, conn: Connection) -> _Asked | None:
        newest = checkpoint.latest(conn)
        if newest is None or self._has(conn, newest.size):
            return None
        return self._request(conn, newest)

    def _has(self, conn: Connection, size: int) -> bool:
        mine = (cosignature.c.size == size, cosignature.c.vkey == str(self._key))
        return conn.scalar(select(cosignature.c.size).where(*mine)) is not None

    def _request(self, conn: Connection, signed: Signed) -> _Asked:
        """The request for a checkpoint, with the proof from the size the witness knows."""
        old = self._told.get(signed.epoch)
        if old is None:
            table = cosignature.join(checkpoint_table)
            mine = (cosignature.c.vkey == str(self._key), checkpoint_table.c.epoch == signed.epoch)
            old = conn.scalar(select(func.max(cosignature.c.size)).select_from(table).where(*mine)) or 0
        path = proof.consistency(conn, old, signed.size) if 0 < old < signed.size else []
        return _Asked(signed, old, AddCheckpoint(old, tuple(path), signed.note).to_bytes())

    def _ask(self, asked: _Asked) -> Reply:
        return post(self._url, asked.body, media_type="text/plain; charset=utf-8", limit=ANSWER_MAX_BYTES)

    def _size_in(self, reply: Reply, asked: _Asked) -> int:
        """The size the witness knows, which must be one to go on from."""
        text = reply.body.decode("ascii", "replace")
        try:
            size = read_count(text.removesuffix("\n"), "the size")
        except CheckpointError as error:
            raise Uncosigned(f"witness {self.name}: answers 409 without a size ({error}); check its address") from error
        if size > asked.signed.size:
            raise Uncosigned(
                f"witness {self.name}: has cosigned {size} leaves of this log, we have signed {asked.signed.size}; "
                "this database is older than what was shown: was a backup put in place without `restore`?"
            )
        if size == asked.old_size:
            raise Uncosigned(
                f"witness {self.name}: has cosigned another tree of {size} leaves of this log; "
                "somebody signed two histories: compare its checkpoint with ours, run `coldproof cloud fsck`"
            )
        return size

    def _why(self, reply: Reply, asked: _Asked) -> str:
        said = "".join(one for one in reply.body[:200].decode("utf-8", "replace") if one.isprintable())
        meant = {
            404: "it does not know this log: give its operator the origin and the key (`coldproof cloud ledger key`)",
            403: "it does not know our key: give its operator the new one (`coldproof cloud ledger key`)",
            422: f"what it has cosigned at {asked.old_size} leaves is not part of our tree: two histories were signed",
            409: f"what it has cosigned at {asked.old_size} leaves is another tree: two histories were signed",
        }.get(reply.status, "try again later, or ask its operator")
        return f"witness {self.name}: HTTP {reply.status} ({said}); {meant}"

    def _keep(self, signed: Signed, reply: Reply) -> None:
        """Verify the cosignature and put it on record. Raises Uncosigned."""
        try:
            answered = note.parse(signed.note.encode() + reply.body)
            if answered.text != note.parse(signed.note).text:  # an empty line in the answer would move the end of it
                raise note.NoteError("it holds more than signature lines")
            found = note.verify(answered, [self._key])[-1]
            line, at_s = found.line(), cosigned_at_s(found)
        except note.NoteError as error:
            raise Uncosigned(f"witness {self.name}: its answer is no cosignature of its key ({error})") from error
        row = {"size": signed.size, "vkey": str(self._key), "line": line, "cosigned_ms": at_s * 1000}
        with writing(self._engine) as conn:
            if not self._has(conn, signed.size):
                conn.execute(insert(cosignature).values(row))
        self._told[signed.epoch] = signed.size


def _key(text: str) -> VerifierKey:
    try:
        key = parse_vkey(text)
    except KeyTextError as error:
        raise WitnessKeyWrong(f"[[ledger.witness]] vkey: {error}") from error
    if key.kind != COSIGNATURE_V1:
        raise WitnessKeyWrong(f"[[ledger.witness]] vkey: the key of {key.name} is a log's, not a witness's (kind 0x04)")
    return key
