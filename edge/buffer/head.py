"""The side file `head.json`: the last pack that may have left, known even when the buffer file is gone.

It is written after a pack is committed and before the pack is handed out, so that no seq is ever signed twice.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edge.durable import replace_file
from wire.pack import STREAM_BYTES, StreamHead

HEAD_MAX_BYTES = 4096  # it has about 250

log = logging.getLogger(__name__)


class Head(msgspec.Struct, frozen=True):
    """stream and hash in lower-case hex; released_through as it was when the head was written."""

    stream: str
    last_seq: int
    hash: str
    released_through: int
    sealed_ms: int

    @property
    def chain(self) -> StreamHead:
        """The head as packs name it."""
        return StreamHead(bytes.fromhex(self.stream), self.last_seq, bytes.fromhex(self.hash))


def read_head(path: Path) -> Head | None:
    """The head as last written; None when there is none or it is unreadable (which is logged)."""
    try:
        with path.open("rb") as file:
            head = msgspec.json.decode(file.read(HEAD_MAX_BYTES), type=Head)
        chain = head.chain
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        log.error("buffer head file is unreadable, going on without it: file=%s error=%s", path, error)
        return None
    if len(chain.stream) != STREAM_BYTES or len(chain.hash) != 32 or head.last_seq < 1:
        log.error("buffer head file makes no sense, going on without it: file=%s", path)
        return None
    return head


def write_head(path: Path, head: Head) -> None:
    """Replace the head durably. Raises OSError."""
    replace_file(path, msgspec.json.encode(head) + b"\n", mode=0o644)
