"""A real mosquitto on the configuration we ship, certificates for whoever needs one, and clients that tell all."""

from __future__ import annotations

import datetime
import gc
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.enrol import authority as ca
from cloud.enrol import broker
from cloud.enrol.authority import Authority, Revoked
from cloud.enrol.broker import BrokerFiles, BrokerPlan
from coldproof.demo.broker import free_port

SECURE_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
QUIET_S = 0.4  # long enough for loopback to have brought what was going to come
SOON_S = 10.0


def until(claim: Callable[[], bool], what: str = "it never happened") -> None:
    """Wait for a claim to become true."""
    deadline = time.monotonic() + SOON_S
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class SecureBroker:
    """Mosquitto as shipped, on two free ports of loopback."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, *, data_dir: Path | None = None) -> None:
        self.folder = folder
        self.data_dir = data_dir or folder / "data"
        self.port, self.ingest_port = free_port(), free_port()
        self.authority = ca.load_or_create(self.data_dir, now_ms())
        self.plan = BrokerPlan(
            folder=folder / "broker",
            state=folder / "state",
            hosts=[self.host],
            port=self.port,
            ingest_port=self.ingest_port,
            listen=self.host,
            user="root" if os.geteuid() == 0 else "mosquitto",
        )
        self.files: BrokerFiles = self._write([])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path=SECURE_PATH)
        assert program is not None
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", str(self.files.config)], stdout=log, stderr=log)
        until(lambda: _takes_connections(self.ingest_port), "mosquitto does not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    def reload(self) -> None:
        """What `systemctl reload mosquitto` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        time.sleep(QUIET_S)

    def revoke(self, *serials: int) -> None:
        """Put certificates on the list and have the broker read it."""
        revoked = ca.revocation_list(self.authority, [Revoked(one, now_ms()) for one in serials], now_ms=now_ms())
        broker.write_for_broker(self.files.revoked, revoked)
        self.reload()

    def certificate(
        self,
        name: str,
        *,
        authority: Authority | None = None,
        issued_ms: int | None = None,
        lifetime: datetime.timedelta = datetime.timedelta(days=1),
    ) -> Link:
        """A certificate for `name`, by our authority unless another one is given."""
        key = ca.new_key()
        at_ms = now_ms() if issued_ms is None else issued_ms
        signer = authority or self.authority
        made = ca.issue_client(signer, name, key.public_key(), now_ms=at_ms, lifetime=lifetime)
        path = self.folder / f"{name}-{made.serial_number:x}.pem"
        ca.write_key_and_certificate(path, key, made)
        return Link(path, made.serial_number)

    def _write(self, revoked: list[Revoked]) -> BrokerFiles:
        listed = ca.revocation_list(self.authority, revoked, now_ms=now_ms())
        return broker.write(self.plan, self.authority, data_dir=self.data_dir, revoked=listed, now_ms=now_ms())


class Link:
    """A certificate with its key in one file."""

    def __init__(self, path: Path, serial: int) -> None:
        self.path = path
        self.serial = serial


class Client:
    """An MQTT client that keeps everything it hears. `connected` after a CONNACK that says yes."""

    def __init__(
        self,
        port: int,
        *,
        trust: Path,
        link: Path | None,
        client_id: str,
        protocol: MQTTProtocolVersion = V5,
        will: tuple[str, bytes] | None = None,
        username: str | None = None,
    ) -> None:
        self.connected = False
        self.over = False
        self.said: dict[str, Any] = {}
        self.pubacks: dict[int, str] = {}
        self.heard: list[tuple[str, bytes]] = []
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False
        )
        client.tls_set(str(trust), None if link is None else str(link))
        if username is not None:
            client.username_pw_set(username, "x")
        if will is not None:
            client.will_set(*will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = lambda _c, _u, mid, reason, _p: self.pubacks.__setitem__(mid, str(reason))
        client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self.subscribed = False
        self._client = client
        try:
            client.connect("127.0.0.1", port)
        except OSError:
            self.over = True
            return
        client.loop_start()
        until(lambda: self.connected or self.over)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """The broker's word on a publish at QoS 1."""
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        until(lambda: mid in self.pubacks, "no PUBACK")
        return self.pubacks[mid]

    def subscribe(self, topic: str) -> None:
        self.subscribed = False
        self._client.subscribe(topic, 1)
        until(lambda: self.subscribed, "no SUBACK")

    def break_off(self) -> None:
        """The line breaks, so that the last will is due."""
        opened = self._client.socket()
        assert opened is not None
        opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        gc.collect()  # the library leaves the socket of a failed handshake to the collector

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.over = True
        else:
            self.said = {} if properties is None else properties.json()
            self.connected = True

    def _on_disconnect(self, *_: Any) -> None:
        self.over = True
        self.connected = False


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
