"""Links that fail without saying so, TLS, and brokers that say no."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import string
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.uplink.base import TlsOptions, UplinkMisconfigured, UplinkOptions
from edge.uplink.tls import tls_context
from firmware_sim.tcp_proxy import DEAF, GOOD, Road, TcpProxy
from tests.edge.buffer.material import reading, scan, stamp
from tests.edge.uplink.conftest import run_gateway
from tests.edge.uplink.fake_cloud import FakeCloud
from tests.edge.uplink.tls_broker import Authority, TlsBroker

UP, DOWN, BOTH = {"up": DEAF}, {"down": DEAF}, {"up": DEAF, "down": DEAF}


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
@pytest.mark.parametrize("deaf", [UP, DOWN, BOTH], ids=["up", "down", "both"])
async def test_a_silent_link_is_noticed_and_nothing_is_lost(
    tmp_path: Path, broker: Any, cloud: FakeCloud, deaf: dict[str, Road], busy: bool
) -> None:
    async with TcpProxy("127.0.0.1", broker.port) as line, run_gateway(tmp_path, line.port, keepalive_s=1) as gateway:
        await gateway.produce(3)
        await gateway.all_released()
        for way, road in deaf.items():
            setattr(line, way, road)
        began = time.monotonic()
        while gateway.uplink.state().connected:
            assert time.monotonic() - began < 10
            if busy:
                await gateway.produce(1)
            await asyncio.sleep(0.1)
        noticed_s = time.monotonic() - began
        assert "link is silent" in gateway.uplink.state().last_error
        line.change(GOOD)
        await gateway.produce(3)
        await gateway.all_released(20)
        assert line.accepted >= 2
    assert noticed_s < 5, "two patiences of 1 s, and what a busy machine takes; 8 s at the default of 4 s"
    assert cloud.contents() == Counter(reading(n) for n in range(gateway.produced))


async def test_a_link_that_was_only_late_goes_on(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    async with TcpProxy("127.0.0.1", broker.port) as line, run_gateway(tmp_path, line.port) as gateway:
        await gateway.produce(1)
        await gateway.all_released()
        line.change(Road(hold=True))
        await gateway.produce(3)
        await asyncio.sleep(3)
        line.change(GOOD)
        await gateway.all_released()
        assert gateway.uplink.state().counts["connections"] == 1


async def test_a_slow_link_is_not_taken_for_a_dead_one(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    """One pack takes longer to arrive than a silent link is granted, and many of them wait behind it."""
    rng = random.Random(4)
    letters = string.ascii_letters + string.digits
    noise = [msgspec.structs.replace(scan(n), code="".join(rng.choices(letters, k=1000))) for n in range(150)]
    async with (
        TcpProxy("127.0.0.1", broker.port) as line,
        run_gateway(tmp_path, line.port, keepalive_s=1, max_readings=10_000) as gateway,
    ):
        await gateway.until(lambda: gateway.uplink.state().connected)
        line.up = Road(bytes_per_s=10_000)
        await gateway.buffer.append(noise)
        await gateway.buffer.seal(stamp(1))
        assert gateway.buffer.state().unsent_bytes / gateway.buffer.state().unsent_packs > 2.5 * 10_000
        gateway.uplink.notify()
        await gateway.all_released(60)
        assert gateway.uplink.state().counts["connections"] == 1
    assert max(cloud.copies.values()) <= 2


async def test_flapping_loses_nothing(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    async with TcpProxy("127.0.0.1", broker.port) as line, run_gateway(tmp_path, line.port, keepalive_s=1) as gateway:
        for at in range(8):
            await gateway.produce(5)
            await asyncio.sleep(0.3)
            (line.cut, line.reset)[at % 2]()
            await gateway.produce(5)
            await asyncio.sleep(0.3)
        await gateway.all_released(60)
    assert cloud.contents() == Counter(reading(n) for n in range(gateway.produced))


async def test_a_cloud_that_says_nothing_is_shown_and_no_reason_to_reconnect(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    cloud.mute = True
    async with run_gateway(tmp_path, broker.port, keepalive_s=1) as gateway:
        assert gateway.uplink.state().unanswered_s == 0
        await gateway.produce(2)
        await gateway.until(lambda: gateway.uplink.state().unanswered_s > 4)
        assert gateway.uplink.state().counts["connections"] == 1
        cloud.mute = False
        await gateway.produce(1)
        await gateway.all_released(40)
        assert gateway.uplink.state().unanswered_s == 0


async def test_a_loop_is_never_blocked_by_a_broker_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        async with run_gateway(tmp_path, deaf.getsockname()[1]) as gateway:
            slowest = 0.0
            for _ in range(40):
                began = time.monotonic()
                await asyncio.sleep(0.01)
                slowest = max(slowest, time.monotonic() - began)
            await gateway.produce(1)
            assert not gateway.uplink.state().connected
        assert slowest < 0.3


@pytest.fixture
def tls_broker(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[TlsBroker]:
    running = TlsBroker(tmp_path / "tls", free_port())
    running.start()
    yield running
    running.stop()


async def test_tls_with_certificates_connects(tmp_path: Path, tls_broker: TlsBroker) -> None:
    async with run_gateway(tmp_path, tls_broker.port, tls=tls_broker.options("gw-1")) as gateway:
        await gateway.produce(1)
        await gateway.until(lambda: gateway.uplink.state().counts.get("packs_sent", 0) == 1)
        assert gateway.buffer.state().unsent_packs == 1


async def test_a_certificate_of_another_gateway_is_told_by_the_broker_and_shown(
    tmp_path: Path, tls_broker: TlsBroker
) -> None:
    async with run_gateway(tmp_path, tls_broker.port, tls=tls_broker.issue("gw-2")) as gateway:
        await gateway.produce(1)
        await gateway.until(lambda: "authorized" in gateway.uplink.state().last_error.lower())
        assert gateway.uplink.state().counts["refused_by_broker"] >= 1
        assert gateway.buffer.state().unsent_packs == 1


async def test_a_broker_of_another_authority_is_not_trusted(tmp_path: Path, tls_broker: TlsBroker) -> None:
    other = tmp_path / "other-ca.pem"
    Authority("other").write(other)
    async with run_gateway(tmp_path, tls_broker.port, tls=TlsOptions(ca=str(other))) as gateway:
        await gateway.until(lambda: "certificate verify failed" in gateway.uplink.state().last_error)


async def test_a_broker_that_lets_nobody_in_is_shown(tmp_path: Path, free_port: Callable[[], int]) -> None:
    config = tmp_path / "mosquitto.conf"
    port = free_port()
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\nuser root\n")
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/sbin")
    assert program is not None
    running = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with run_gateway(tmp_path, port) as gateway:
            await gateway.until(lambda: "refused the connection" in gateway.uplink.state().last_error)
    finally:
        running.terminate()
        running.wait(10)


def test_unreadable_certificates_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    for options in (TlsOptions(ca=str(tmp_path / "no.pem")), TlsOptions(ca=str(tmp_path / "bad.pem"))):
        with pytest.raises(UplinkMisconfigured, match=options.ca):
            tls_context(options)


@pytest.mark.parametrize(
    "named", [{"host": ""}, {"port": 0}, {"window": 5000}, {"retry_s": 0}, {"backfill_readings_per_s": 0}]
)
def test_senseless_options_are_refused_by_name(named: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(named))):
        UplinkOptions(**({"host": "h", "cloud_key": "k"} | named))


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(ValueError, match="both or none"):
        TlsOptions(certificate="only.pem")
