"""The door where gateways enrol: bounded, counted, and no help to whoever guesses."""

from __future__ import annotations

import os

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI
from sqlalchemy import Engine

from cloud.auth.attempts import MOST_WRONG, MOST_WRONG_PER_ADDRESS
from cloud.clock import system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import writing
from cloud.enrol import admission
from cloud.keys import load_or_create
from wire import enrolment as wire
from wire.enrolment import Code


def _visitor(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud")


def _letter(code: Code) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    der = csr.public_bytes(Encoding.DER)
    signing = Ed25519PrivateKey.generate()
    return wire.seal_enrolment(code, key=signing, simulated=False, csr=der, nonce=os.urandom(16))


@pytest.fixture
def code(engine: Engine, config: CloudConfig) -> Code:
    with writing(engine) as conn:
        key = load_or_create(config.data_dir)
        now_ms = system_now_ms()
        text = admission.invite(conn, "gw-new", url="http://cloud", key=key, now_ms=now_ms, valid_ms=60_000)
    return wire.read_code(text)


async def test_letter_is_answered_by_a_letter(app: FastAPI, code: Code):
    letter = _letter(code)
    async with _visitor(app) as visitor:
        answer = await visitor.post(wire.PATH, content=letter)
    assert (answer.status_code, answer.headers["content-type"]) == (200, wire.MEDIA_TYPE)
    assert wire.open_link(answer.content, request=letter, gateway="gw-new", pinned=code.fingerprint)


async def test_refusal_says_why(app: FastAPI, code: Code):
    async with _visitor(app) as visitor:
        await visitor.post(wire.PATH, content=_letter(code))
        answer = await visitor.post(wire.PATH, content=_letter(code))
    assert answer.status_code == 403
    assert answer.json()["code"] == "used_code"
    assert "ask for a new one" in answer.json()["detail"]


@pytest.mark.parametrize("size", [wire.REQUEST_MAX_BYTES + 1, 5_000_000])
async def test_huge_body_is_cut_off(app: FastAPI, size: int):
    sent = 0

    async def body():
        nonlocal sent
        while sent < size:
            sent += 4096
            yield bytes(4096)

    async with _visitor(app) as visitor:
        answer = await visitor.post(wire.PATH, content=body())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_who_proves_nothing_opens_nothing_for_writing(app: FastAPI, code: Code, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: Engine) -> None:
        raise AssertionError("opened for writing")

    monkeypatch.setattr("cloud.web.enrol.writing", refuse)
    stranger = wire.new_code(
        cloud_key=Ed25519PrivateKey.generate().public_key(), gateway="gw-new", url="http://cloud", issued_s=1
    )
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = csr.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    renewal = wire.seal_renewal("gw-new", key=Ed25519PrivateKey.generate(), csr=der, nonce=os.urandom(16))
    async with _visitor(app) as visitor:
        codes = [
            (await visitor.post(wire.PATH, content=one)).json()["code"] for one in (_letter(stranger), renewal, b"x")
        ]
    assert codes == ["unknown_code", "unknown_key", "malformed"]


async def test_guessing_is_stopped(app: FastAPI, code: Code):
    async with _visitor(app) as visitor:
        guesses = [await visitor.post(wire.PATH, content=os.urandom(20)) for _ in range(MOST_WRONG_PER_ADDRESS)]
        assert {answer.status_code for answer in guesses} == {400}
        stopped = await visitor.post(wire.PATH, content=_letter(code))
    assert stopped.status_code == 429
    assert int(stopped.headers["Retry-After"]) > 60


async def test_the_same_wrong_letter_is_stopped_sooner(app: FastAPI, code: Code):
    async with _visitor(app) as visitor:
        answers = [await visitor.post(wire.PATH, content=b"wrong") for _ in range(MOST_WRONG + 1)]
        assert [answer.status_code for answer in answers] == [400] * MOST_WRONG + [429]
        assert (await visitor.post(wire.PATH, content=_letter(code))).status_code == 200


async def test_many_gateways_behind_one_address_enrol(app: FastAPI, engine: Engine, config: CloudConfig):
    async with _visitor(app) as visitor:
        for number in range(2 * MOST_WRONG_PER_ADDRESS // 10):
            with writing(engine) as conn:
                key, now_ms = load_or_create(config.data_dir), system_now_ms()
                name = f"gw-{number}"
                text = admission.invite(conn, name, url="http://cloud", key=key, now_ms=now_ms, valid_ms=60_000)
            assert (await visitor.post(wire.PATH, content=_letter(wire.read_code(text)))).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_not_taken(app: FastAPI, method: str):
    async with _visitor(app) as visitor:
        assert (await visitor.request(method, wire.PATH)).status_code == 405
