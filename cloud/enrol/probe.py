"""Does the broker protect gateways from each other? Asked by trying, not by reading its files.

With a certificate of our own that has a gateway's rights (its name has a dot, so no gateway can have it) the probe
looks at the limits the broker announces, publishes where it must not, connects under another client id, and connects
without a certificate. What it publishes goes to topics nobody listens to.
"""

from __future__ import annotations

import datetime
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.clock import system_now_ms
from cloud.config import CloudConfig
from cloud.enrol import authority as ca
from cloud.enrol.broker import PACKET_MAX_BYTES
from cloud.errors import CloudError
from cloud.health import PartHealth
from wire.topics import ROOT

STEP_WITHIN_S = 10.0
AGAIN_S, RETRY_S = 3600.0, 5.0
LIFETIME = datetime.timedelta(hours=1)
WINDOW = 54  # messages a gateway has on their way at most: 50 packs and its status
NOT_AUTHORIZED = 135  # MQTT 5.0 §3.4.2.1
DROPPED = "$SYS/broker/publish/messages/dropped"
STRANGER = "probe.stranger"  # a name that is not the probe's

_log = logging.getLogger(__name__)


class Finding(msgspec.Struct, frozen=True):
    """One thing tried. ok: the broker does as it should."""

    what: str
    ok: bool
    detail: str


class NoAnswer(CloudError):
    """The broker cannot be reached, so nothing can be said about it."""


class BrokerProbe:
    """Probes at the start and every hour, and remembers what was found: `run` until `stop`."""

    def __init__(self, config: CloudConfig) -> None:
        self._config = config
        self.state = PartHealth(True, "not probed yet")

    def run(self, stop: threading.Event) -> None:
        """Probe now and then, until `stop` is set."""
        while not stop.is_set():
            try:
                self._become(judge(self._config, probe(self._config)))
                pause_s = AGAIN_S
            except NoAnswer as error:
                self._become(PartHealth(True, f"not probed: {error}"))  # whether it is there, another part says
                pause_s = RETRY_S
            stop.wait(pause_s)

    def _become(self, state: PartHealth) -> None:
        if state != self.state:
            self.state = state
            _log.log(logging.INFO if state.ok else logging.ERROR, "broker probe: %s", state.state)


def judge(config: CloudConfig, findings: list[Finding]) -> PartHealth:
    """What the findings mean. A broker without TLS protects nobody: that is said, and borne with on one machine."""
    wrong = [f"{one.what}: {one.detail}" for one in findings if not one.ok]
    if config.broker.tls is None:
        return PartHealth(True, "NOT PROTECTED: a broker without certificates, for one machine only")
    if wrong:
        return PartHealth(False, f"{'; '.join(wrong)}; see `coldproof cloud broker-config`")
    return PartHealth(True, "; ".join(f"{one.what}: {one.detail}" for one in findings))


def probe(config: CloudConfig) -> list[Finding]:
    """Try the broker's gateway side. Raises NoAnswer."""
    if config.broker.tls is None:
        return []
    if not (config.data_dir / ca.KEY_FILE).exists():
        raise NoAnswer(f"no authority in {config.data_dir}, so the broker's certificates come from elsewhere")
    with _link(config) as link:
        with _connected(config, link) as session:
            findings = [
                *_limits(session.announced),
                _publishes(session, _up(session.name), allowed=True),
                _publishes(session, _up(STRANGER), allowed=False),
                _drops(session),
                _client_id(config, link, session),
            ]
        return [*findings, _without_certificate(config, link)]


class _Link(msgspec.Struct, frozen=True):
    name: str
    trust: Path
    certificate: Path


@contextmanager
def _link(config: CloudConfig) -> Iterator[_Link]:
    """A certificate for an hour, gone from the disk afterwards."""
    now_ms = system_now_ms()
    authority, key = ca.load_or_create(config.data_dir, now_ms), ca.new_key()
    name = ca.probe_name(config.broker.client_id)
    certificate = ca.issue_client(authority, name, key.public_key(), now_ms=now_ms, lifetime=LIFETIME)
    with tempfile.TemporaryDirectory() as folder:
        link = _Link(name, Path(folder) / "ca.pem", Path(folder) / "link.pem")
        link.trust.write_bytes(authority.pem)
        ca.write_key_and_certificate(link.certificate, key, certificate)
        yield link


class _Session:
    """One connection of the probe, and what the broker said in it."""

    def __init__(self, link: _Link, client_id: str, *, certificate: bool = True) -> None:
        self.name = link.name
        self.announced: dict[str, Any] = {}
        self.up, self.down, self.told = threading.Event(), threading.Event(), threading.Event()
        self.dropped: str | None = None
        self.answers: dict[int, int] = {}
        self._answered = threading.Condition()
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = STEP_WITHIN_S
        client.tls_set(str(link.trust), str(link.certificate) if certificate else None)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self.down.set()
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        self.client = client

    def open(self, host: str, port: int) -> bool:
        """Whether the broker took us in. Raises NoAnswer when nobody listens."""
        try:
            self.client.connect(host, port)
        except ConnectionError as error:
            raise NoAnswer(f"broker {host}:{port}: {error}") from error
        except OSError:
            return False  # a handshake that failed
        self.client.loop_start()
        return _first(self.up, self.down)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic: str) -> int | None:
        """The broker's reason code for a publish at QoS 1, None if none came."""
        mid = self.client.publish(topic, b"probe", qos=1).mid
        with self._answered:
            self._answered.wait_for(lambda: mid in self.answers, STEP_WITHIN_S)
            return self.answers.get(mid)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.down.set()
            return
        self.announced = {} if properties is None else properties.json()
        self.up.set()

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        with self._answered:
            self.answers[mid] = reason.value
            self._answered.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.dropped = bytes(message.payload).decode("ascii", "replace")
        self.told.set()


@contextmanager
def _connected(config: CloudConfig, link: _Link) -> Iterator[_Session]:
    session, port = _Session(link, link.name), config.enrol.broker_port
    try:
        if not session.open(config.broker.host, port):
            raise NoAnswer(f"broker {config.broker.host}:{port}: refuses a certificate of our authority")
        yield session
    finally:
        session.close()


def _limits(announced: dict[str, Any]) -> Iterator[Finding]:
    """What CONNACK says; what it leaves out is the protocol's default (MQTT 5.0 §3.2.2.3)."""
    window, packet = announced.get("ReceiveMaximum", 65_535), announced.get("MaximumPacketSize")
    yield Finding("window", window >= WINDOW, f"{window} messages, gateways need {WINDOW}")
    large = packet is None or packet >= PACKET_MAX_BYTES
    yield Finding("largest message", large, f"{packet or 'any'} bytes, packs need {PACKET_MAX_BYTES}")
    for name, what in (
        ("MaximumQoS", "QoS 1"),
        ("RetainAvailable", "retained messages"),
        ("SharedSubscriptionAvailable", "shared subscriptions"),
    ):
        given = bool(announced.get(name, 1))
        yield Finding(what, given, "there" if given else "not there")


def _publishes(session: _Session, topic: str, *, allowed: bool) -> Finding:
    code = session.publish(topic)
    if allowed:
        fine = code is not None and code < 128
        return Finding("own topic", fine, "open" if fine else f"answer {code}: gateways cannot publish")
    fine = code == NOT_AUTHORIZED
    return Finding("foreign topic", fine, "refused" if fine else f"answer {code}: one gateway can speak for another")


def _drops(session: _Session) -> Finding:
    """The broker's own count of messages it dropped: not a fault by itself, gateways send again."""
    session.client.subscribe(DROPPED, 0)
    session.told.wait(STEP_WITHIN_S)
    found = session.dropped
    return Finding("dropped messages", found is not None, "cannot be read" if found is None else found)


def _client_id(config: CloudConfig, link: _Link, session: _Session) -> Finding:
    """Under another client id we must still be ourselves: then our first connection is pushed out by the second."""
    other = _Session(link, STRANGER)
    try:
        bound = not other.open(config.broker.host, config.enrol.broker_port) or session.down.wait(STEP_WITHIN_S)
    finally:
        other.close()
    told = "bound to the certificate" if bound else "free to choose: one gateway can push another out"
    return Finding("client id", bound, told)


def _without_certificate(config: CloudConfig, link: _Link) -> Finding:
    session = _Session(link, STRANGER, certificate=False)
    try:
        refused = not session.open(config.broker.host, config.enrol.broker_port)
    finally:
        session.close()
    return Finding("without certificate", refused, "refused" if refused else "let in")


def _first(good: threading.Event, bad: threading.Event) -> bool:
    """Whether `good` came before `bad`, and in time."""
    step_s, waited_s = 0.02, 0.0
    while waited_s < STEP_WITHIN_S and not bad.is_set():
        if good.wait(step_s):
            return True
        waited_s += step_s
    return good.is_set()


def _up(name: str) -> str:
    return f"{ROOT}/{name}/up/probe"
