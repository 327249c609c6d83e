"""The probe tells a broker that protects gateways from one that doesn't, without pushing anybody out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cloud.config import BrokerConfig, CloudConfig, EnrolConfig, Tls, defaults
from cloud.enrol import probe
from cloud.enrol.probe import BrokerProbe, NoAnswer
from tests.cloud.enrol.secure import Client, SecureBroker, until
from wire.topics import up_pack

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the library's, of failed handshakes

#: Lines of the shipped configuration by what stands in their place, and what the probe must then find.
WEAKER: list[tuple[dict[str, str], str]] = [
    ({"acl_file": ""}, "foreign topic"),
    ({"use_username_as_clientid": ""}, "client id"),
    (
        {
            "require_certificate": "require_certificate false",
            "use_identity_as_username": "",
            "use_username_as_clientid": "",
            "allow_anonymous": "allow_anonymous true",
        },
        "without certificate",
    ),
    ({"max_packet_size": "max_packet_size 100000"}, "largest message"),
    ({"max_inflight_messages": "max_inflight_messages 20"}, "window"),
]


def _config(secure: SecureBroker) -> CloudConfig:
    (worker,) = secure.files.workers
    tls = Tls(worker.trust, worker.link, worker.link)
    broker = BrokerConfig(port=secure.ingest_port, client_id=worker.name, tls=tls)
    enrol = EnrolConfig(broker_port=secure.port)
    return msgspec.structs.replace(defaults(secure.data_dir), broker=broker, enrol=enrol)


def test_shipped_broker_passes(secure: SecureBroker, connect: Callable[..., Client], worker: Client):
    gateway = connect("gw-a")
    config = _config(secure)
    findings = probe.probe(config)
    assert [one.what for one in findings if not one.ok] == []
    assert {"foreign topic", "client id", "without certificate", "dropped messages"} <= {one.what for one in findings}
    assert probe.judge(config, findings).ok
    assert gateway.connected
    assert worker.connected
    assert worker.heard[1:] == []  # at most the probe's word on its own topic, which no gateway has
    gateway.publish(up_pack("gw-a"), b"pack")
    until(lambda: (up_pack("gw-a"), b"pack") in worker.heard)


@pytest.fixture
def weaken(secure: SecureBroker) -> Callable[[dict[str, str]], None]:
    """Starts the broker again with other lines in its configuration."""

    def rewritten(lines: dict[str, str]) -> None:
        secure.stop()
        text = secure.files.config.read_text()
        assert all(f"\n{key} " in text for key in lines)
        changed = [lines.get(line.partition(" ")[0], line) for line in text.splitlines()]
        secure.files.config.write_text("\n".join(changed) + "\n")
        secure.start()

    return rewritten


@pytest.mark.parametrize(("lines", "what"), WEAKER, ids=[what for _, what in WEAKER])
def test_weaker_broker_is_found_out(
    secure: SecureBroker, weaken: Callable[[dict[str, str]], None], lines: dict[str, str], what: str
):
    weaken(lines)
    config = _config(secure)
    findings = probe.probe(config)
    assert what in [one.what for one in findings if not one.ok]
    state = probe.judge(config, findings)
    assert not state.ok
    assert what in state.state
    assert "broker-config" in state.state


def test_broker_without_certificates_is_a_warning(tmp_path: Path):
    state = probe.judge(defaults(tmp_path), probe.probe(defaults(tmp_path)))
    assert state.ok
    assert state.state.startswith("NOT PROTECTED")


def test_missing_broker_is_asked_again(secure: SecureBroker, monkeypatch: pytest.MonkeyPatch):
    secure.stop()
    config, stop = _config(secure), threading.Event()
    with pytest.raises(NoAnswer):
        probe.probe(config)
    monkeypatch.setattr(probe, "RETRY_S", 0.05)
    prober = BrokerProbe(config)
    thread = threading.Thread(target=prober.run, args=[stop])
    thread.start()
    until(lambda: prober.state.state.startswith("not probed: broker 127.0.0.1"))
    secure.start()
    until(lambda: "foreign topic: refused" in prober.state.state)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_certificates_from_elsewhere_are_not_probed(secure: SecureBroker, tmp_path: Path):
    config = msgspec.structs.replace(_config(secure), data_dir=tmp_path / "other")
    with pytest.raises(NoAnswer, match="from elsewhere"):
        probe.probe(config)
    assert not (tmp_path / "other").exists()
