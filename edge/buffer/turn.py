"""Turning to a new stream: whether one must begin, and beginning it, with the losses its first pack declares.

Keeps "a seq is signed once" together with edge/buffer/handout.py: a new stream begins whenever going on in the old one
could sign a seq twice, or would change the key under the chain. From there on nothing is signed in the old one.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3

import msgspec

from edge.buffer.books import Books
from edge.buffer.declaration import enter_loss, save_loss, unreceipted
from edge.buffer.file import transaction
from edge.buffer.groups import insert_entry
from edge.buffer.head import Head
from edge.buffer.meta import LOST_PACKS, add_to_tally
from edge.buffer.stream import Stream
from wire.pack import STREAM_BYTES, Loss, StreamHead

log = logging.getLogger(__name__)


class Turn(msgspec.Struct, frozen=True):
    """The decision to begin a new stream: after whom, declaring what, and why."""

    predecessor: StreamHead | None
    losses: tuple[Loss, ...]
    why: str


def must_turn(streams: list[Stream], head: Head | None, kid: bytes, *, log_damaged: bool = False) -> Turn | None:
    """Whether a new stream has to begin, given the file's streams (oldest first) and the head beside the file.

    log_damaged: commits are missing that were on the disk, see edge/buffer/wal.py and `missing_groups`.
    """
    if not streams:
        return Turn(None, (), "first start") if head is None else _after_lost_file(head)
    current = streams[-1]
    if head is not None:
        chain = head.chain
        known = {stream.name for stream in streams} | {s.predecessor.stream for s in streams if s.predecessor}
        if chain.stream not in known:
            return _after_lost_file(head)
        if chain.stream == current.name and chain.last_seq > current.last_seq:
            known_loss = _lost(chain, current.last_seq + 1, "buffer file was older than its head")
            return Turn(
                chain, (known_loss, _rest(chain, known_loss.reason)), "the file is older than the head beside it"
            )
        if chain.stream == current.name and chain.last_seq == current.last_seq and chain.hash != current.last_hash:
            return Turn(chain, (), "the head beside the file names another pack at the same seq")
    if log_damaged:
        reason = "write-ahead log was damaged on the gateway's disk, with readings not yet sealed"
        loss = Loss(current.name, current.last_seq + 1, None, None, "lost", reason)
        return Turn(current.head, (loss,), "the write-ahead log beside the file is damaged")
    if current.kid != kid:
        return Turn(current.head, (), "the signing key is another one")
    return None


def missing_groups(streams: list[Stream], head: Head, last_group: int) -> bool:
    """Whether observations are missing that were in this file when its head was written: its log was cut off."""
    return head.last_group > last_group and any(stream.name == head.chain.stream for stream in streams)


def take_turn(books: Books, turn: Turn) -> None:
    """Begin the stream that was decided on."""
    with transaction(books.db):
        stream = save_turn(books, turn)
    enter_turn(books, stream, turn)


def save_turn(books: Books, turn: Turn) -> Stream:
    """Write the new stream and its losses; in the caller's transaction, and `enter_turn` follows its commit."""
    lost = sum(unreceipted(books, loss) for loss in turn.losses)
    stream = begin_stream(books.db, turn, books.keys.beginner(books.streams).kid)
    for loss in turn.losses:
        save_loss(books, loss)
    add_to_tally(books.db, LOST_PACKS, lost)
    return stream


def enter_turn(books: Books, stream: Stream, turn: Turn) -> None:
    """Go on in the stream that `save_turn` wrote."""
    for loss in turn.losses:
        enter_loss(books, loss)
    follow(books, stream, turn)


def follow(books: Books, stream: Stream, turn: Turn) -> None:
    """Go on in a stream that the file has just been given."""
    books.streams.append(stream)
    books.identity = books.keys.signer(stream.kid)
    level = logging.INFO if turn.predecessor is None and not turn.losses else logging.ERROR
    log.log(level, "buffer begins a new stream: file=%s stream=%s why=%s", books.path, stream.name.hex(), turn.why)


def leave_if_change(books: Books, stream: Stream, seq: int) -> None:
    """If the pack that will not arrive is the change of key, the next stream begins with it again."""
    changes = books.keys.changes
    if stream is books.current and (stream.name, seq) in changes and not books.keys.arrived(books.streams):
        take_turn(books, Turn(stream.head, (), "the change of key will not arrive"))


def begin_stream(connection: sqlite3.Connection, turn: Turn, kid: bytes) -> Stream:
    """Write a new stream, and the losses its first pack will declare; in the caller's transaction."""
    name = secrets.token_bytes(STREAM_BYTES)
    before = None if turn.predecessor is None else msgspec.msgpack.encode(turn.predecessor)
    id_ = connection.execute(
        "INSERT INTO stream (name, kid, predecessor) VALUES (?, ?, ?)", (name, kid, before)
    ).lastrowid
    assert id_ is not None
    for loss in turn.losses:
        insert_entry(connection, loss)
    return Stream(id_, name, kid, predecessor=turn.predecessor)


def _after_lost_file(head: Head) -> Turn:
    """Lost is what was sealed and not released, and an unknown rest: what was open, or not yet handed out."""
    chain = head.chain
    reason = "buffer file was lost or set aside"
    why = "the file that wrote the head is gone"
    earlier = [
        _lost(each.chain, each.released_through + 1, reason)
        for each in head.earlier
        if each.released_through < each.last_seq
    ]
    rest = _rest(chain, reason)
    if head.released_through >= chain.last_seq:
        return Turn(chain, (rest, *earlier), why)
    return Turn(chain, (_lost(chain, head.released_through + 1, reason), rest, *earlier), why)


def _lost(head: StreamHead, first: int, reason: str) -> Loss:
    return Loss(head.stream, first, head.last_seq, head.hash, "lost", reason)


def _rest(head: StreamHead, reason: str) -> Loss:
    """What nobody can count: packs that the head does not name yet, for they had not left, and open readings."""
    return Loss(head.stream, head.last_seq + 1, None, None, "lost", f"{reason}, with readings not yet sealed")
