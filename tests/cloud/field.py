"""The field as the cloud sees it: gateways with a key and a stream, sealing real packs. Same seed, same bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.registry.keys import PublicHalf
from standards import cose
from wire import pack as wire_pack
from wire.envelope import envelope_hash
from wire.observation import ClockState, Observation, Quality, Reading, Scan, Stamp
from wire.pack import Correction, Loss, Pack, StreamHead, build_blocks
from wire.topics import up_pack

START_MS = 1_760_000_000_000  # 2025-10-09T08:53:20Z
BOOT = bytes(range(16))


class Gateway:
    """A gateway as the cloud sees it: a name, a key, and a stream of packs. Same seed, same bytes."""

    def __init__(self, name: str, *, seed: int = 1, simulated: bool = False) -> None:
        self.name = name
        self.topic = up_pack(name)
        self.simulated = simulated
        self.stream = hashlib.sha256(f"{name} {seed}".encode()).digest()[:16]
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"key {name} {seed}".encode()).digest())
        self.kid = cose.key_id(self.key.public_key())

    @property
    def public_half(self) -> PublicHalf:
        """What `gateway add` is given."""
        raw = self.key.public_key().public_bytes_raw()
        return PublicHalf(self.name, base64.b64encode(raw).decode(), self.simulated)

    def pack(
        self,
        seq: int,
        observed: Sequence[Observation] = (),
        *,
        prev: bytes | None = None,
        losses: list[Loss] | None = None,
        corrections: list[Correction] | None = None,
        sealed: Stamp | None = None,
        predecessor: StreamHead | None = None,
    ) -> Pack:
        """One pack, with one reading at START + seq minutes if nothing else is given."""
        observed = observed if observed or corrections else [reading(at_s=60 * seq, mantissa=-1800 - seq)]
        return Pack(
            gateway=self.name,
            stream=self.stream,
            seq=seq,
            prev=None if seq == 1 else prev or hashlib.sha256(str(seq).encode()).digest(),
            sealed=sealed or Stamp(START_MS + 60_000 * seq, 60_000 * seq, BOOT, ClockState.SYNCED),
            simulated=self.simulated,
            blocks=build_blocks(one for one in observed if isinstance(one, Reading)),
            scans=[one for one in observed if isinstance(one, Scan)],
            losses=losses or [],
            corrections=corrections or [],
            predecessor=predecessor,
        )

    def seal(self, pack: Pack) -> bytes:
        """Sign a pack with this gateway's key, whoever it claims to be from."""
        return wire_pack.seal(pack, key=self.key, kid=self.kid)

    def envelope(self, seq: int, observed: Sequence[Observation] = ()) -> bytes:
        """A sealed pack."""
        return self.seal(self.pack(seq, observed))

    def chain(self, count: int) -> list[bytes]:
        """Packs 1 … count, each naming the one before."""
        envelopes: list[bytes] = []
        for seq in range(1, count + 1):
            prev = envelope_hash(envelopes[-1]) if envelopes else None
            envelopes.append(self.seal(self.pack(seq, prev=prev)))
        return envelopes


def reading(
    *,
    channel: str = "room-1/air",
    at_s: float = 0,
    mantissa: int | None = -1800,
    unit: str = "CEL",
    exponent: int = -2,
    quality: Quality = Quality.OK,
    monotonic_ms: int | None = None,
    boot: bytes = BOOT,
    wrong_ms: int = 0,
    clock: ClockState = ClockState.SYNCED,
) -> Reading:
    """A reading `at_s` seconds after START, by a clock that is off by `wrong_ms`."""
    at_ms = round(at_s * 1000)
    stamp = Stamp(START_MS + at_ms + wrong_ms, at_ms if monotonic_ms is None else monotonic_ms, boot, clock)
    return Reading(channel, unit, mantissa, exponent, stamp, quality)


def scan(
    code: str,
    *,
    at_s: float = 0,
    channel: str = "scanner/scan",
    wrong_ms: int = 0,
    clock: ClockState = ClockState.SYNCED,
) -> Scan:
    """A scan `at_s` seconds after START, by a clock that is off by `wrong_ms`."""
    at_ms = round(at_s * 1000)
    return Scan(channel, code, "C1", Stamp(START_MS + at_ms + wrong_ms, at_ms, BOOT, clock))
