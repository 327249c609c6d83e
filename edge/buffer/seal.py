"""Sealing as pure functions: accepted observations in, signed envelopes out. No clock, no file, no loop."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from edge.buffer.base import DeclarationRefused, ObservationRefused, SealOptions
from edge.keys import Identity
from wire.envelope import envelope_hash
from wire.observation import BOOT_ID_BYTES, ClockState, Observation, Reading, Scan, Stamp
from wire.pack import (
    SERIES_MAX,
    STREAM_BYTES,
    Block,
    CarriedFrom,
    Correction,
    KeyChange,
    Loss,
    Pack,
    StreamHead,
    build_blocks,
    check,
    seal,
)

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


class Cargo(msgspec.Struct, frozen=True):
    """What one pack carries, in the fields of the pack; from/to are wall times of its observations."""

    blocks: list[Block] = []
    scans: list[Scan] = []
    losses: list[Loss] = []
    corrections: list[Correction] = []
    key_change: KeyChange | None = None
    carried_from: list[CarriedFrom] = []
    from_ms: int | None = None
    to_ms: int | None = None


class Sealed(msgspec.Struct, frozen=True):
    """One fresh pack with what the buffer indexes it by; from/to are None in a pack without observations.

    pressure: what disk pressure may do to it next, `thin`, `lose` or `stay`.
    """

    seq: int
    envelope: bytes
    hash: bytes
    readings: int
    scans: int
    from_ms: int | None
    to_ms: int | None
    pressure: str


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
            check(_pack(_cargo(chunk), _TRIAL, _TRIAL_STAMP, gateway="trial", simulated=False))
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise ObservationRefused(f"observation refused, it could never be sealed: {error}") from error
    return typed


def admit_entry(entry: Loss | Correction) -> Loss | Correction:
    """The loss or correction, typed and held against the wire's rules. Raises DeclarationRefused."""
    try:
        if isinstance(entry, Loss):
            typed: Loss | Correction = msgspec.msgpack.decode(_encode(entry), type=Loss)
        else:
            typed = msgspec.msgpack.decode(_encode(entry), type=Correction)
        cargo = Cargo(losses=[typed]) if isinstance(typed, Loss) else Cargo(corrections=[typed])
        check(_pack(cargo, _TRIAL, _TRIAL_STAMP, gateway="trial", simulated=False))
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise DeclarationRefused(f"not declared, no pack could carry it: {error}") from error
    return typed


def seal_all(
    observations: Sequence[Observation],
    chain: Chain,
    stamp: Stamp,
    *,
    identity: Identity,
    options: SealOptions,
    losses: Sequence[Loss] = (),
    corrections: Sequence[Correction] = (),
) -> list[Sealed]:
    """Every observation in as few packs as the limits allow, chained; the entries ride in the first one."""
    sealed: list[Sealed] = []
    chunks = list(split(observations, options)) or ([[]] if losses or corrections else [])
    for chunk in chunks:
        cargo = _cargo(chunk, losses, corrections)
        pack = seal_one(cargo, chain, stamp, identity=identity)
        sealed.append(pack)
        chain, losses, corrections = Chain(chain.stream, pack.seq, pack.hash), (), ()
    return sealed


def seal_one(cargo: Cargo, chain: Chain, stamp: Stamp, *, identity: Identity) -> Sealed:
    """One pack of exactly this cargo. Raises WireError when it breaks a limit."""
    pack = _pack(cargo, chain, stamp, gateway=identity.gateway, simulated=identity.simulated)
    envelope = seal(pack, key=identity.key, kid=identity.kid)
    return Sealed(
        seq=pack.seq,
        envelope=envelope,
        hash=envelope_hash(envelope),
        readings=pack.count - len(pack.scans),
        scans=len(pack.scans),
        from_ms=cargo.from_ms,
        to_ms=cargo.to_ms,
        pressure=_pressure(pack),
    )


def is_bound(pack: Pack) -> bool:
    """Whether a pack's place in its stream is its meaning, so that nothing can replace it."""
    return pack.predecessor is not None or pack.key_change is not None or bool(pack.corrections)


def _pressure(pack: Pack) -> str:
    if is_bound(pack) or (pack.scans and not pack.blocks):
        return "stay"
    return "thin" if pack.blocks and not any(block.thinned for block in pack.blocks) else "lose"


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


def _cargo(
    observations: Sequence[Observation], losses: Sequence[Loss] = (), corrections: Sequence[Correction] = ()
) -> Cargo:
    times = [observation.stamp.observed_at_ms for observation in observations]
    return Cargo(
        blocks=build_blocks(o for o in observations if isinstance(o, Reading)),
        scans=[o for o in observations if isinstance(o, Scan)],
        losses=list(losses),
        corrections=list(corrections),
        from_ms=min(times, default=None),
        to_ms=max(times, default=None),
    )


def _pack(cargo: Cargo, chain: Chain, stamp: Stamp, *, gateway: str, simulated: bool) -> Pack:
    return Pack(
        gateway=gateway,
        stream=chain.stream,
        seq=chain.last_seq + 1,
        prev=chain.last_hash,
        sealed=stamp,
        simulated=simulated,
        blocks=cargo.blocks,
        scans=cargo.scans,
        losses=cargo.losses,
        corrections=cargo.corrections,
        key_change=cargo.key_change,
        carried_from=cargo.carried_from,
        predecessor=chain.predecessor if chain.last_seq == 0 else None,
    )


_TRIAL = Chain(bytes(STREAM_BYTES), 0, None)
_TRIAL_STAMP = Stamp(0, 0, bytes(BOOT_ID_BYTES), ClockState.SYNCED)
