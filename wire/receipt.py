"""The receipt: the cloud's signed word that packs are settled. Only it makes a gateway forget.

A seq is settled when it was accepted, declared lost, or finally refused. Receipts are cumulative, so that
the gateway may take the union of all it ever verified, in any order.
"""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from wire.envelope import HASH_BYTES, decode, open_envelope, require_type
from wire.observation import INT64_MAX
from wire.rule import STREAM_BYTES, require, require_seq, require_text, require_time
from wire.topics import is_gateway_name

CONTENT_TYPE = "application/vnd.coldproof.receipt.v1"
RANGES_MAX = 256  # what is beyond them is sent again, which does no harm
REFUSED_MAX = 256
CONFLICT = "conflict"  # the reason of a refusal that says: another pack of this stream and seq came first


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """Size and root of the ledger when the receipt was written; it may not include these packs yet."""

    size: int
    root: bytes


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """What is settled of one stream.

    through: every seq in [1, through] is settled; 0 when none is. ranges: more settled seqs, [first, last].
    refused: (seq, hash of the refused envelope, reason): the gateway shelves these and shows them.
    """

    gateway: str
    stream: bytes
    through: int
    ranges: list[tuple[int, int]]
    refused: list[tuple[int, bytes, str]]
    issued_at_ms: int
    checkpoint: Checkpoint | None = None

    def settles(self, seq: int) -> bool:
        """Whether this receipt says that `seq` is settled."""
        return 1 <= seq <= self.through or any(first <= seq <= last for first, last in self.ranges)


def seal(receipt: Receipt, *, key: Ed25519PrivateKey, kid: bytes) -> bytes:
    """Encode and sign a receipt. Raises WireError `invalid`."""
    check(receipt)
    return cose.sign1(msgspec.msgpack.encode(receipt), content_type=CONTENT_TYPE, key=key, kid=kid)


def unseal(envelope: bytes) -> tuple[cose.Sign1, Receipt]:
    """Open a receipt; the caller checks the signature against the pinned cloud key. Raises WireError."""
    message = open_envelope(envelope)
    require_type(message, CONTENT_TYPE)
    receipt = decode(message.payload, Receipt, "receipt")
    check(receipt)
    return message, receipt


def check(receipt: Receipt) -> None:
    """Hold a receipt against the rules of docs/wire.md §5. Raises WireError `invalid`."""
    require(is_gateway_name(receipt.gateway), "receipt.gateway", "not a gateway name")
    require(len(receipt.stream) == STREAM_BYTES, "receipt.stream", f"must have {STREAM_BYTES} bytes")
    require(0 <= receipt.through <= INT64_MAX, "receipt.through", "out of range")
    require(len(receipt.ranges) <= RANGES_MAX, "receipt.ranges", f"more than {RANGES_MAX}")
    require(len(receipt.refused) <= REFUSED_MAX, "receipt.refused", f"more than {REFUSED_MAX}")
    below = receipt.through
    for first, last in receipt.ranges:
        require(below + 1 < first <= last <= INT64_MAX, "receipt.ranges", "not ascending and apart")
        below = last
    for seq, digest, reason in receipt.refused:
        require_seq(seq, "receipt.refused")
        require(len(digest) == HASH_BYTES, "receipt.refused", f"a SHA-256 has {HASH_BYTES} bytes")
        require_text(reason, "receipt.refused")
    require_time(receipt.issued_at_ms, "receipt.issued_at_ms")
    if receipt.checkpoint is not None:
        require(0 <= receipt.checkpoint.size <= INT64_MAX, "receipt.checkpoint", "size out of range")
        require(len(receipt.checkpoint.root) == HASH_BYTES, "receipt.checkpoint", "root is not a SHA-256")
