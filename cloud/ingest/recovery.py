"""After a restore: what gateways hold and this cloud no longer has is asked for again, with signed commands.

A gateway's status says which packs it has let go of, because a receipt said they were stored. What of them is not
stored here was lost with the database, and nobody will send it by himself: it is asked for. What the gateway has not
been receipted for comes by itself. The streams before the present one are known from signed packs: their heads stand
in the first pack of the stream that went on from them.

Of the present stream also those numbers are asked for that have been missing for long, when they are more than the
gateway says it still holds back: some of them it must take for stored, and would never send again by itself.

A status is unsigned. So whoever lies in one gets little: only gateways of the registry are asked, one command per
stream, with at most RANGES_MAX ranges, again only after AGAIN_MIN_MS, and ever more rarely up to AGAIN_MAX_MS; of at
most STREAMS_MAX streams in that longest time. At most ASKED_AT_ONCE gateways are asked in the shortest, so that a
province does not answer all at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, Engine, select

from cloud.clock import Now
from cloud.db.engine import reading, writing
from cloud.db.tables import gateway as gateway_table
from cloud.db.tables import gateway_state, pack, succession
from cloud.ingest import command, finding, settled
from cloud.ingest.command import Asked
from cloud.ingest.completeness import overdue_ranges
from cloud.ingest.finding import CLOUD_BEHIND, HEAD_DIFFERS, Finding
from cloud.ingest.gateway_state import Heard
from cloud.ingest.outbox import Outbox, Publish
from cloud.ingest.settled import Range
from cloud.keys import CloudKey
from cloud.ledger import log
from wire import status as wire_status
from wire.command import RANGES_MAX
from wire.status import Status

AGAIN_MIN_MS, AGAIN_MAX_MS = 60_000, 3_600_000
ASKED_AT_ONCE = 50
STREAMS_MAX = 16  # of one gateway: its present stream and the newest before it
UNANSWERED_MAX = 64  # enough to see how often a stream was asked for: the waits have long reached their longest
LOOK_S, LOOK_MISSING_S = 30.0, 5.0  # how often a gateway is looked at: in peace, and while something of it is missing
LOOKS_AT_ONCE = 100  # gateways in one read transaction

Lacking = list[tuple[bytes, list[Range]]]  # streams, and what of each is missing

_log = logging.getLogger(__name__)


class Need(msgspec.Struct, frozen=True):
    """What one look at a gateway found.

    due: what of the lacking may be asked for now; answered: commands that are done with; doubts: new findings.
    """

    gateway: str
    lacking: Lacking
    due: Lacking
    answered: list[Asked]
    doubts: list[Finding]


class Recovery:
    """Which gateways to look at, and when; `ask` does it. Times: monotonic seconds."""

    def __init__(self, engine: Engine, key: CloudKey, now: Now) -> None:
        self._engine = engine
        self._key = key
        self._now = now
        self._next_look_s: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._repeated: set[str] = set()
        self.outbox = Outbox(engine, now)

    def heard(self, heard: Iterable[Heard]) -> None:
        """Gateways said how they are: they are looked at, once in a while.

        What the broker repeats was said before, perhaps long ago: the first live word after it is looked at without
        a pause, and only that one.
        """
        for one in heard:
            name = one.topic.split("/")[-3]
            self._waiting.add(name)
            if one.retained:
                self._repeated.add(name)
            elif name in self._repeated:
                self._repeated.remove(name)
                self._next_look_s.pop(name, None)

    def ask(self, publish: Publish, now_s: float | None = None) -> int:
        """Look at whoever is due and ask for what is missing; how many commands went out.

        Raises DatabaseUnavailable: nothing is forgotten, the next call looks again.
        """
        now_s = time.monotonic() if now_s is None else now_s
        return self.outbox.give(publish) if self._look(now_s) else 0

    def _look(self, now_s: float) -> int:
        """Look at whoever is due; how many commands were issued."""
        due = sorted(name for name in self._waiting if self._next_look_s.get(name, now_s) <= now_s)[:LOOKS_AT_ONCE]
        if not due:
            return 0
        with reading(self._engine) as conn:
            statuses = _statuses(conn, due)
            needs = [look(conn, status, now_ms=self._now()) for status in statuses]
            asked = command.asked_since(conn, self._now() - AGAIN_MIN_MS) - sum(bool(one.answered) for one in needs)
        issued, missing = 0, set()
        for need in needs:
            if need.answered or need.doubts or (need.due and asked < ASKED_AT_ONCE):
                with writing(self._engine) as conn:
                    issued += act(conn, self._key, need, now_ms=self._now())
            if need.lacking:
                missing.add(need.gateway)
        for one in statuses:  # of the registry only: strangers' names must not pile up here
            self._next_look_s[one.gateway] = now_s + (LOOK_MISSING_S if one.gateway in missing else LOOK_S)
        self._waiting -= set(due) - missing
        self._repeated -= set(due) - {one.gateway for one in statuses}
        return issued


def look(conn: Connection, status: Status, *, now_ms: int) -> Need:
    """Hold what a gateway says against what is stored."""
    name = status.gateway
    let_go = _lacking(conn, status) if status.online else []
    lacking = _with_overdue(conn, status, let_go, now_ms) if status.online else []
    pending = command.unanswered(conn, name, UNANSWERED_MAX)
    done = [one for one in pending if _has_come(conn, one)]
    waiting = [one for one in pending if one not in done]
    due = [(stream, ranges) for stream, ranges in lacking if _may_ask(waiting, stream, now_ms)]
    doubts = _doubts(conn, status)
    if let_go:
        (stream, ranges), *_ = let_go
        detail = f"has let go of packs that are not stored here, from {ranges[0][0]} of stream {stream.hex()} on"
        doubts.append(Finding(CLOUD_BEHIND, name, b"", 0, detail))
    return Need(name, lacking, due, done, [one for one in doubts if not finding.is_known(conn, one)])


def act(conn: Connection, key: CloudKey, need: Need, *, now_ms: int) -> int:
    """Write down what a look found, in a write transaction; how many commands were issued.

    What was asked for a moment ago, perhaps by another worker, is not asked for again.
    """
    finding.keep(conn, need.doubts, now_ms)
    for one in need.answered:
        command.answer(conn, one, now_ms)
    if command.asked_since(conn, now_ms - AGAIN_MIN_MS) >= ASKED_AT_ONCE:
        return 0
    issued = 0
    for stream, ranges in need.due:
        if _may_ask(command.unanswered(conn, need.gateway, UNANSWERED_MAX), stream, now_ms):
            command.send_again(conn, key, need.gateway, stream, ranges, now_ms=now_ms)
            issued += 1
            _log.warning(
                "packs of %s are missing here and are asked for again: stream=%s first=%d ranges=%d",
                need.gateway, stream.hex(), ranges[0][0], len(ranges),
            )  # fmt: skip
    return issued


def _may_ask(pending: Sequence[Asked], stream: bytes, now_ms: int) -> bool:
    """Whether long enough ago for one more time; the wait doubles with each unanswered one."""
    before = [one for one in pending if one.stream == stream]
    if not before:
        return len({one.stream for one in pending if now_ms - one.issued_ms < AGAIN_MAX_MS}) < STREAMS_MAX
    wait_ms = min(AGAIN_MIN_MS << (len(before) - 1), AGAIN_MAX_MS)
    return not 0 <= now_ms - before[0].issued_ms < wait_ms  # a clock that was set back must not silence us


def _statuses(conn: Connection, names: Sequence[str]) -> list[Status]:
    """The last word of those of the named gateways that the registry knows."""
    query = (
        select(gateway_state.c.status)
        .join_from(gateway_state, gateway_table, gateway_table.c.name == gateway_state.c.gateway)
        .where(gateway_state.c.gateway.in_(names))
        .order_by(gateway_state.c.gateway)
    )
    return [wire_status.decode(text.encode()) for text in conn.scalars(query)]


def _lacking(conn: Connection, status: Status) -> Lacking:
    everything_sent = status.unsent_packs == 0
    bounds: dict[bytes, int] = {}
    if status.stream:
        through = status.head_seq if everything_sent else min(status.released_through, status.head_seq)
        bounds[bytes.fromhex(status.stream)] = through
    if everything_sent:  # else what is missing of older streams may still be on its way
        for stream, last_seq in _heads_before(conn, status.gateway):
            bounds.setdefault(stream, last_seq)
    found = [
        (stream, settled.missing(conn, status.gateway, stream, through, RANGES_MAX))
        for stream, through in list(bounds.items())[:STREAMS_MAX]
    ]
    return [(stream, ranges) for stream, ranges in found if ranges]


def _with_overdue(conn: Connection, status: Status, let_go: Lacking, now_ms: int) -> Lacking:
    """And what has long been missing of the present stream, when the gateway holds back less than that."""
    if not status.stream:
        return let_go
    stream = bytes.fromhex(status.stream)
    late = overdue_ranges(conn, status.gateway, stream, now_ms, RANGES_MAX)
    late = [one for one in late if not settled.is_settled(conn, status.gateway, stream, one)]
    if sum(last - first + 1 for first, last in late) <= status.unsent_packs:
        return let_go  # all of them may still be on their way
    known = [one for name, ranges in let_go if name == stream for one in ranges]
    both = settled.merge([*known, *late])[:RANGES_MAX]
    return [(stream, both), *((name, ranges) for name, ranges in let_go if name != stream)]


def _heads_before(conn: Connection, gateway: str) -> list[tuple[bytes, int]]:
    """The streams that later ones went on from, newest first, each with its last seq."""
    query = (
        select(succession.c.prior_stream, succession.c.last_seq)
        .where(succession.c.gateway == gateway)
        .order_by(succession.c.pack_id.desc())
        .limit(STREAMS_MAX)
    )
    return [(row.prior_stream, row.last_seq) for row in conn.execute(query)]


def _has_come(conn: Connection, asked: Asked) -> bool:
    """Whether nothing of it is missing. What lies between the ranges was there when they were asked for."""
    return settled.is_settled(conn, asked.gateway, asked.stream, (asked.ranges[0][0], asked.ranges[-1][1]))


def _doubts(conn: Connection, status: Status) -> list[Finding]:
    found = []
    if status.stream and status.head_hash:
        here = (pack.c.gateway == status.gateway, pack.c.stream == bytes.fromhex(status.stream))
        stored = conn.scalar(select(pack.c.hash).where(*here, pack.c.seq == status.head_seq))
        if stored is not None and stored.hex() != status.head_hash:
            detail = f"says that pack {status.head_seq} of stream {status.stream} is {status.head_hash[:16]}, "
            detail += f"the record has {stored.hex()[:16]}"
            found.append(Finding(HEAD_DIFFERS, status.gateway, b"", 0, detail))
    head = log.head(conn)
    shown, root = status.checkpoint_size, status.checkpoint_root
    if shown > head.size or (shown == head.size and shown > 0 and root and root != head.root.hex()):
        detail = f"was shown a log of {shown} leaves, and there are {head.size} here"
        found.append(Finding(CLOUD_BEHIND, status.gateway, b"", 0, detail))
    return found
