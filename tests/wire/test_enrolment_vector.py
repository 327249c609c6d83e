"""The stored enrolment is read for ever, and the code still writes the same letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wire import enrolment as wire
from wire.enrolment import Code, Enrolment, Link, Renewal

STORED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/enrolment/enrolment.json").read_text())
CLOUD, GATEWAY = (
    Ed25519PrivateKey.from_private_bytes(bytes.fromhex(STORED[f"{who}_key_seed_hex"])) for who in ("cloud", "gateway")
)
CSR, NONCE = bytes.fromhex(STORED["csr_hex"]), bytes.fromhex(STORED["nonce_hex"])
REQUEST = bytes.fromhex(STORED["enrolment_hex"])


def _code() -> Code:
    named = STORED["code"]
    secret, fingerprint = bytes.fromhex(named["secret"]), bytes.fromhex(named["fingerprint"])
    return Code(secret, fingerprint, named["issued_s"], named["gateway"], named["url"])


def _link() -> Link:
    named = STORED["link"]
    request, certificate, authority = (bytes.fromhex(named[key]) for key in ("request", "certificate", "authority"))
    raw = CLOUD.public_key().public_bytes_raw()
    where = (named["broker_host"], named["broker_port"])
    return Link(_code().gateway, request, certificate, authority, *where, raw, named["issued_at_ms"])


def test_stored_code_is_read_and_written():
    assert wire.read_code(STORED["code_text"]) == _code()
    assert wire.write_code(_code()) == STORED["code_text"]
    assert _code().key.private_bytes_raw().hex() == STORED["code_key_seed_hex"]
    assert wire.fingerprint(CLOUD.public_key()) == _code().fingerprint


def test_stored_requests_are_read():
    _, request = wire.open_request(REQUEST)
    assert isinstance(request, Enrolment)
    assert (request.gateway, request.simulated, request.csr, request.nonce) == ("gw-kho-01", False, CSR, NONCE)
    assert wire.is_proven(request, _code().key.public_key())
    message, renewal = wire.open_request(bytes.fromhex(STORED["renewal_hex"]))
    assert renewal == Renewal("gw-kho-01", CSR, NONCE)
    assert message.is_signed_by(GATEWAY.public_key())


def test_stored_requests_are_written():
    written = wire.seal_enrolment(_code(), key=GATEWAY, simulated=False, csr=CSR, nonce=NONCE)
    assert written.hex() == STORED["enrolment_hex"]
    assert wire.seal_renewal("gw-kho-01", key=GATEWAY, csr=CSR, nonce=NONCE).hex() == STORED["renewal_hex"]


def test_stored_answer_is_read_and_written():
    stored = bytes.fromhex(STORED["link_hex"])
    assert wire.open_link(stored, request=REQUEST, gateway="gw-kho-01", pinned=_code().fingerprint) == _link()
    assert wire.seal_link(_link(), key=CLOUD) == stored
