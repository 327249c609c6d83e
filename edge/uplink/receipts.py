"""Receipts as they arrive from the broker: only the pinned cloud key's word about our own packs is believed."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.uplink.base import LetterRefused
from wire import receipt as wire_receipt
from wire.envelope import WireError
from wire.receipt import Receipt


def read_receipt(envelope: bytes, *, cloud_key: Ed25519PublicKey, gateway: str) -> Receipt:
    """A receipt that is well-formed, signed by the cloud and addressed to us.

    Raises LetterRefused with reason `malformed`, `forged` or `foreign`.
    """
    try:
        message, receipt = wire_receipt.unseal(envelope)
    except WireError as error:
        raise LetterRefused("malformed", f"receipt of {len(envelope)} bytes: {error}") from error
    if not message.is_signed_by(cloud_key):
        raise LetterRefused("forged", f"receipt: not signed by the pinned cloud key (kid {message.kid.hex()})")
    if receipt.gateway != gateway:
        raise LetterRefused("foreign", f"receipt: addressed to {receipt.gateway}, we are {gateway}")
    return receipt
