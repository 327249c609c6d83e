"""Codes are answered once, for one gateway, in time; whoever else asks gets nothing, and leaves nothing behind."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import Engine, func, select

from cloud.config import EnrolConfig, defaults
from cloud.db import tables
from cloud.db.engine import reading, writing
from cloud.enrol import admission, links, revocation
from cloud.enrol.admission import EnrolmentRefused, Office
from cloud.keys import load_or_create
from cloud.registry import keys
from standards import cose
from tests.cloud.field import START_MS as NOW_MS
from tests.cloud.field import Gateway
from wire import enrolment as wire
from wire.enrolment import Code, Link

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NAME = "gw-kho-01"
Ask = Callable[..., Link]


class Field:
    """A gateway that asks, with keys of its own."""

    def __init__(self, name: str = NAME) -> None:
        self.name = name
        self.key = Ed25519PrivateKey.generate()
        self.link_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = ec.generate_private_key(ec.SECP256R1())

    def csr(self, name: str | None = None) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or self.name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return request.sign(self.link_key, hashes.SHA256()).public_bytes(Encoding.DER)

    def letter(self, code: Code, *, csr: bytes | None = None, simulated: bool = False) -> bytes:
        return wire.seal_enrolment(code, key=self.key, simulated=simulated, csr=csr or self.csr(), nonce=os.urandom(16))

    def renewal(self) -> bytes:
        return wire.seal_renewal(self.name, key=self.key, csr=self.csr(), nonce=os.urandom(16))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    config = defaults(tmp_path / "data")
    config = msgspec.structs.replace(config, enrol=EnrolConfig(broker_host="broker.example.vn", certificate_days=100))
    return admission.open_office(config, load_or_create(config.data_dir), NOW_MS)


@pytest.fixture
def invite(engine: Engine, office: Office) -> Callable[..., Code]:
    def code(gateway: str = NAME, valid_ms: int = DAY_MS) -> Code:
        with writing(engine) as conn:
            text = admission.invite(conn, gateway, url="http://cloud", key=office.key, now_ms=NOW_MS, valid_ms=valid_ms)
        return wire.read_code(text)

    return code


@pytest.fixture
def ask(engine: Engine, office: Office) -> Ask:
    def asked(letter: bytes, now_ms: int = NOW_MS) -> Link:
        opened = admission.open_letter(letter)
        with writing(engine) as conn:
            answer = admission.answer(conn, office, opened, now_ms=now_ms, registered_ms=now_ms)
        pinned = wire.fingerprint(office.key.private.public_key())
        _, request = wire.open_request(letter)
        return wire.open_link(answer, request=letter, gateway=request.gateway, pinned=pinned)

    return asked


@pytest.fixture
def untouched(engine: Engine) -> Callable[[], bool]:
    """Whether no gateway was registered and no certificate issued."""

    def look() -> bool:
        with reading(engine) as conn:
            counts = [conn.scalar(select(func.count()).select_from(one)) for one in (tables.gateway, tables.leaf)]
            return counts == [0, 0] and links.expiries(conn) == {}

    return look


def _refused(ask: Ask, letter: bytes, now_ms: int = NOW_MS) -> str:
    with pytest.raises(EnrolmentRefused) as caught:
        ask(letter, now_ms)
    assert 400 <= caught.value.status < 500
    return caught.value.code


def test_code_gives_key_certificate_and_broker(engine: Engine, office: Office, invite, ask: Ask):
    field = Field()
    link = ask(field.letter(invite()))
    certificate = x509.load_der_x509_certificate(link.certificate)
    assert (link.broker_host, link.broker_port, link.issued_at_ms) == ("broker.example.vn", 8883, NOW_MS)
    assert certificate.subject == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    assert certificate.public_key() == field.link_key.public_key()
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == datetime.timedelta(days=101)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(link.authority))
    with reading(engine) as conn:
        (key,) = keys.keys_of(conn, NAME)
        assert key.public_key == field.key.public_key().public_bytes_raw()
        assert list(conn.scalars(select(tables.leaf.c.kind))) == ["key"]
        assert links.expiries(conn) == {NAME: NOW_MS + 100 * DAY_MS}


def test_lost_answer_is_given_again(engine: Engine, invite, ask: Ask):
    field, code = Field(), invite()
    letter = field.letter(code)
    first = ask(letter)
    assert ask(letter, NOW_MS + HOUR_MS).certificate == first.certificate
    assert ask(field.letter(code), NOW_MS + HOUR_MS).certificate == first.certificate
    with reading(engine) as conn:
        assert len(links.of_gateway(conn, NAME)) == len(keys.keys_of(conn, NAME)) == 1


def test_used_code_serves_nobody_else(engine: Engine, invite, ask: Ask):
    code, field = invite(), Field()
    ask(field.letter(code))
    assert _refused(ask, Field().letter(code)) == "used_code"
    field.link_key = ec.generate_private_key(ec.SECP256R1())  # a thief of the signing key alone
    assert _refused(ask, field.letter(code)) == "used_code"
    with reading(engine) as conn:
        assert len(links.of_gateway(conn, NAME)) == len(keys.keys_of(conn, NAME)) == 1


@pytest.mark.parametrize("used", [False, True])
def test_expired_code_is_refused(invite, ask: Ask, untouched, used: bool):
    code, field = invite(valid_ms=HOUR_MS), Field()
    if used:
        ask(field.letter(code))
    assert _refused(ask, field.letter(code), NOW_MS + HOUR_MS) == "expired_code"
    assert used or untouched()


def test_next_code_for_a_gateway_makes_the_unused_one_worthless(invite, ask: Ask):
    lost, other, again, field = invite(), invite("gw-other"), invite(), Field()
    assert _refused(ask, field.letter(lost)) == "expired_code"
    assert ask(field.letter(again))
    assert ask(Field("gw-other").letter(other))


@pytest.mark.parametrize("guess", ["secret", "name", "other code"])
def test_guessed_code_is_refused(invite, ask: Ask, untouched, guess: str):
    code, field = invite(), Field()
    match guess:
        case "secret":
            letter = field.letter(msgspec.structs.replace(code, secret=os.urandom(16)))
        case "name":
            letter = field.letter(msgspec.structs.replace(code, gateway="gw-other"))
        case "other code":  # knows the id of the code, from a letter seen on the way, and not its secret
            _, honest = wire.open_request(field.letter(code))
            thief = Field()
            raw = thief.key.public_key().public_bytes_raw()
            forged = msgspec.structs.replace(honest, public_key=raw, csr=thief.csr())
            kid = cose.key_id(thief.key.public_key())
            payload = msgspec.msgpack.encode(forged)
            letter = cose.sign1(payload, content_type=wire.ENROLMENT_TYPE, key=thief.key, kid=kid)
    assert _refused(ask, letter) == "unknown_code"
    assert untouched()


def test_code_is_stored_as_nothing_one_could_enrol_with(engine: Engine, invite):
    code = invite()
    with reading(engine) as conn:
        row = conn.execute(select(tables.invitation)).one()
    assert not {code.secret, code.key.private_bytes_raw()} & set(row)
    assert row.code_key == code.key.public_key().public_bytes_raw()


def test_certificate_carries_the_invited_name_whatever_was_asked_for(invite, ask: Ask):
    field = Field()
    link = ask(field.letter(invite(), csr=field.csr("ingest.1")))
    subject = x509.load_der_x509_certificate(link.certificate).subject
    assert subject.rfc4514_string() == f"CN={NAME}"


@pytest.mark.parametrize("flaw", ["not DER", "RSA", "other curve", "not its own"])
def test_unusable_certificate_request_is_refused(invite, ask: Ask, untouched, flaw: str):
    field = Field()
    match flaw:
        case "not DER":
            csr = b"\x30\x03abc"
        case "RSA":
            field.link_key = rsa.generate_private_key(65537, 2048)
            csr = field.csr()
        case "other curve":
            field.link_key = ec.generate_private_key(ec.SECP384R1())
            csr = field.csr()
        case "not its own":
            csr = field.csr()[:-1] + bytes([field.csr()[-1] ^ 1])
    assert _refused(ask, field.letter(invite(), csr=csr)) in {"malformed", "invalid", "bad_signature"}
    assert untouched()


def test_known_gateway_with_another_key_needs_the_old_one_revoked(engine: Engine, invite, ask: Ask):
    ask(Field().letter(invite()))
    again = Field()
    assert _refused(ask, again.letter(invite())) == "another_key"
    with writing(engine) as conn:
        revocation.revoke(conn, NAME, kid=None, link=True, from_seq=None, reason="card lost", now_ms=NOW_MS + 1)
    ask(again.letter(invite()))
    with reading(engine) as conn:
        assert [key.revoked_ms for key in keys.keys_of(conn, NAME)].count(None) == 1


def test_revoked_key_cannot_enrol_again(engine: Engine, invite, ask: Ask):
    field = Field()
    ask(field.letter(invite()))
    with writing(engine) as conn:
        revocation.revoke(conn, NAME, kid=None, link=True, from_seq=None, reason="stolen", now_ms=NOW_MS + 1)
    assert _refused(ask, field.letter(invite()), NOW_MS + 2) == "another_key"
    assert _refused(ask, field.renewal(), NOW_MS + 2) == "revoked_key"


def test_certificate_is_renewed_with_the_signing_key_alone(engine: Engine, invite, ask: Ask):
    field = Field()
    first = ask(field.letter(invite()))
    field.link_key = ec.generate_private_key(ec.SECP256R1())
    later_ms = NOW_MS + 80 * DAY_MS
    second = ask(field.renewal(), later_ms)
    assert second.certificate != first.certificate
    with reading(engine) as conn:
        assert links.expiries(conn) == {NAME: later_ms + 100 * DAY_MS}


def test_renewal_after_the_certificate_has_run_out(invite, ask: Ask):
    field = Field()
    ask(field.letter(invite()))
    assert ask(field.renewal(), NOW_MS + 1_000 * DAY_MS)


def test_replayed_renewal_gives_nothing_new(engine: Engine, invite, ask: Ask):
    field = Field()
    ask(field.letter(invite()))
    field.link_key = ec.generate_private_key(ec.SECP256R1())
    letter = field.renewal()
    assert ask(letter).certificate == ask(letter).certificate
    with reading(engine) as conn:
        assert len(links.of_gateway(conn, NAME)) == 2


@pytest.mark.parametrize("way", ["enrolment", "renewal"])
def test_link_key_that_lost_its_certificate_gets_no_other_one(engine: Engine, invite, ask: Ask, way: str):
    field, code = Field(), invite()
    letter = field.letter(code)
    ask(letter)
    with writing(engine) as conn:
        revocation.revoke_links(conn, NAME, reason="stolen", now_ms=NOW_MS + 1)
    replayed = letter if way == "enrolment" else field.renewal()
    assert _refused(ask, replayed, NOW_MS + HOUR_MS) == "revoked_link"
    with reading(engine) as conn:
        assert len(links.of_gateway(conn, NAME)) == 1
    field.link_key = ec.generate_private_key(ec.SECP256R1())
    assert ask(field.renewal(), NOW_MS + HOUR_MS)


def test_certificates_of_a_day_are_bounded(engine: Engine, invite, ask: Ask):
    field = Field()
    ask(field.letter(invite()))
    for _ in range(admission.CERTIFICATES_PER_DAY - 1):
        field.link_key = ec.generate_private_key(ec.SECP256R1())
        ask(field.renewal())
    assert ask(field.renewal()), "the one it has is given out again"
    field.link_key = ec.generate_private_key(ec.SECP256R1())
    assert _refused(ask, field.renewal(), NOW_MS + DAY_MS - 1) == "too_many"
    with reading(engine) as conn:
        assert len(links.of_gateway(conn, NAME)) == admission.CERTIFICATES_PER_DAY
    assert ask(field.renewal(), NOW_MS + DAY_MS)


@pytest.mark.parametrize("who", ["stranger", "unknown gateway", "other gateway"])
def test_renewal_needs_this_gateways_key(invite, ask: Ask, who: str):
    field = Field()
    ask(field.letter(invite()))
    match who:
        case "stranger":
            letter = Field().renewal()
        case "unknown gateway":
            letter = Field("gw-nobody").renewal()
        case "other gateway":
            other = Field("gw-other")
            ask(other.letter(invite("gw-other")))
            other.name = NAME
            letter = other.renewal()
    assert _refused(ask, letter) == "unknown_key"


def test_superseded_key_renews_nothing(engine: Engine, office: Office, ask: Ask):
    gateway, field = Gateway(NAME), Field()
    field.key = gateway.key
    with writing(engine) as conn:
        keys.add_gateway(conn, gateway.public_half, NOW_MS)
        keys.end_key(conn, NAME, gateway.kid, keys.KeyEnd("changed", gateway.stream, 5), NOW_MS)
    assert _refused(ask, field.renewal()) == "revoked_key"


@pytest.mark.parametrize("letter", [b"", b"{}", b"\xd2\x84" * 100, bytes(9_000)])
def test_what_is_no_letter_is_refused(ask: Ask, untouched, letter: bytes):
    assert _refused(ask, letter) in {"malformed", "too_large"}
    assert untouched()


def test_revocation_list_names_what_would_still_be_good(engine: Engine, office: Office, invite, ask: Ask):
    ask(Field().letter(invite()))
    with writing(engine) as conn:
        (serial,) = revocation.revoke_links(conn, NAME, reason="stolen", now_ms=NOW_MS + 1)
        assert revocation.revoke_links(conn, NAME, reason="again", now_ms=NOW_MS + 2) == []
    for now_ms, listed in ((NOW_MS + 2, [int(serial, 16)]), (NOW_MS + 101 * DAY_MS, [])):
        with reading(engine) as conn:
            pem = links.revocation_list(conn, office.authority, now_ms)
        crl = x509.load_pem_x509_crl(pem)
        assert crl.is_signature_valid(office.authority.key.public_key())
        assert [one.serial_number for one in crl] == listed
