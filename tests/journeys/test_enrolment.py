"""From nothing to receipts with the very command lines of docs/: broker, code, enrolment, a new key, revocation.

A command is looked up in the page by its first words and run as it stands there, with this test's folders and ports in
the place of a machine's.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, commands

CLOUD, INSTALLER = ROOT / "docs/cloud.md", ROOT / "docs/installer.md"
NAME = "gw-kho-01"
SOON_S = 40.0
PROGRAM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Site:
    """One machine with a broker, a cloud and a gateway, each of them a process."""

    def __init__(self, folder: Path, free_port: Callable[[], int]) -> None:
        self.folder = folder
        self.port, self.ingest_port, self.web_port = free_port(), free_port(), free_port()
        self.cloud_toml, self.gateway_toml = folder / "cloud.toml", folder / "gateway.toml"
        self.edge_data = folder / "edge"
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self, *words: object, status: int = 0) -> str:
        """One command to its end; what it printed."""
        done = subprocess.run(_coldproof(*words), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def shown(self, page: Path, *begin: str) -> list[str]:
        """The first command line of a page that begins like this, for this site."""
        found = next(words for words in commands(page) if words[: len(begin)] == list(begin))
        places = {
            "/etc/coldproof/cloud.toml": self.cloud_toml,
            "cloud.toml": self.cloud_toml,
            "/etc/coldproof/gateway.toml": self.gateway_toml,
            "/etc/mosquitto/coldproof": self.folder / "broker",
            "broker.example.vn": "127.0.0.1",
        }
        return [str(places.get(word, word)) for word in found]

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)

    def accepted(self) -> int:
        """How many packs the cloud has taken since its start."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/healthz", timeout=5) as answer:
                return int(json.load(answer)["counters"]["accepted"])
        except (OSError, KeyError):
            return -1

    def rules(self) -> str:
        """What the cloud found out about its broker."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/healthz", timeout=5) as answer:
            return str(json.load(answer)["parts"]["broker rules"]["state"])

    def status(self) -> dict[str, object]:
        done = subprocess.run(
            _coldproof("edge", "status", self.gateway_toml, "--json"), capture_output=True, check=False
        )
        uplink: dict[str, object] = json.loads(done.stdout)["uplink"] if done.stdout else {}
        return uplink


def _coldproof(*words: object) -> list[str]:
    return [sys.executable, "-m", "coldproof.main", *map(str, words)]


def _until(claim: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def site(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Site]:
    made = Site(tmp_path, free_port)
    yield made
    made.stop()


@pytest.mark.timeout(240)
@pytest.mark.journey
def test_a_gateway_is_enrolled_changes_its_key_and_is_revoked(site: Site):
    mosquitto = shutil.which("mosquitto", path=PROGRAM_PATH)
    if mosquitto is None:
        pytest.skip("no mosquitto: install Debian's `mosquitto`")
    broker_dir = site.folder / "broker"
    head = f'[cloud]\ndata_dir = "data"\n[web]\nport = {site.web_port}\n'
    enrol = f'[enrol]\nbroker_port = {site.port}\nbroker_dir = "broker"\n'
    site.cloud_toml.write_text(head + enrol)

    user = "root" if os.geteuid() == 0 else "mosquitto"
    ours = ["--port", site.port, "--ingest-port", site.ingest_port, "--state", site.folder / "state", "--user", user]
    printed = site.run(*site.shown(CLOUD, "cloud", "broker-config"), *ours, "--listen", "127.0.0.1")
    site.cloud_toml.write_text(head + enrol + printed[printed.index("[broker]") :])
    broker = site.start("broker", [mosquitto, "-c", str(broker_dir / "mosquitto.conf")])
    _until(lambda: _listens(site.ingest_port), "mosquitto does not start")
    site.start("cloud", _coldproof(*site.shown(CLOUD, "cloud", "serve")))
    _until(lambda: site.accepted() == 0, "the cloud does not start")

    _until(lambda: "foreign topic: refused" in site.rules(), "the broker is not probed")

    code = site.run(*site.shown(CLOUD, "cloud", "gateway", "invite")).strip()
    words = [code if word == "CODE" else word for word in site.shown(INSTALLER, "edge", "enrol")]
    words += ["--data-dir", str(site.edge_data)]
    assert f"{NAME}: enrolled" in site.run(*words)
    assert "leads there already" in site.run(*words)  # the answer may have been lost
    assert "link until 20" in site.run(*site.shown(CLOUD, "cloud", "gateway", "list"))

    site.gateway_toml.write_text(site.gateway_toml.read_text() + DEVICE)
    (site.folder / "log.csv").write_text(_log(600))
    site.run(*site.shown(INSTALLER, "edge", "check"))
    site.start("gateway", _coldproof("edge", "run", site.gateway_toml))
    _until(lambda: site.accepted() > 0, "no pack comes")
    _until(lambda: site.status().get("last_receipt_ms") is not None, "no receipt comes")

    site.run(*site.shown(INSTALLER, "edge", "rotate-key"))
    _until(lambda: not (site.edge_data / "gateway-key-next.pem").exists(), "the key is not changed")
    shown = site.run("cloud", "gateway", "show", NAME, "--config", site.cloud_toml).splitlines()
    assert sorted(line.split("\t")[2].split(" ")[0] for line in shown if line.startswith("key")) == ["changed", "good"]
    before = site.accepted()
    _until(lambda: site.accepted() > before, "nothing comes signed by the next key")

    assert "link certificate" in site.run(*site.shown(CLOUD, "cloud", "gateway", "revoke"))
    broker.send_signal(signal.SIGHUP)
    time.sleep(1)
    site.run(*site.shown(CLOUD, "cloud", "gateway", "disconnect"))
    _until(lambda: site.status().get("connected") is False, "the gateway is still connected")
    assert "not the cloud's" not in site.run(*words, status=2)  # the used code helps nobody


DEVICE = """
[seal]
after_s = 1.0
[[device]]
name = "logger"
driver = "replay"
file = "log.csv"
time_columns = ["Time"]
time_zone = "UTC"

[[device.column]]
column = "T1"
point = "air"
unit = "CEL"
"""


def _log(seconds: int) -> str:
    """A row for every second from now on, so that there is always something to send."""
    begin = datetime.datetime.now(datetime.UTC)
    rows = (begin + datetime.timedelta(seconds=second) for second in range(seconds))
    return "Time,T1\n" + "".join(f"{row:%Y-%m-%d %H:%M:%S},-18.5\n" for row in rows)
