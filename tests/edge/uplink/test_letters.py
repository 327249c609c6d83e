"""Receipts and commands: every way in which one must not be believed."""

from __future__ import annotations

from contextlib import nullcontext

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.uplink.base import LetterRefused
from edge.uplink.commands import read_command
from edge.uplink.receipts import read_receipt
from standards import cose
from tests.edge.uplink.fake_cloud import CLOUD_KEY
from wire import command, receipt
from wire.command import Command, SendAgain
from wire.observation import ClockState, Stamp
from wire.receipt import Receipt

PUBLIC = CLOUD_KEY.public_key()
KID = cose.key_id(PUBLIC)
RECEIPT = Receipt("gw-1", bytes(16), 3, [(5, 7)], [], 1000)
COMMAND = Command(bytes(16), "gw-1", 1, 1000, 2000, SendAgain(bytes(16), [(1, 2)]))


def sealed(letter: Receipt | Command, key: Ed25519PrivateKey = CLOUD_KEY) -> bytes:
    if isinstance(letter, Receipt):
        return receipt.seal(letter, key=key, kid=KID)
    return command.seal(letter, key=key, kid=KID)


def read(envelope: bytes, *, as_receipt: bool) -> Receipt | Command:
    if as_receipt:
        return read_receipt(envelope, cloud_key=PUBLIC, gateway="gw-1")
    return read_command(envelope, cloud_key=PUBLIC, gateway="gw-1", stamp=Stamp(1999, 5, bytes(16), ClockState.SYNCED))


@pytest.mark.parametrize("letter", [RECEIPT, COMMAND])
def test_the_clouds_own_letter_is_believed(letter: Receipt | Command) -> None:
    assert read(sealed(letter), as_receipt=isinstance(letter, Receipt)) == letter


@pytest.mark.parametrize("letter", [RECEIPT, COMMAND])
def test_no_single_bit_flip_and_no_truncation_is_believed(letter: Receipt | Command) -> None:
    envelope = sealed(letter)
    for at in range(len(envelope)):
        with pytest.raises(LetterRefused):
            read(envelope[:at], as_receipt=isinstance(letter, Receipt))
        for bit in range(8):
            broken = bytearray(envelope)
            broken[at] ^= 1 << bit
            with pytest.raises(LetterRefused) as refused:
                read(bytes(broken), as_receipt=isinstance(letter, Receipt))
            assert refused.value.reason in {"malformed", "forged"}


@pytest.mark.parametrize(
    ("envelope", "as_receipt", "reason"),
    [
        (sealed(RECEIPT, Ed25519PrivateKey.generate()), True, "forged"),
        (sealed(COMMAND, Ed25519PrivateKey.generate()), False, "forged"),
        (sealed(msgspec.structs.replace(RECEIPT, gateway="gw-2")), True, "foreign"),
        (sealed(msgspec.structs.replace(COMMAND, gateway="gw-2")), False, "foreign"),
        (sealed(msgspec.structs.replace(COMMAND, expires_at_ms=1999)), False, "expired"),
        (sealed(COMMAND), True, "malformed"),  # a command is no receipt
        (sealed(RECEIPT), False, "malformed"),
        (bytes(300_000), True, "malformed"),
    ],
)
def test_a_letter_that_is_not_for_us_now_is_refused(envelope: bytes, as_receipt: bool, reason: str) -> None:
    with pytest.raises(LetterRefused) as refused:
        read(envelope, as_receipt=as_receipt)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("wall_ms", "floor_ms", "clock", "good"),
    [
        (1999, 0, ClockState.SYNCED, True),
        (2000, 0, ClockState.SYNCED, False),
        (2000, 0, ClockState.HOLDOVER, False),
        (10, 2000, ClockState.SYNCED, False),  # what has certainly passed has passed
        (9_000_000, 1999, ClockState.UNSYNCED, True),  # a clock that was never set may be ahead as well as behind
        (10, 2000, ClockState.UNSYNCED, False),
    ],
)
def test_expiry_is_judged_by_a_set_clock_and_by_what_has_certainly_passed(
    wall_ms: int, floor_ms: int, clock: ClockState, good: bool
) -> None:
    stamp = Stamp(wall_ms, 5, bytes(16), clock)
    outcome = nullcontext() if good else pytest.raises(LetterRefused, match="expired")
    with outcome:
        read_command(sealed(COMMAND), cloud_key=PUBLIC, gateway="gw-1", stamp=stamp, floor_ms=floor_ms)
