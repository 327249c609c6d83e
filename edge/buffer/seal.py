"""Sealing as pure functions: accepted observations in, signed envelopes out. No clock, no file, no loop."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from edge.buffer.base import ObservationRefused, SealOptions
from edge.keys import Identity
from wire.envelope import envelope_hash
from wire.observation import BOOT_ID_BYTES, ClockState, Observation, Reading, Scan, Stamp
from wire.pack import SERIES_MAX, STREAM_BYTES, Loss, Pack, StreamHead, build_blocks, check, seal

READING_BYTES = 96  # a reading's row in a group, before compression: names of 20 characters and an own time
SCAN_BYTES = 160  # a scan's, without its code

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Observation]).decode


class Chain(msgspec.Struct, frozen=True):
    """Where a stream stands: the next pack is `last_seq + 1` and names `last_hash`."""

    stream: bytes
    last_seq: int
    last_hash: bytes | None
    predecessor: StreamHead | None = None


class Sealed(msgspec.Struct, frozen=True):
    """One fresh pack with what the buffer indexes it by; from/to are None in a pack without observations."""

    seq: int
    envelope: bytes
    hash: bytes
    readings: int
    scans: int
    from_ms: int | None
    to_ms: int | None


def pack_group(observations: Sequence[Observation]) -> bytes:
    """The bytes of one committed group. zlib's checksum is what finds a flipped bit later."""
    return zlib.compress(_encode(observations), 1)


def unpack_group(data: bytes) -> list[Observation]:
    """The observations of a group, in order of acceptance. Raises ValueError when the bytes are damaged."""
    try:
        return _decode(zlib.decompress(data))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"damaged group: {error}") from error


def admit(observations: Sequence[Observation], options: SealOptions) -> list[Observation]:
    """The observations, typed and held against the wire's limits, so that nothing accepted blocks sealing.

    Raises ObservationRefused.
    """
    try:
        typed = _decode(_encode(observations))
        for chunk in split(typed, options):
            check(_pack(chunk, _TRIAL, _TRIAL_STAMP, gateway="trial", simulated=False, losses=[]))
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise ObservationRefused(f"observation refused, it could never be sealed: {error}") from error
    return typed


def seal_all(
    observations: Sequence[Observation],
    chain: Chain,
    stamp: Stamp,
    *,
    identity: Identity,
    options: SealOptions,
    losses: Sequence[Loss] = (),
) -> list[Sealed]:
    """Every observation in as few packs as the limits allow, chained; the losses ride in the first one."""
    sealed: list[Sealed] = []
    chunks = list(split(observations, options)) or ([[]] if losses else [])
    for chunk in chunks:
        pack = _pack(chunk, chain, stamp, gateway=identity.gateway, simulated=identity.simulated, losses=list(losses))
        envelope = seal(pack, key=identity.key, kid=identity.kid)
        digest = envelope_hash(envelope)
        times = [observation.stamp.observed_at_ms for observation in chunk]
        sealed.append(
            Sealed(
                seq=pack.seq,
                envelope=envelope,
                hash=digest,
                readings=len(chunk) - len(pack.scans),
                scans=len(pack.scans),
                from_ms=min(times, default=None),
                to_ms=max(times, default=None),
            )
        )
        chain, losses = Chain(chain.stream, pack.seq, digest), ()
    return sealed


def split(observations: Iterable[Observation], options: SealOptions) -> Iterator[list[Observation]]:
    """Cut the observations, in order, where a pack would break a limit: count, bytes before compression, series."""
    chunk: list[Observation] = []
    series: set[tuple[str, str, int, bytes]] = set()
    size = 0
    for observation in observations:
        if isinstance(observation, Scan):
            cost, key = SCAN_BYTES + len(observation.code.encode()), None
        else:
            cost, key = READING_BYTES, _series(observation)
        too_many = len(chunk) >= options.max_readings or size + cost > options.max_bytes
        if chunk and (too_many or (len(series) >= SERIES_MAX and key is not None and key not in series)):
            yield chunk
            chunk, series, size = [], set(), 0
        chunk.append(observation)
        size += cost
        if key is not None:
            series.add(key)
    if chunk:
        yield chunk


def _series(reading: Reading) -> tuple[str, str, int, bytes]:
    return reading.channel, reading.unit, reading.exponent, reading.stamp.boot_id


def _pack(
    observations: Sequence[Observation],
    chain: Chain,
    stamp: Stamp,
    *,
    gateway: str,
    simulated: bool,
    losses: list[Loss],
) -> Pack:
    return Pack(
        gateway=gateway,
        stream=chain.stream,
        seq=chain.last_seq + 1,
        prev=chain.last_hash,
        sealed=stamp,
        simulated=simulated,
        blocks=build_blocks(o for o in observations if isinstance(o, Reading)),
        scans=[o for o in observations if isinstance(o, Scan)],
        losses=losses,
        predecessor=chain.predecessor if chain.last_seq == 0 else None,
    )


_TRIAL = Chain(bytes(STREAM_BYTES), 0, None)
_TRIAL_STAMP = Stamp(0, 0, bytes(BOOT_ID_BYTES), ClockState.SYNCED)
