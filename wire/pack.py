"""The pack: a signed, numbered, chained and columnar group of observations. See docs/wire.md.

An observation's identity is (gateway, stream, seq, ordinal). Ordinals start at 0 and run through the blocks
in order, each from first to last row, and then through the scans. Structs travel as MessagePack arrays:
fields are only ever appended within a version, and unknown trailing fields are ignored.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire.columns import Block, Run, build_blocks, check_block, expand
from wire.envelope import (
    ENVELOPE_MAX_BYTES,
    HASH_BYTES,
    INFLATED_MAX_BYTES,
    WireError,
    decode,
    inflate,
    open_envelope,
    require_type,
)
from wire.observation import BOOT_ID_BYTES, CODE_MAX_BYTES, INT64_MAX, MAX_TIME_MS, Observation, Scan, Stamp, is_channel
from wire.rule import (
    STREAM_BYTES,
    TEXT_MAX,
    broken,
    require,
    require_seq,
    require_stamp,
    require_text,
    require_time,
    utf8_bytes,
)
from wire.topics import is_gateway_name

__all__ = [
    "CONTENT_TYPE",
    "ENTRIES_MAX",
    "OBSERVATIONS_MAX",
    "SERIES_MAX",
    "STREAM_BYTES",
    "TEXT_MAX",
    "Block",
    "CarriedFrom",
    "Correction",
    "KeyChange",
    "Loss",
    "Pack",
    "Run",
    "StreamHead",
    "build_blocks",
    "check",
    "expand",
    "observations",
    "read_payload",
    "seal",
    "unseal",
]

CONTENT_TYPE = "application/vnd.coldproof.pack.v1+zlib"
OBSERVATIONS_MAX = 10_000  # bounds what one pack may cost a decoder
SERIES_MAX = 1_000
ENTRIES_MAX = 1_000  # losses, corrections and carried ranges, each
SYMBOLOGY_MAX = 8  # an AIM identifier has 2 characters, "epc" 3
ANTENNA_MAX = 65_535  # LLRP numbers antennas in 16 bits
RSSI_MAX_DBM = 1_000  # beyond any radio, inside any integer column
KEY_BYTES = 32  # RFC 8032 §5.1.5
LOSS_KINDS = ("thinned", "lost")


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
        return sum([len(block.values) for block in self.blocks]) + len(self.scans)


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
    plain = msgspec.msgpack.encode(pack)
    if len(plain) > INFLATED_MAX_BYTES:  # nobody would open it again
        raise WireError("too_large", f"pack of {len(plain)} bytes, the limit is {INFLATED_MAX_BYTES}")
    payload = zlib.compress(plain, 6)
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
    require_type(message, CONTENT_TYPE)
    pack = decode(inflate(message.payload), Pack, "pack")
    check(pack)
    return pack


def check(pack: Pack) -> None:
    """Hold a pack against every rule of docs/wire.md §3 that one pack alone can break. Raises WireError."""
    require(is_gateway_name(pack.gateway), "pack.gateway", "not a gateway name")
    _require_stream(pack.stream, "pack.stream")
    require_seq(pack.seq, "pack.seq")
    if pack.seq == 1:
        require(pack.prev is None, "pack.prev", "the first pack of a stream has none")
    else:
        require(pack.prev is not None, "pack.prev", "only the first pack of a stream has none")
        _require_hash(pack.prev, "pack.prev")
    require_stamp(pack.sealed, "pack.sealed")
    require(len(pack.blocks) <= SERIES_MAX, "pack.blocks", f"{len(pack.blocks)} series, at most {SERIES_MAX}")
    count = pack.count
    require(count <= OBSERVATIONS_MAX, "pack", f"{count} observations, at most {OBSERVATIONS_MAX}")
    _check_blocks(pack.blocks)
    for at, scan in enumerate(pack.scans):
        _check_scan(scan, f"pack.scans[{at}]")
    for name in ("losses", "corrections", "carried_from"):
        entries = len(getattr(pack, name))
        if entries > ENTRIES_MAX:
            raise broken(f"pack.{name}", f"{entries} entries, at most {ENTRIES_MAX}")
    for at, loss in enumerate(pack.losses):
        _check_loss(loss, pack, f"pack.losses[{at}]")
    for at, correction in enumerate(pack.corrections):
        _check_correction(correction, f"pack.corrections[{at}]")
    for at, carried in enumerate(pack.carried_from):
        _check_carried(carried, pack, f"pack.carried_from[{at}]")
    if pack.key_change is not None:
        require(len(pack.key_change.public_key) == KEY_BYTES, "pack.key_change", f"a key has {KEY_BYTES} bytes")
        require_seq(pack.key_change.first_seq, "pack.key_change")
        require(pack.key_change.first_seq > pack.seq, "pack.key_change", "names a seq that is already signed")
    if pack.predecessor is not None:
        _check_predecessor(pack.predecessor, pack, "pack.predecessor")


def _check_blocks(blocks: list[Block]) -> None:
    """Where is written down only when it is asked for: a pack may have 1,000 series, and all of them mostly hold."""
    at = 0
    try:
        for at, block in enumerate(blocks):  # noqa: B007 - told when one fails
            check_block(block, "")
    except WireError as error:
        raise WireError(error.reason, f"pack.blocks[{at}]{error}") from error


def _check_scan(scan: Scan, where: str) -> None:
    require(is_channel(scan.channel), where, f"{scan.channel[:80]!r} is not a channel (device/point)")
    size = utf8_bytes(scan.code)
    require(size is not None, where, "code with a lone surrogate cannot be written as UTF-8")
    require(size is not None and size <= CODE_MAX_BYTES, where, f"code longer than {CODE_MAX_BYTES} bytes")
    require(len(scan.symbology) <= SYMBOLOGY_MAX, where, f"symbology longer than {SYMBOLOGY_MAX} characters")
    require(scan.symbology.isascii(), where, "symbology is not ASCII")
    require(1 <= scan.count <= INT64_MAX, where, "count starts at 1")
    require(scan.antenna is None or 0 <= scan.antenna <= ANTENNA_MAX, where, "antenna out of range")
    require(scan.rssi_dbm is None or abs(scan.rssi_dbm) <= RSSI_MAX_DBM, where, "rssi_dbm out of range")
    require_stamp(scan.stamp, where)
    for seen in (scan.first_seen_ms, scan.last_seen_ms):
        if seen is not None:
            require_time(seen, where)


def _check_loss(loss: Loss, pack: Pack, where: str) -> None:
    _require_stream(loss.stream, where)
    require_seq(loss.first_seq, where)
    if loss.last_seq is not None:
        require_seq(loss.last_seq, where)
        require(loss.first_seq <= loss.last_seq, where, "seqs out of order")
    if loss.stream == pack.stream:
        own = loss.last_seq is not None and loss.last_seq < pack.seq
        require(own, where, "declares seqs of its own stream lost that are not before it")
    require(loss.kind in LOSS_KINDS, where, f"kind {loss.kind[:20]!r}, allowed: {', '.join(LOSS_KINDS)}")
    require_text(loss.reason, where)
    require(len(loss.counts) <= SERIES_MAX, where, f"{len(loss.counts)} counts, at most {SERIES_MAX}")
    for channel, count in loss.counts:
        require(is_channel(channel), where, f"{channel[:80]!r} is not a channel (device/point)")
        require(0 <= count <= INT64_MAX, where, "count out of range")
    if loss.last_hash is not None:
        _require_hash(loss.last_hash, where)
    for time_ms in (loss.from_ms, loss.to_ms):
        if time_ms is not None:
            require_time(time_ms, where)


def _check_correction(correction: Correction, where: str) -> None:
    require(len(correction.boot_id) == BOOT_ID_BYTES, where, f"boot id must have {BOOT_ID_BYTES} bytes")
    require_time(correction.from_monotonic_ms, where)
    require_time(correction.to_monotonic_ms, where)
    require(correction.from_monotonic_ms <= correction.to_monotonic_ms, where, "range out of order")
    require(abs(correction.offset_ms) <= MAX_TIME_MS, where, "offset out of range")
    require(0 <= correction.uncertainty_ms <= MAX_TIME_MS, where, "uncertainty out of range")
    require_text(correction.source, where)


def _check_carried(carried: CarriedFrom, pack: Pack, where: str) -> None:
    _require_stream(carried.stream, where)
    require_seq(carried.seq, where)
    _require_hash(carried.hash, where)
    require(carried.first_ordinal >= 0 and carried.count >= 1, where, "bad range")
    require(carried.first_ordinal + carried.count <= pack.count, where, "beyond the observations")


def _check_predecessor(head: StreamHead, pack: Pack, where: str) -> None:
    require(pack.seq == 1, where, "belongs into the first pack of a stream")
    _require_stream(head.stream, where)
    require(head.stream != pack.stream, where, "a stream cannot go on from itself")
    require_seq(head.last_seq, where)
    _require_hash(head.hash, where)


def _require_stream(stream: bytes, where: str) -> None:
    require(len(stream) == STREAM_BYTES, where, f"a stream id has {STREAM_BYTES} bytes, not {len(stream)}")


def _require_hash(digest: bytes | None, where: str) -> None:
    require(digest is not None and len(digest) == HASH_BYTES, where, f"a SHA-256 has {HASH_BYTES} bytes")
