"""Time stamps of checkpoints by a real authority (openssl): kept as they came, believed only when they verify."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import Engine, select

from cloud.config import TimestampConfig, defaults
from cloud.db.engine import reading, writing
from cloud.db.tables import time_stamp
from cloud.ledger import checkpoint
from cloud.ledger.post import Unanswered
from cloud.ledger.stamp import BACK_OFF_MS, Stamping, StampingImpossible, Unstamped
from cloud.web.app import create_app
from standards.tlog import timestamp
from tests.cloud.ledger.authority import Authority
from tests.cloud.ledger.conftest import NOW_MS, ORIGIN, Clock, grow
from tests.cloud.web.served import served


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "here")


@pytest.fixture
def authority(made: Authority) -> Iterator[Authority]:
    made.asked, made.status, made.spoil = 0, 200, lambda data: data
    return made


def stamping(engine: Engine, authority: Authority, url: str, clock: Clock) -> Stamping:
    config = TimestampConfig(url, authority.certificate, authority.roots, every_s=3600)
    return Stamping(engine, config, lambda: clock.now_ms)


def sign(engine: Engine, folder: Path, size: int, now_ms: int = NOW_MS) -> checkpoint.Signed:
    with reading(engine) as conn:
        last = checkpoint.latest(conn)
    first = last.size if last else 0
    grow(engine, size - first, first=first)
    with writing(engine) as conn:
        signed = checkpoint.sign(conn, folder, origin=ORIGIN, now_ms=now_ms)
    assert signed is not None
    return signed


def test_checkpoint_is_stamped_once_and_the_stamp_verifies(
    engine: Engine, authority: Authority, tmp_path: Path, clock: Clock
):
    signed = sign(engine, tmp_path, 5)
    with authority.serving() as url:
        one = stamping(engine, authority, url, clock)
        assert one.step() == 1
        assert one.step() == 0
        sign(engine, tmp_path, 6, NOW_MS + 3_599_000)
        assert one.step() == 0, "an hour has not gone by"
        later = sign(engine, tmp_path, 7, NOW_MS + 3_601_000)
        assert one.step() == 1
    with reading(engine) as conn:
        rows = conn.execute(select(time_stamp).order_by(time_stamp.c.size)).all()
    assert [row.size for row in rows] == [5, 7]
    trust = {
        "authority": x509.load_pem_x509_certificate(authority.certificate.read_bytes()),
        "roots": x509.load_pem_x509_certificates(authority.roots.read_bytes()),
    }
    for row, of in zip(rows, (signed, later), strict=True):
        at = timestamp.verify(row.response, of.note.encode(), **trust)
        assert row.stamped_ms == at.timestamp() * 1000
        assert abs(at.timestamp() - time.time()) < 600
    with served(create_app(engine, lambda: NOW_MS, defaults(tmp_path))) as web:
        assert web.get("/ledger/timestamp/5").body == rows[0].response
        assert web.get("/ledger/timestamp/6").status == 404
    _openssl_verifies(authority, tmp_path, signed.note, rows[0].response)
    with pytest.raises(timestamp.TimestampError):
        timestamp.verify(rows[0].response, later.note.encode(), **trust)


def test_no_stamp_is_kept_that_does_not_verify(engine: Engine, authority: Authority, tmp_path: Path, clock: Clock):
    sign(engine, tmp_path, 5)
    replayed = authority.answer(timestamp.request(b"something else")[0])
    with authority.serving() as url:
        for spoil in (
            lambda data: data[:-1],
            lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
            lambda _: replayed,
            lambda _: b"",
            lambda _: b"<html>",
            lambda data: data + bytes(100_000),
        ):
            authority.spoil = spoil
            one = stamping(engine, authority, url, clock)
            with pytest.raises((Unstamped, Unanswered)):
                one.step()
        authority.spoil, authority.status = lambda data: data, 503
        with pytest.raises(Unstamped, match="HTTP 503"):
            stamping(engine, authority, url, clock).step()
    with reading(engine) as conn:
        assert conn.execute(select(time_stamp)).all() == []


def test_authority_that_fails_is_asked_once_a_minute(
    engine: Engine, authority: Authority, tmp_path: Path, clock: Clock
):
    sign(engine, tmp_path, 5)
    authority.status = 500
    with authority.serving() as url:
        one = stamping(engine, authority, url, clock)
        for _ in range(5):
            with pytest.raises(Unstamped):
                one.step()
        assert authority.asked == 1
        authority.status = 200
        clock.advance(BACK_OFF_MS / 1000 + 1)
        assert one.step() == 1


def test_other_authority_is_not_believed(engine: Engine, authority: Authority, tmp_path: Path, clock: Clock):
    sign(engine, tmp_path, 5)
    other = Authority(tmp_path / "other")
    with other.serving() as url, pytest.raises(Unstamped, match="certificate and roots"):
        stamping(engine, authority, url, clock).step()


def test_missing_certificate_is_said_at_the_start(engine: Engine, authority: Authority, tmp_path: Path):
    config = TimestampConfig("http://127.0.0.1:9", tmp_path / "no.pem", authority.roots)
    with pytest.raises(StampingImpossible, match=r"no.pem: No such file"):
        Stamping(engine, config, lambda: NOW_MS)


def _openssl_verifies(authority: Authority, folder: Path, note: str, response: bytes) -> None:
    (folder / "note").write_text(note, "utf-8")
    (folder / "stamp").write_bytes(response)
    words = ["-data", str(folder / "note"), "-in", str(folder / "stamp"), "-CAfile", str(authority.roots)]
    told = subprocess.run(["openssl", "ts", "-verify", *words], capture_output=True, text=True, check=False)
    assert "Verification: OK" in told.stdout + told.stderr
