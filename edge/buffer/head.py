"""The side file `head.json`: the last pack that may have left, known even when the buffer file is gone.

It is written after a pack is committed and before the pack is handed out, so that no seq is ever signed twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.buffer.base import BufferFull
from edge.durable import replace_file
from wire.envelope import HASH_BYTES
from wire.observation import INT64_MAX
from wire.pack import STREAM_BYTES, StreamHead

HEAD_MAX_BYTES = 4096  # it has about 250, and 200 more for each earlier stream
EARLIER_MAX = 16  # a new stream begins after a misfortune; nobody has so many while the cloud is away

log = logging.getLogger(__name__)


class Earlier(msgspec.Struct, frozen=True):
    """A stream's head, stream and hash in lower-case hex; released_through as it was when the file was written."""

    stream: str
    last_seq: int
    hash: str
    released_through: int

    @property
    def chain(self) -> StreamHead:
        """The head as packs name it."""
        return StreamHead(bytes.fromhex(self.stream), self.last_seq, bytes.fromhex(self.hash))

    @property
    def makes_sense(self) -> bool:
        """Whether a pack could name this."""
        in_range = 1 <= self.last_seq <= INT64_MAX and 0 <= self.released_through <= self.last_seq
        return len(self.chain.stream) == STREAM_BYTES and len(self.chain.hash) == HASH_BYTES and in_range


class Head(Earlier, frozen=True):
    """The stream being written. earlier: those before it with packs that still wait; lost with the file, too.

    may_have_left: the highest seq that was handed out; None, of an older program, means all to last_seq.
    last_group: the number of the newest group of observations that was accepted; 0 from an older program.
    """

    earlier: list[Earlier] = []
    may_have_left: int | None = None
    last_group: int = 0

    @property
    def offered(self) -> int:
        """The highest seq that may have left."""
        return self.last_seq if self.may_have_left is None else self.may_have_left


class HeadFile:
    """The side file of one buffer, and what it says now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._recorded: StreamHead | None = None
        self._offered = 0

    def read(self) -> Head | None:
        """The head as last written; None when there is none or it is unreadable (which is logged)."""
        try:
            with self._path.open("rb") as file:
                head = msgspec.json.decode(file.read(HEAD_MAX_BYTES), type=Head)
            sensible = all(each.makes_sense for each in (head, *head.earlier)) and 0 <= head.offered <= head.last_seq
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.error("buffer head file is unreadable, going on without it: file=%s error=%s", self._path, error)
            return None
        if not sensible:
            log.error("buffer head file makes no sense, going on without it: file=%s", self._path)
            return None
        self._recorded, self._offered = head.chain, head.offered
        return head

    def lags(self, head: StreamHead) -> bool:
        """Whether the file names an earlier head of this stream."""
        named = self._recorded
        return named is not None and named.stream == head.stream and named.last_seq < head.last_seq

    def covers(self, head: StreamHead, offered: int) -> bool:
        """Whether the file says exactly this head, and that packs up to `offered` may have left."""
        return self._recorded == head and offered <= self._offered

    def write(
        self,
        head: StreamHead,
        released_through: int,
        offered: int,
        earlier: Sequence[tuple[StreamHead, int]] = (),
        *,
        last_group: int = 0,
    ) -> None:
        """Replace the head durably; what may have left of a stream only ever grows. Raises BufferFull.

        earlier: (head, released_through) of other streams.
        """
        if self._recorded is not None and self._recorded.stream == head.stream:
            offered = max(offered, self._offered)
        others = [_text(*each) for each in earlier[-EARLIER_MAX:]]
        text = Head(head.stream.hex(), head.last_seq, head.hash.hex(), released_through, others, offered, last_group)
        try:
            replace_file(self._path, msgspec.json.encode(text) + b"\n", mode=0o644)
        except OSError as error:
            raise BufferFull(f"{self._path}: cannot be written ({error}); packs wait until it can") from error
        self._recorded, self._offered = head, offered


def _text(head: StreamHead, released_through: int) -> Earlier:
    return Earlier(head.stream.hex(), head.last_seq, head.hash.hex(), released_through)
