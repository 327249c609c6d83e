"""The pack: a signed, numbered, chained and columnar group of observations. See docs/wire.md.

An observation's identity is (gateway, stream, seq, ordinal). Ordinals start at 0 and run through the blocks
in order, each from first to last row, and then through the scans. Structs travel as MessagePack arrays:
fields are only ever appended within a version, and unknown trailing fields are ignored.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire.envelope import ENVELOPE_MAX_BYTES, HASH_BYTES, WireError, decode, inflate, open_envelope
from wire.observation import (
    BOOT_ID_BYTES,
    CODE_MAX_BYTES,
    INT64_MAX,
    MAX_EXPONENT,
    MAX_TIME_MS,
    MIN_EXPONENT,
    ClockState,
    Observation,
    Quality,
    Reading,
    Scan,
    Stamp,
    is_channel,
)
from wire.topics import is_gateway_name

CONTENT_TYPE = "application/vnd.coldproof.pack.v1+zlib"
STREAM_BYTES = 16
OBSERVATIONS_MAX = 10_000  # bounds what one pack may cost a decoder
SERIES_MAX = 1_000
ENTRIES_MAX = 1_000  # losses, corrections and carried ranges, each
TEXT_MAX = 200  # characters of a reason or source

Run = tuple[int, int]  # (how many rows, code): run-length coding of a column that rarely changes


class Block(msgspec.Struct, frozen=True, array_like=True):
    """The readings of one channel and unit within one boot, in monotonic order, as columns of n rows.

    base_*: the clocks at row 0. dt_ms[i]: monotonic time from row i-1 to row i (dt_ms[0] is 0).
    values[i]: the number × 10^-exponent, None where there was none.
    wall_dt_ms: like dt_ms for the wall clock, empty when it advanced exactly as the monotonic one.
    quality, clock: runs over the rows; empty means all OK and all SYNCED.
    """

    channel: str
    unit: str
    exponent: int
    boot_id: bytes
    base_monotonic_ms: int
    base_wall_ms: int
    dt_ms: list[int]
    values: list[int | None]
    wall_dt_ms: list[int] = []
    quality: list[Run] = []
    clock: list[Run] = []
    thinned: bool = False


class Loss(msgspec.Struct, frozen=True, array_like=True):
    """Seqs of a stream that will never be delivered as they were sealed: signed by the gateway."""

    stream: bytes
    first_seq: int
    last_seq: int | None  # None: unknown, the buffer that knew is gone
    last_hash: bytes | None  # of the envelope at last_seq: the chain verifies across the loss
    kind: str  # "thinned" or "lost"
    reason: str
    counts: list[tuple[str, int]] = []  # (channel, readings left out)
    from_ms: int | None = None
    to_ms: int | None = None


class Correction(msgspec.Struct, frozen=True, array_like=True):
    """What to add to the believed wall time of a boot's rows in [from_monotonic_ms, to_monotonic_ms]."""

    boot_id: bytes
    from_monotonic_ms: int
    to_monotonic_ms: int
    offset_ms: int
    uncertainty_ms: int
    source: str  # "ntp", "gps", "operator"


class KeyChange(msgspec.Struct, frozen=True, array_like=True):
    """The key that signs from `first_seq` on; this letter is still signed by the old one."""

    public_key: bytes  # 32 bytes, RFC 8032
    first_seq: int


class CarriedFrom(msgspec.Struct, frozen=True, array_like=True):
    """Ordinals [first_ordinal, first_ordinal + count) of this pack were sealed before, in a refused pack."""

    stream: bytes
    seq: int
    hash: bytes
    first_ordinal: int
    count: int


class StreamHead(msgspec.Struct, frozen=True, array_like=True):
    """The last pack known of a stream."""

    stream: bytes
    last_seq: int
    hash: bytes


class Pack(msgspec.Struct, frozen=True, array_like=True):
    """The content of one pack. `prev` is the SHA-256 of the envelope before, None for seq 1."""

    gateway: str
    stream: bytes
    seq: int
    prev: bytes | None
    sealed: Stamp
    simulated: bool
    blocks: list[Block] = []
    scans: list[Scan] = []
    losses: list[Loss] = []
    corrections: list[Correction] = []
    key_change: KeyChange | None = None
    carried_from: list[CarriedFrom] = []
    predecessor: StreamHead | None = None  # the stream this one goes on from, in its first pack

    @property
    def count(self) -> int:
        """How many observations the pack carries."""
        return sum(len(block.values) for block in self.blocks) + len(self.scans)


def build_blocks(readings: Iterable[Reading]) -> list[Block]:
    """Group readings into blocks, one per (channel, unit, exponent, boot), rows in monotonic order.

    The sort is stable: readings of one channel with equal monotonic time keep their order of acceptance.
    """
    groups: dict[tuple[str, str, int, bytes], list[Reading]] = {}
    for reading in readings:
        key = (reading.channel, reading.unit, reading.exponent, reading.stamp.boot_id)
        groups.setdefault(key, []).append(reading)
    return [_block(rows) for rows in groups.values()]


def expand(block: Block) -> Iterator[Reading]:
    """The readings of a block, in row order."""
    qualities, clocks = _unrun(block.quality), _unrun(block.clock)
    monotonic, wall = block.base_monotonic_ms, block.base_wall_ms
    wall_steps = block.wall_dt_ms or block.dt_ms
    for step, wall_step, mantissa in zip(block.dt_ms, wall_steps, block.values, strict=True):
        monotonic += step
        wall += wall_step
        stamp = Stamp(wall, monotonic, block.boot_id, ClockState(next(clocks, 0)))
        quality = Quality(next(qualities, 0))
        yield Reading(block.channel, block.unit, mantissa, block.exponent, stamp, quality)


def observations(pack: Pack) -> Iterator[tuple[int, Observation]]:
    """Every (ordinal, observation) of a pack, in order."""
    ordinal = 0
    for block in pack.blocks:
        for reading in expand(block):
            yield ordinal, reading
            ordinal += 1
    for scan in pack.scans:
        yield ordinal, scan
        ordinal += 1


def seal(pack: Pack, *, key: Ed25519PrivateKey, kid: bytes) -> bytes:
    """Encode, compress and sign. Raises WireError `too_large` or `invalid` when a limit is broken."""
    check(pack)
    payload = zlib.compress(msgspec.msgpack.encode(pack), 6)
    envelope = cose.sign1(payload, content_type=CONTENT_TYPE, key=key, kid=kid)
    if len(envelope) > ENVELOPE_MAX_BYTES:
        raise WireError("too_large", f"envelope of {len(envelope)} bytes, the limit is {ENVELOPE_MAX_BYTES}")
    return envelope


def unseal(envelope: bytes) -> tuple[cose.Sign1, Pack]:
    """Open an envelope whose signature the caller has checked or will check. Raises WireError."""
    message = open_envelope(envelope)
    return message, read_payload(message)


def read_payload(message: cose.Sign1) -> Pack:
    """Decode and check the pack inside a parsed envelope. Raises WireError."""
    if message.content_type != CONTENT_TYPE:
        raise WireError("unknown_type", f"content type {message.content_type!r}, expected {CONTENT_TYPE!r}")
    pack = decode(inflate(message.payload), Pack, "pack")
    check(pack)
    return pack


def check(pack: Pack) -> None:
    """Hold a pack against every rule of docs/wire.md §3 that one pack alone can break. Raises WireError."""
    _require(is_gateway_name(pack.gateway), "gateway", "not a gateway name")
    _require(len(pack.stream) == STREAM_BYTES, "stream", f"must have {STREAM_BYTES} bytes")
    _require(1 <= pack.seq <= INT64_MAX, "seq", "starts at 1")
    if pack.seq == 1:
        _require(pack.prev is None, "prev", "the first pack of a stream has none")
    else:
        _require(pack.prev is not None and len(pack.prev) == HASH_BYTES, "prev", "must be a SHA-256")
    _check_stamp(pack.sealed, "sealed")
    _require(len(pack.blocks) <= SERIES_MAX, "blocks", f"{len(pack.blocks)} series, the limit is {SERIES_MAX}")
    _require(pack.count <= OBSERVATIONS_MAX, "blocks", f"{pack.count} observations, the limit is {OBSERVATIONS_MAX}")
    for at, block in enumerate(pack.blocks):
        _check_block(block, f"blocks[{at}]")
    for at, scan in enumerate(pack.scans):
        _check_scan(scan, f"scans[{at}]")
    _check_entries(pack)


def _block(rows: list[Reading]) -> Block:
    rows = sorted(rows, key=lambda reading: reading.stamp.monotonic_ms)
    first = rows[0]
    monotonic = [row.stamp.monotonic_ms for row in rows]
    wall = [row.stamp.observed_at_ms for row in rows]
    dt, wall_dt = _deltas(monotonic), _deltas(wall)
    return Block(
        channel=first.channel,
        unit=first.unit,
        exponent=first.exponent,
        boot_id=first.stamp.boot_id,
        base_monotonic_ms=monotonic[0],
        base_wall_ms=wall[0],
        dt_ms=dt,
        values=[row.mantissa for row in rows],
        wall_dt_ms=[] if wall_dt == dt else wall_dt,
        quality=_run([row.quality for row in rows]),
        clock=_run([row.stamp.clock for row in rows]),
    )


def _deltas(times: list[int]) -> list[int]:
    return [0, *(later - earlier for earlier, later in pairwise(times))]


def _run(codes: list[Quality] | list[ClockState]) -> list[Run]:
    if not any(codes):
        return []
    runs: list[Run] = []
    for code in codes:
        if runs and runs[-1][1] == code:
            runs[-1] = (runs[-1][0] + 1, int(code))
        else:
            runs.append((1, int(code)))
    return runs


def _unrun(runs: list[Run]) -> Iterator[int]:
    for length, code in runs:
        for _ in range(length):
            yield code


def _require(claim: bool, where: str, why: str) -> None:
    if not claim:
        raise WireError("invalid", f"pack: {where}: {why}")


def _check_stamp(stamp: Stamp, where: str) -> None:
    _require(len(stamp.boot_id) == BOOT_ID_BYTES, where, f"boot id must have {BOOT_ID_BYTES} bytes")
    _require(0 <= stamp.observed_at_ms <= MAX_TIME_MS, where, "wall time out of range")
    _require(0 <= stamp.monotonic_ms <= MAX_TIME_MS, where, "monotonic time out of range")


def _check_block(block: Block, where: str) -> None:
    rows = len(block.values)
    _require(rows > 0, where, "has no rows")
    _require(is_channel(block.channel), where, f"{block.channel[:80]!r} is not a channel (device/point)")
    _require(0 < len(block.unit) <= 3 and block.unit.isalnum(), where, "unit is not a Rec 20 code")
    _require(MIN_EXPONENT <= block.exponent <= MAX_EXPONENT, where, "exponent out of range")
    _require(len(block.dt_ms) == rows, where, f"{len(block.dt_ms)} times for {rows} values")
    _require(block.dt_ms[0] == 0 and min(block.dt_ms) >= 0, where, "monotonic time runs backwards")
    _require(len(block.wall_dt_ms) in {0, rows}, where, f"{len(block.wall_dt_ms)} wall times for {rows} values")
    _require(not block.wall_dt_ms or block.wall_dt_ms[0] == 0, where, "wall_dt_ms[0] is not 0")
    base = Stamp(block.base_wall_ms, block.base_monotonic_ms, block.boot_id, ClockState.SYNCED)
    _check_stamp(base, where)
    _require(block.base_monotonic_ms + sum(block.dt_ms) <= MAX_TIME_MS, where, "monotonic time out of range")
    wall = block.base_wall_ms
    for step in block.wall_dt_ms or block.dt_ms:
        wall += step
        _require(0 <= wall <= MAX_TIME_MS, where, "wall time out of range")
    numbers = [value for value in block.values if value is not None]
    if numbers:
        _require(min(numbers) >= -INT64_MAX and max(numbers) <= INT64_MAX, where, "value beyond 64 bits")
    _check_runs(block.quality, rows, max(Quality), f"{where}.quality")
    _check_runs(block.clock, rows, max(ClockState), f"{where}.clock")


def _check_runs(runs: list[Run], rows: int, highest: int, where: str) -> None:
    if not runs:
        return
    _require(len(runs) <= rows, where, "more runs than rows")
    _require(all(length > 0 for length, _ in runs), where, "empty run")
    _require(sum(length for length, _ in runs) == rows, where, f"runs do not cover {rows} rows")
    _require(all(0 <= code <= highest for _, code in runs), where, "unknown code")


def _check_scan(scan: Scan, where: str) -> None:
    _require(is_channel(scan.channel), where, f"{scan.channel[:80]!r} is not a channel (device/point)")
    _require(len(scan.code.encode()) <= CODE_MAX_BYTES, where, f"code longer than {CODE_MAX_BYTES} bytes")
    _require(len(scan.symbology) <= 8, where, "symbology longer than 8 characters")
    _require(1 <= scan.count <= INT64_MAX, where, "count starts at 1")
    _check_stamp(scan.stamp, where)
    for seen in (scan.first_seen_ms, scan.last_seen_ms):
        _require(seen is None or 0 <= seen <= MAX_TIME_MS, where, "seen time out of range")


def _check_entries(pack: Pack) -> None:
    for name in ("losses", "corrections", "carried_from"):
        _require(len(getattr(pack, name)) <= ENTRIES_MAX, name, f"more than {ENTRIES_MAX} entries")
    for at, loss in enumerate(pack.losses):
        where = f"losses[{at}]"
        _require(len(loss.stream) == STREAM_BYTES, where, "stream id must have 16 bytes")
        _require(1 <= loss.first_seq <= (loss.last_seq or loss.first_seq), where, "seqs out of order")
        _require(loss.kind in {"thinned", "lost"}, where, f"kind {loss.kind[:20]!r}, allowed: thinned, lost")
        _require(len(loss.reason) <= TEXT_MAX, where, "reason too long")
        _require(len(loss.counts) <= SERIES_MAX, where, "too many counts")
        _require(loss.last_hash is None or len(loss.last_hash) == HASH_BYTES, where, "hash is not a SHA-256")
    for at, correction in enumerate(pack.corrections):
        where = f"corrections[{at}]"
        _require(len(correction.boot_id) == BOOT_ID_BYTES, where, "boot id must have 16 bytes")
        _require(0 <= correction.from_monotonic_ms <= correction.to_monotonic_ms, where, "range out of order")
        _require(abs(correction.offset_ms) <= MAX_TIME_MS, where, "offset out of range")
        _require(correction.uncertainty_ms >= 0 and len(correction.source) <= TEXT_MAX, where, "bad source")
    if pack.key_change is not None:
        _require(len(pack.key_change.public_key) == 32, "key_change", "an Ed25519 key has 32 bytes")
        _require(pack.key_change.first_seq > pack.seq, "key_change", "names a seq that is already signed")
    for at, carried in enumerate(pack.carried_from):
        where = f"carried_from[{at}]"
        _require(len(carried.stream) == STREAM_BYTES and len(carried.hash) == HASH_BYTES, where, "bad name")
        _require(carried.seq >= 1 and carried.first_ordinal >= 0 and carried.count >= 1, where, "bad range")
        _require(carried.first_ordinal + carried.count <= pack.count, where, "beyond the observations")
    head = pack.predecessor
    if head is not None:
        _require(pack.seq == 1, "predecessor", "belongs into the first pack of a stream")
        _require(len(head.stream) == STREAM_BYTES and len(head.hash) == HASH_BYTES, "predecessor", "bad name")
        _require(head.last_seq >= 1, "predecessor", "seq starts at 1")
