"""Commands as they arrive from the broker: signed by the pinned key, addressed to us, in time. The counter that
makes them good for one use is kept by the buffer (`use_command`)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.uplink.base import LetterRefused
from wire import command as wire_command
from wire.command import Command
from wire.envelope import WireError
from wire.observation import ClockState, Stamp


def read_command(
    envelope: bytes, *, cloud_key: Ed25519PublicKey, gateway: str, stamp: Stamp, floor_ms: int = 0
) -> Command:
    """A command that is well-formed, signed by the cloud, addressed to us and not expired.

    floor_ms: what has certainly passed (build time, last known time). An unsynchronised clock is not asked: it may
    have jumped ahead, and would refuse every command (docs/wire.md §6).
    Raises LetterRefused with reason `malformed`, `forged`, `foreign` or `expired`.
    """
    try:
        message, command = wire_command.unseal(envelope)
    except WireError as error:
        raise LetterRefused("malformed", f"command of {len(envelope)} bytes: {error}") from error
    if not message.is_signed_by(cloud_key):
        raise LetterRefused("forged", f"command: not signed by the pinned cloud key (kid {message.kid.hex()})")
    if command.gateway != gateway:
        raise LetterRefused("foreign", f"command: addressed to {command.gateway}, we are {gateway}")
    now_ms = floor_ms if stamp.clock is ClockState.UNSYNCED else max(stamp.observed_at_ms, floor_ms)
    if command.expires_at_ms <= now_ms:
        raise LetterRefused("expired", f"command {command.id.hex()}: expired {now_ms - command.expires_at_ms} ms ago")
    return command
