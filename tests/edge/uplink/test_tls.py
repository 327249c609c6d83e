"""TLS with a clock that is surely wrong: a site in 1970 connects, and nothing else gets easier for anybody.

OpenSSL only knows this machine's time, so the certificates here are valid in the year 2031: they are accepted only by
whoever judges them then.
"""

from __future__ import annotations

import datetime
import functools
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.uplink import tls as tls_module
from edge.uplink.base import TlsOptions, UplinkMisconfigured
from edge.uplink.tls import NO_CHECK_TIME, days_left, tls_context
from tests.edge.uplink.conftest import run_gateway
from tests.edge.uplink.tls_broker import DAY, Authority, Span, TlsBroker


def year(number: int, month: int = 1) -> datetime.datetime:
    return datetime.datetime(number, month, 1, tzinfo=datetime.UTC)


def ms(moment: datetime.datetime) -> int:
    return int(moment.timestamp() * 1000)


IN_2031: Span = (year(2031), year(2032))
LONG: Span = (year(2020), year(2040))
JUNE_2031 = ms(year(2031, 6))


@pytest.fixture
def broker_of(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., TlsBroker]]:
    """Starts a broker whose server certificate is valid in `span`, its authority in `authority`."""
    running: list[TlsBroker] = []

    def make(
        span: Span = IN_2031, authority: Span = LONG, intermediate: Span | None = None, known: bool = True
    ) -> TlsBroker:
        made = TlsBroker(tmp_path / f"tls-{len(running)}", free_port())
        made.authority = root = Authority("root", authority)
        issuer = root if intermediate is None else Authority("intermediate", intermediate, above=root)
        issuer.issue(made.folder, "server", span, chain=b"" if intermediate is None else issuer.pem)
        made.issue("gw-1", LONG)
        (root if known else Authority("another", LONG)).write(made.folder / "ca.pem")
        made.start()
        running.append(made)
        return made

    yield make
    for each in running:
        each.stop()


def shake_hands(broker: TlsBroker, *, floor_ms: int, clock_s: float = 0.0, name: str = "127.0.0.1") -> None:
    """One handshake by a machine whose clock says `clock_s`. Raises what paho would see."""
    context = tls_context(broker.options("gw-1"), floor_ms=floor_ms, now=lambda: clock_s)
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as plain:  # what it thinks of ours comes later
        context.wrap_socket(plain, server_hostname=name).close()


def test_a_site_in_1970_connects(broker_of: Callable[..., TlsBroker]) -> None:
    shake_hands(broker_of(), floor_ms=JUNE_2031)
    shake_hands(broker_of(intermediate=IN_2031), floor_ms=JUNE_2031)


@pytest.mark.parametrize("floor", [year(2030, 6), year(2032, 6)], ids=["not yet valid", "expired"])
@pytest.mark.parametrize("part", ["server", "intermediate", "authority"])
def test_what_is_not_valid_at_the_floor_is_refused(
    broker_of: Callable[..., TlsBroker], part: str, floor: datetime.datetime
) -> None:
    spans = {"span": LONG, "intermediate": LONG, "authority": LONG}
    spans["span" if part == "server" else part] = IN_2031
    broker = broker_of(**spans)
    shake_hands(broker, floor_ms=JUNE_2031)
    with pytest.raises(ssl.SSLCertVerificationError, match=f"is valid from 2031-01-01.*at least {floor:%Y-%m}"):
        shake_hands(broker, floor_ms=ms(floor))


def test_chain_and_name_are_checked_in_1970_too(broker_of: Callable[..., TlsBroker]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"):
        shake_hands(broker_of(known=False), floor_ms=JUNE_2031)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|mismatch"):
        shake_hands(broker_of(), floor_ms=JUNE_2031, name="broker.example")


def test_when_our_own_certificate_was_issued_has_certainly_passed(broker_of: Callable[..., TlsBroker]) -> None:
    broker = broker_of()
    broker.issue("gw-1", (year(2031, 3), year(2033)))
    shake_hands(broker, floor_ms=ms(year(2026)))


def test_a_clock_that_may_be_right_is_believed(broker_of: Callable[..., TlsBroker]) -> None:
    """It says something later than the floor: OpenSSL judges, at this machine's time, and 2031 is not yet."""
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        shake_hands(broker_of(), floor_ms=ms(year(2026)), clock_s=year(2026, 6).timestamp())
    context = tls_context(TlsOptions(), floor_ms=1000, now=lambda: 1.0)
    assert not context.verify_flags & NO_CHECK_TIME
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_without_a_chain_to_judge_nothing_is_trusted(
    broker_of: Callable[..., TlsBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = broker_of()
    monkeypatch.setattr(tls_module, "_verified_chain", lambda _: [])
    with pytest.raises(ssl.SSLCertVerificationError, match="no chain"):
        shake_hands(broker, floor_ms=JUNE_2031)


@pytest.mark.parametrize(("floor", "connects"), [(JUNE_2031, True), (ms(year(2033)), False)])
async def test_the_uplink_connects_in_1970_and_says_why_when_it_does_not(
    tmp_path: Path,
    broker_of: Callable[..., TlsBroker],
    monkeypatch: pytest.MonkeyPatch,
    floor: int,
    connects: bool,
) -> None:
    broker = broker_of()
    in_1970 = functools.partial(tls_context, now=lambda: 0.0)
    monkeypatch.setattr("edge.uplink.uplink.tls_context", in_1970)
    options = broker.options("gw-1")
    async with run_gateway(tmp_path / "gateway", broker.port, floor_ms=lambda: floor, tls=options) as gateway:
        state = gateway.uplink.state
        await gateway.until(lambda: state().connected or state().last_error != "")
        assert state().connected is connects
        assert connects or "is valid from 2031-01-01 to 2032-01-01" in state().last_error


async def test_what_the_gateways_clock_knows_is_the_floor(
    tmp_path: Path, broker_of: Callable[..., TlsBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anything given, the last time that was synchronised counts, as the clock keeps it on the disk."""
    monkeypatch.setattr("edge.uplink.uplink.tls_context", functools.partial(tls_context, now=lambda: 0.0))
    monkeypatch.setattr("edge.clock.BUILD_MS", JUNE_2031)
    broker = broker_of()
    async with run_gateway(tmp_path / "gateway", broker.port, tls=broker.options("gw-1")) as gateway:
        await gateway.until(lambda: gateway.uplink.state().connected)


async def test_files_are_read_anew_for_each_connection(
    tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotated certificate needs no restart; a broken file only costs the connection."""
    monkeypatch.setattr("edge.uplink.uplink.FILES_EVERY_S", 0.1)
    broker = TlsBroker(tmp_path / "tls", free_port())
    options = broker.options("gw-1")
    assert options.certificate is not None
    good = Path(options.certificate).read_bytes()
    Path(options.certificate).write_text("half a fi")
    broker.start()
    try:
        async with run_gateway(tmp_path / "gateway", broker.port, tls=options) as gateway:
            await gateway.until(lambda: "certificates cannot be used" in gateway.uplink.state().last_error)
            Path(options.certificate).write_bytes(good)
            await gateway.until(lambda: gateway.uplink.state().connected)
    finally:
        broker.stop()


async def test_the_days_our_certificate_has_left_are_shown_and_warned_of(
    tmp_path: Path, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.uplink.uplink.CERTIFICATE_EVERY_S", 0.2)
    broker = TlsBroker(tmp_path / "tls", free_port())
    async with run_gateway(tmp_path / "gateway", broker.port, tls=broker.options("gw-1")) as gateway:
        await gateway.until(lambda: gateway.uplink.state().certificate_days is not None)
        days = gateway.uplink.state().certificate_days
        assert days is not None
        assert 1.9 < days < 2.1
        broker.issue("gw-1", (year(2026), year(2040)))
        await gateway.until(lambda: (gateway.uplink.state().certificate_days or 0) > 1000)
    assert sum("certificate expires" in record.message for record in caplog.records) == 1, "once a day"


def test_days_left(tmp_path: Path) -> None:
    Authority("a").issue(tmp_path, "x", (year(2031), year(2032)))
    options = TlsOptions(certificate=str(tmp_path / "x.pem"), key="-")
    assert days_left(options, ms(year(2032) - 3 * DAY)) == pytest.approx(3)
    assert days_left(options, ms(year(2032) + 3 * DAY)) == pytest.approx(-3)
    assert days_left(TlsOptions(), 0) is None
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(UplinkMisconfigured, match=r"x\.pem"):
        days_left(options, 0)
