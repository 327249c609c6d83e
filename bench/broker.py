"""The brokers of the bench: mosquitto as a site runs it, to be stopped, killed and emptied."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.port import quiet_port
from coldproof.demo.broker import BrokerError, LocalBroker

_STORE = """
persistence true
persistence_location {folder}/
autosave_interval 1
"""


class Mosquitto(LocalBroker):
    """Plain MQTT for everybody, for the peer; sessions and queues are kept on the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, quiet_port())
        if self.name != "mosquitto":
            raise BrokerError("the fault bench needs mosquitto: install Debian's `mosquitto`")
        self._store = folder / "broker-store"
        self._store.mkdir(exist_ok=True)
        config = folder / "broker.conf"
        text = config.read_text().replace("persistence false\n", "")
        config.write_text(text + _STORE.format(folder=self._store))

    @property
    def pid(self) -> int:
        """Of the running broker. Raises BrokerError."""
        if self._process is None:
            raise BrokerError("the broker does not run")
        return self._process.pid

    def forget(self) -> None:
        """Take away what a stopped broker kept: sessions, subscriptions, queues, retained letters."""
        for file in self._store.iterdir():
            file.unlink()


class Shipped(Mosquitto):
    """The configuration we ship: mutual TLS, client id and topics bound to the certificate, limited queues.

    cloud_tables: what `coldproof cloud broker-config` says belongs into the configuration of the cloud.
    """

    def __init__(self, folder: Path, cloud_data: Path) -> None:
        super().__init__(folder)
        files, ingest_port = folder / "broker", quiet_port()
        words = ["--port", str(self.port), "--ingest-port", str(ingest_port), "--listen", "127.0.0.1"]
        words += ["--state", str(self._store), "--user", "root" if os.geteuid() == 0 else "mosquitto"]
        command = [sys.executable, "-m", "coldproof.main", "cloud", "broker-config", str(files), *words]
        made = subprocess.run([*command, "--data-dir", str(cloud_data)], capture_output=True, text=True, check=False)
        if made.returncode:
            raise BrokerError(f"`coldproof cloud broker-config` failed: {made.stderr.strip()}")
        _, _, self.cloud_tables = made.stdout.partition("[broker]")
        self.cloud_tables = "[broker]" + self.cloud_tables
        self._command = [self._command[0], "-c", str(files / "mosquitto.conf")]
