"""The buffer contract: what every store of accepted observations promises to the gateway.

Invariants (each has a test of its name in tests/edge/buffer/):

1.  accepted_survives_kill          An observation is accepted when `append` returns: its group is committed with
                                    fsync. Accepted ones survive kill -9 and power cut; at risk is one commit window.
2.  scan_commits_at_once            A group that holds a scan does not wait for the window.
3.  sealed_exactly_once             Every accepted observation is in exactly one sealed pack, whatever was killed when.
4.  sealed_packs_never_change       The bytes handed out for (stream, seq) are the same for ever.
5.  seqs_are_contiguous_and_chained seq runs 1, 2, 3 … per stream; `prev` is the hash of the envelope before.
6.  a_seq_is_signed_once            No two envelopes of one (stream, seq) ever leave: the head is on disk beside the
                                    file before a pack is handed out, and a file older than that head (restored,
                                    cloned, torn) goes on in a new stream.
7.  a_pack_leaves_only_on_a_receipt …or by a declared, signed loss. Receipts are united, in any order, and settle what
                                    was handed out in this run. One that speaks of what never left, or refuses ours for
                                    another pack, tells of a copy: a new stream begins, and what is not certainly
                                    accepted is carried over.
8.  corrupt_file_is_set_aside       Renamed, named loudly, never deleted; recording goes on in a new stream whose
                                    first pack names the old head and declares the loss.
9.  newer_schema_refuses_to_start   A program never touches a file it does not understand.
10. the_byte_bound_holds            …and the minimum free disk. Released packs are an archive that shrinks, oldest
                                    first. When unsent data alone reach a bound, they give way; only when nothing is
                                    left that may, new observations are refused loudly.
11. nothing_gives_way_in_silence    The oldest unsent readings are thinned: every extreme of an hour, every excursion by
                                    the limits in force, both sides of each gap stay. When all are thinned, the oldest
                                    are declared lost. Scans never give way. Every seq is delivered or declared, what
                                    is kept and what is counted as left out add up, the chain verifies across a loss.
                                    What was damaged before it had a seq is declared lost, too, and a new stream begins.
12. never_both_never_neither        The pack that declares a loss, and carries what was kept, is durable in the very
                                    transaction that deletes the originals. What moved says where it was before, so
                                    that it counts once should an original have arrived after all.

Errors, named for the reaction of the caller:

    BufferFailure
    ├── BufferFull           retry later: nothing can be accepted until packs are released or disk is freed
    ├── ObservationRefused   reject: this observation could never be sealed; count it, show it, go on
    ├── DeclarationRefused   reject: this loss or correction breaks the wire format
    ├── StreamUnknown        reject: the letter speaks of a stream this buffer never had
    ├── ReceiptBeyondHead    reject: the cloud has packs of the stream that we never gave, so there is a copy of us
    └── BufferUnusable       fatal: newer schema, another gateway's file, in use, disk failure; exit with the hint
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from edge.keys import Identity
from wire.observation import Observation, Stamp
from wire.pack import OBSERVATIONS_MAX, Correction, Loss, StreamHead
from wire.receipt import Receipt

MIN_MAX_BYTES = 8 * 1024 * 1024  # the reserve for sealing and one write-ahead log must fit in several times
PACK_MIN_BYTES, PACK_MAX_BYTES = 8 * 1024, 192 * 1024  # one scan fits; the envelope limit is never in sight

AFTER_MAX_S = 3600

PackName = tuple[bytes, int]  # (stream, seq)


class BufferFailure(Exception):
    """What a buffer may raise; `str()` says what, where, why and what to do."""


class BufferFull(BufferFailure):
    """The byte bound or the minimum free disk is reached by data that nobody has acknowledged yet."""


class ObservationRefused(BufferFailure):
    """An observation breaks a limit of the wire format and was not accepted; nothing of its call was."""


class DeclarationRefused(BufferFailure):
    """A loss or a correction breaks a rule of the wire format; it was not kept."""


class StreamUnknown(BufferFailure):
    """A receipt or request names a stream that this buffer never had."""


class ReceiptBeyondHead(BufferFailure):
    """A verified receipt settles seqs that never left here: it settles nothing, and a new stream was begun."""


class BufferUnusable(BufferFailure):
    """The buffer cannot work at all; waiting will not help."""


class BufferOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is kept, and how long an observation may wait for its fsync.

    commit_window_ms: from the first waiting observation to its commit. max_bytes: of the file, archive included.
    min_free_bytes: what must stay free on the file system.
    """

    commit_window_ms: int = 250
    max_bytes: int = 1_000_000_000
    min_free_bytes: int = 100_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.commit_window_ms <= 60_000:
            raise ValueError(f"commit_window_ms = {self.commit_window_ms}: allowed are 1 to 60000")
        if self.max_bytes < MIN_MAX_BYTES:
            raise ValueError(f"max_bytes = {self.max_bytes}: at least {MIN_MAX_BYTES} are needed")
        if self.min_free_bytes < 0:
            raise ValueError(f"min_free_bytes = {self.min_free_bytes}: must not be negative")


class SealOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When open observations become a pack: at an age in real seconds, a count, or a size before compression.

    after_s holds while the uplink is connected, offline_after_s while it is not: overhead decides how long history
    lasts in a given space, and nobody waits for a pack that cannot leave.
    """

    after_s: float = 5.0
    max_readings: int = 500
    max_bytes: int = 64 * 1024
    offline_after_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("after_s", "offline_after_s"):
            if not 0 < getattr(self, name) <= AFTER_MAX_S:
                raise ValueError(f"{name} = {getattr(self, name)}: allowed are more than 0 to {AFTER_MAX_S}")
        if not 1 <= self.max_readings <= OBSERVATIONS_MAX:
            raise ValueError(f"max_readings = {self.max_readings}: allowed are 1 to {OBSERVATIONS_MAX}")
        if not PACK_MIN_BYTES <= self.max_bytes <= PACK_MAX_BYTES:
            raise ValueError(f"max_bytes = {self.max_bytes}: allowed are {PACK_MIN_BYTES} to {PACK_MAX_BYTES}")


class SealedPack(msgspec.Struct, frozen=True):
    """One sealed pack as it goes out: `envelope` is exactly what was signed, `hash` its SHA-256."""

    stream: bytes
    seq: int
    envelope: bytes
    hash: bytes
    count: int

    @property
    def name(self) -> PackName:
        """(stream, seq)."""
        return self.stream, self.seq


class BufferState(msgspec.Struct, frozen=True):
    """The buffer at one moment.

    stream, head_*: of the stream being written; head_hash is None before its first pack.
    released_through: highest seq of that stream below which everything is settled.
    open_observations: accepted, not yet sealed. unsent_*: sealed, not yet settled, over all streams.
    oldest_unsent_ms: wall time of the oldest observation that is open or unsent. bytes: file and write-ahead log.
    set_aside: names of corrupt files that lie beside the buffer. damaged_observations: accepted, and then damaged on
    the disk before they were sealed; their bytes are kept in the file.
    unsent_bytes, archive_*: envelopes that wait, and settled ones that are still held. max_bytes: the bound.
    thinned_readings: left out for good under disk pressure. lost_packs: declared lost. Both since the file was born.
    pending_declarations: losses and corrections that the next pack will carry. disputed_streams: written by a copy of
    this buffer, too. pending_carriage: packs of these that are still to be carried over.
    """

    stream: bytes
    head_seq: int
    head_hash: bytes | None
    released_through: int
    open_observations: int
    unsent_packs: int
    unsent_observations: int
    refused_packs: int
    oldest_unsent_ms: int | None
    bytes: int
    full: bool
    set_aside: tuple[str, ...] = ()
    damaged_observations: int = 0
    unsent_bytes: int = 0
    archive_packs: int = 0
    archive_bytes: int = 0
    max_bytes: int = 0
    thinned_readings: int = 0
    lost_packs: int = 0
    pending_declarations: int = 0
    disputed_streams: int = 0
    pending_carriage: int = 0


class Buffer(Protocol):
    """What the gateway needs of a buffer. Safe to call from any task of one event loop.

    Whatever writes raises BufferFull when the disk takes nothing more: nothing of that call was kept, what was
    there before is whole. Reading packs may write, too: the head file, or the loss of a damaged pack.
    """

    async def append(self, observations: Sequence[Observation]) -> None:
        """Return when all of them are accepted. Raises BufferFull, ObservationRefused, BufferUnusable."""

    async def ripe(self) -> None:
        """Return when something ought to be sealed: old enough, many enough, a scan, or something to declare."""

    def set_pace(self, after_s: float) -> None:
        """From now on observations are old enough after this many real seconds."""

    async def seal(self, stamp: Stamp) -> list[StreamHead]:
        """Seal everything open; the heads of the new packs, oldest first. Raises BufferFull, BufferUnusable."""

    async def declare(self, entry: Loss | Correction) -> None:
        """Return when the entry is on the disk; the next pack carries it. Raises DeclarationRefused."""

    @property
    def kid(self) -> bytes:
        """Key id of whoever signs now."""

    async def change_key(self, successor: Identity, stamp: Stamp) -> list[StreamHead]:
        """Let `successor` sign from here on; the heads of the packs this sealed, oldest first.

        Seals everything open; then a pack without observations, the last one signed by the old key, names the new
        one. The stream and its chain go on. Nothing happens when the successor signs already. A stream that begins
        before the cloud is known to have the change begins with it again, signed by the old key.
        """

    async def change_arrived(self) -> bool:
        """Whether the cloud surely knows the key that is to follow: it settled the change, or what that key signed."""

    async def finish_change(self) -> None:
        """The successor is the only key from now on: call it when the old one is no longer kept."""

    async def unsent(self, *, newest_first: bool, limit: int, exclude: Collection[PackName] = ()) -> list[SealedPack]:
        """Up to `limit` packs that are sealed, not settled and not in `exclude`."""

    async def fetch(self, names: Sequence[PackName]) -> list[SealedPack]:
        """Those of the named packs that are still here, settled or not."""

    async def held(self, stream: bytes, ranges: Sequence[tuple[int, int]], *, limit: int) -> list[PackName]:
        """Names of up to `limit` packs of these ranges that are still here. Raises StreamUnknown."""

    async def head_of(self, stream: bytes) -> StreamHead | None:
        """The last pack of this stream that was surely sealed, None before the first. Raises StreamUnknown."""

    async def settle(self, receipt: Receipt) -> int:
        """Take a verified receipt in; how many packs it released that were not before.

        Raises StreamUnknown, ReceiptBeyondHead.
        """

    async def use_command(self, counter: int) -> bool:
        """Whether a command counter is new; it is used up for good when this returns."""

    def state(self) -> BufferState:
        """The buffer as of the last finished operation."""
