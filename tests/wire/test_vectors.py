"""The stored letters decode for ever, and the code still writes the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standards import cose
from tests.wire.plain_reader import plain, read
from wire import command, pack, receipt, status
from wire.envelope import inflate

VECTORS = Path(__file__).parent.parent / "vectors" / "wire"
SIGNED = sorted(path.stem for path in VECTORS.glob("*.json") if path.stem != "status")
KINDS: dict[str, Any] = {
    pack.CONTENT_TYPE: (pack, pack.Pack),
    receipt.CONTENT_TYPE: (receipt, receipt.Receipt),
    command.CONTENT_TYPE: (command, command.Command),
}

Vector = Callable[[str], dict[str, Any]]


def _positional(value: Any) -> Any:
    """A vector's named value as nested arrays, the way it must travel; bytes stay hex."""
    if isinstance(value, dict):
        named = dict(value)
        tag = [named.pop("kind_of_order")] if "kind_of_order" in named else [1] if "symbology" in named else []
        return tag + [_positional(item) for item in named.values()]
    return [_positional(item) for item in value] if isinstance(value, list) else value


def _hexed(value: Any) -> Any:
    if isinstance(value, list):
        return [_hexed(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def test_there_is_a_vector_for_every_letter_and_order(vector: Vector) -> None:
    stored = [vector(name) for name in SIGNED]
    assert {one["content_type"] for one in stored} == set(KINDS)
    orders = {one["value"]["order"]["kind_of_order"] for one in stored if "order" in one["value"]}
    assert orders == {"send_again", "apply_configuration", "test_alarm", "sign_off"}
    full = vector("pack_full")["value"]
    assert all(full[name] for name in ("blocks", "scans", "losses", "corrections", "key_change", "carried_from"))


@pytest.mark.parametrize("name", SIGNED)
def test_stored_letter_decodes_for_ever(name: str, vector: Vector, from_named: Callable[[Any, Any], Any]) -> None:
    stored = vector(name)
    module, kind = KINDS[stored["content_type"]]
    message, letter = module.unseal(bytes.fromhex(stored["envelope_hex"]))
    assert letter == from_named(kind, stored["value"])
    assert message.kid.hex() == stored["kid_hex"]
    assert message.is_signed_by(Ed25519PublicKey.from_public_bytes(bytes.fromhex(stored["public_key_hex"])))


@pytest.mark.parametrize("name", SIGNED)
def test_same_value_is_written_as_the_same_messagepack(
    name: str, vector: Vector, from_named: Callable[[Any, Any], Any]
) -> None:
    stored = vector(name)
    _, kind = KINDS[stored["content_type"]]
    assert msgspec.msgpack.encode(from_named(kind, stored["value"])).hex() == stored["plain_hex"]


@pytest.mark.parametrize("name", SIGNED)
def test_same_payload_is_signed_to_the_same_envelope(name: str, vector: Vector) -> None:
    stored = vector(name)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(stored["key_seed_hex"]))
    payload, kid = bytes.fromhex(stored["payload_hex"]), bytes.fromhex(stored["kid_hex"])
    sealed = cose.sign1(payload, content_type=stored["content_type"], key=key, kid=kid)
    assert sealed.hex() == stored["envelope_hex"]
    assert hashlib.sha256(sealed).hexdigest() == stored["envelope_sha256_hex"]
    signature = cose.parse_sign1(sealed).signature
    key.public_key().verify(signature, bytes.fromhex(stored["to_be_signed_hex"]))
    assert kid == cose.key_id(key.public_key())


@pytest.mark.parametrize("name", SIGNED)
def test_layout_is_what_a_second_reader_sees(name: str, vector: Vector) -> None:
    stored = vector(name)
    payload = bytes.fromhex(stored["payload_hex"])
    body = inflate(payload) if stored["content_type"] == pack.CONTENT_TYPE else payload
    assert body.hex() == stored["plain_hex"]
    item = read(body)
    assert item.raw == body
    assert _hexed(plain(item)) == _positional(stored["value"])


def test_stored_status_is_read_and_written(vector: Vector, from_named: Callable[[Any, Any], Any]) -> None:
    stored = vector("status")
    letter = from_named(status.Status, stored["value"])
    assert status.encode(letter).decode() == stored["bytes_utf8"]
    assert status.decode(stored["bytes_utf8"].encode()) == letter
    assert status.encode(status.Status("gw-kho-01", online=False)).decode() == stored["last_will_utf8"]
    assert json.loads(stored["last_will_utf8"])["online"] is False
