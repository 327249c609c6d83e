"""A broker on loopback for the demonstration and the tests: mosquitto where found, else one from the package index.

Loopback, anonymous and without persistence: nothing here is meant for a network. deploy/ holds what is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_WITHIN_S = 15.0
STOP_WITHIN_S = 10.0

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 1000
max_queued_messages 100000
persistence false
"""

# rumqttd keeps a commit log of segments in memory: small ones, or it grows to hundreds of megabytes.
_IOTCORE = """\
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 4194304
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 524288
max_inflight_count = 100
dynamic_filters = true
"""


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerError(RuntimeError):
    """No broker could be started; says why and what to do."""


class LocalBroker:
    """One broker process that can be stopped, killed and started again on the same port."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, port: int, *, prefer: str = "mosquitto") -> None:
        mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "broker.log"
        if mosquitto is not None and prefer == "mosquitto":
            self.name = "mosquitto"
            config = folder / "broker.conf"
            as_root = "user root\n" if os.geteuid() == 0 else ""  # else it drops its rights and cannot read its file
            config.write_text(_MOSQUITTO.format(port=port) + as_root)
            self._command = [mosquitto, "-c", str(config)]
        elif importlib.util.find_spec("iotcore") is not None:
            self.name = "iotcore"
            config = folder / "broker.toml"  # it knows the format by the ending
            config.write_text(_IOTCORE.format(port=port))
            self._command = [sys.executable, "-c", _RUN_IOTCORE, str(config)]
        else:
            raise BrokerError("no MQTT broker: install Debian's `mosquitto`, or `pip install iotcore`")

    def start(self) -> None:
        """Start the broker and wait until it takes connections. Raises BrokerError."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BrokerError(f"{self.name} ended with status {self._process.returncode}: see {self._log}")
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.02)
        self.kill()
        raise BrokerError(f"{self.name} takes no connections on port {self.port}: see {self._log}")

    def stop(self) -> None:
        """Ask it to end, and wait. Harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Pull its plug."""
        self._end(signal.SIGKILL)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_WITHIN_S)


_RUN_IOTCORE = """
import signal, sys, iotcore
signal.signal(signal.SIGTERM, signal.SIG_DFL)
iotcore.Broker(config_path=sys.argv[1]).run_forever()
"""
