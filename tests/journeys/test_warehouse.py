"""A new installer in the simulated warehouse, from docs/commissioning.md only: from `scan` to readings in the cloud.

Every command is looked up in the walk-through, typed as it stands there, and its characters are counted; only the
folder of the simulation and its ports are those of this run. Broker, cloud, gateway and simulation are processes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import select

from cloud.db.engine import open_engine, reading, sqlite_url
from cloud.db.tables import scan
from cloud.telemetry.query import list_series
from firmware_sim.bluez.bus import dbus_daemon
from firmware_sim.scenario import BUILT_IN
from tests.docs.markdown import ROOT, fenced, text_of
from tests.journeys import test_enrolment as enrolment

COMMISSIONING = ROOT / "docs/commissioning.md"
TYPING_MIN_PER_S = 200 / 60  # characters: somebody who is no typist
LIMIT_S = 300.0  # the acceptance: under five minutes of typing
SIMULATION = "/tmp/kho"
SHOWN_HOST = "127.0.0.1:41573"  # the docs' port of the RFID reader
CODE = "00189300000000001013"

READINGS = {"room-1/air", "room-1/humidity", "room-2/air", "core-room-2/air", "tag-chill/temperature"}
READINGS |= {"tag-dock/temperature", "logger-chill/temperature"}
SCANS = {"scanner-packing/scan", "scanner-room-1/scan", "gate-dock/pass", "table-packing/pass"}

#: What each device is bound by: its name → words in its finding.
FOUND = {
    "room-1": "unit 1, 9600 8N1",
    "room-2": "unit 2, 9600 8N1",
    "logger-chill": "dev/logger-chill",
    "scanner-packing": "dev/scanner-packing",
    "scanner-room-1": "dev/scanner-room-1",
    "table-packing": "dev/table-packing",
    "gate-dock": "RFID reader (LLRP)",
    "core-room-2": "28-0316a2795bff",
    "tag-chill": "CB:B8:33:4C:88:4F",
    "tag-dock": "A4:C1:38:8D:18:B2",
}


class Typed(NamedTuple):
    """What was typed, and what came."""

    out: str
    err: str


class Installer:
    """Somebody at a terminal in the folder of the gateway's configuration."""

    def __init__(self, site: enrolment.Site, simulation: Path, host: str) -> None:
        self.characters = len(line_of("alias", "devices=coldproof edge devices")) + 1
        self._site = site
        self._places = {SHOWN_HOST: host}
        self._simulation = str(simulation)

    def type(self, *begin: str) -> Typed:
        """The one command of the walk-through that begins so, to its end."""
        line = line_of(*begin)
        self.characters += len(line) + 1
        return self._run(self._words(line))

    def bind(self, name: str, number: int) -> None:
        """The walk-through's command for this device, with its number in this scan."""
        (line,) = [line for line in LINES if f" -n {name} " in line]
        words = self._words(line)
        words[4] = str(number)
        self.characters += len(line) + 1
        self._run(words)

    def pull_the_trigger(self, scanner: str) -> None:
        """Scan something, as soon as somebody listens; nothing is typed for that at a real site."""
        line = line_of("coldproof", "sim", "scan", SIMULATION, scanner)
        self._site.start(scanner, enrolment._coldproof(*self._words(line)))

    def _run(self, words: list[str]) -> Typed:
        done = subprocess.run(
            enrolment._coldproof(*words),
            cwd=self._site.folder, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return Typed(done.stdout, done.stderr)

    def _words(self, line: str) -> list[str]:
        """What is behind `coldproof`, for this run."""
        words = shlex.split(line)
        words = ["edge", "devices", *words[1:]] if words[0] == "devices" else words[1:]
        return [self._places.get(word, word).replace(SIMULATION, self._simulation) for word in words]


def walk_through() -> list[str]:
    """The lines to type, from the section of the page."""
    section = text_of(COMMISSIONING).partition("\n## Try it first")[2].partition("\n## ")[0]
    return [line for block in fenced(section, "sh") for line in block.splitlines()]


LINES = walk_through()


def line_of(*begin: str) -> str:
    """The one line that begins with these words."""
    (found,) = [line for line in LINES if shlex.split(line)[: len(begin)] == list(begin)]
    return found


@pytest.fixture
def simulation() -> Iterator[Path]:
    """A folder with a short name: sockets are in it."""
    folder = Path(tempfile.mkdtemp(prefix="kho-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def site(simulation: Path, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[enrolment.Site]:
    """The folder of the simulation stays until the simulation has stopped and taken its own sockets away."""
    made = enrolment.Site(tmp_path, free_port)
    yield made
    made.stop()


@pytest.mark.timeout(400)
@pytest.mark.journey
@pytest.mark.skipif(dbus_daemon() is None, reason="dbus-daemon is not installed")
def test_from_scan_to_first_readings_in_the_cloud(
    site: enrolment.Site, simulation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(site)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={simulation}/bus.sock")
    host = simulate(site, simulation)
    site.start("gateway", enrolment._coldproof("edge", "run", site.gateway_toml))
    enrolment._until((site.edge_data / "control.sock").exists, "the gateway does not start")

    installer = Installer(site, simulation, host)
    for scanner in ("scanner-packing", "scanner-room-1"):
        installer.pull_the_trigger(scanner)
    begun_s = time.monotonic()
    seen = installer.type("devices", "scan")
    scan_s = time.monotonic() - begun_s
    findings = findings_of(seen.out)
    assert len(findings) == 12, seen.out
    assert faults_of(findings) == {"unit 3, 9600 8N1": "probe_fault", "unit 4, 19200 8N1": "other_settings"}
    assert "12 findings, 12 to bind, 2 with a fault" in seen.err

    for name, words in FOUND.items():
        (number,) = [number for number, text in findings.items() if words in text]
        installer.bind(name, number)
    assert "devices: 10" in installer.type("coldproof", "edge", "check").out
    applied = installer.type("devices", "apply")
    assert "kept as the last good configuration" in applied.out
    installer.type("coldproof", "cloud", "registry", "load")
    for scanner in ("scanner-packing", "scanner-room-1"):
        site.run("sim", "scan", simulation, scanner, CODE)
    enrolment._until(lambda: in_the_cloud(site) >= READINGS | SCANS, "not everything is in the cloud")

    typing_s = installer.characters / TYPING_MIN_PER_S
    print(f"{installer.characters} characters, {typing_s:.0f} s of typing; the scan took {scan_s:.0f} s")
    assert typing_s < LIMIT_S


def enrol(site: enrolment.Site) -> None:
    """What docs/cloud.md and docs/installer.md, steps 1 and 2, have done before."""
    mosquitto = shutil.which("mosquitto", path=enrolment.PROGRAM_PATH)
    if mosquitto is None:
        pytest.skip("no mosquitto: install Debian's `mosquitto`")
    head = f'[cloud]\ndata_dir = "data"\n[web]\nport = {site.web_port}\n'
    head += f'[enrol]\nbroker_port = {site.port}\nbroker_dir = "broker"\n'
    site.cloud_toml.write_text(head)
    user = "root" if os.geteuid() == 0 else "mosquitto"
    ours = ["--port", site.port, "--ingest-port", site.ingest_port, "--state", site.folder / "state", "--user", user]
    shown = site.shown(enrolment.CLOUD, "cloud", "broker-config")
    printed = site.run(*shown, *ours, "--listen", "127.0.0.1")
    site.cloud_toml.write_text(head + printed[printed.index("[broker]") :])
    site.start("broker", [mosquitto, "-c", str(site.folder / "broker" / "mosquitto.conf")])
    enrolment._until(lambda: enrolment._listens(site.ingest_port), "mosquitto does not start")
    site.start("cloud", enrolment._coldproof("cloud", "serve", site.cloud_toml))
    enrolment._until(lambda: site.accepted() == 0, "the cloud does not start")
    known = (BUILT_IN / "warehouse.registry.toml").read_text()
    (site.folder / "registry.toml").write_text(known)
    site.run("cloud", "registry", "load", site.folder / "registry.toml", "--config", site.cloud_toml)
    code = site.run(*site.shown(enrolment.CLOUD, "cloud", "gateway", "invite")).strip()
    words = [code if word == "CODE" else word for word in site.shown(enrolment.INSTALLER, "edge", "enrol")]
    site.run(*words, "--data-dir", str(site.edge_data))


def simulate(site: enrolment.Site, simulation: Path) -> str:
    """Start the warehouse as the walk-through says; host and port of the RFID reader."""
    words = shlex.split(line_of("coldproof", "sim", "run").replace(SIMULATION, str(simulation)))[1:]
    site.start("simulation", enrolment._coldproof(*words))
    log = site.folder / "simulation.log"
    enrolment._until(lambda: "ready" in log.read_text(), "the simulation does not start")
    found = re.search(r"hosts +(127\.0\.0\.1:\d+)", log.read_text())
    assert found is not None
    return found[1]


def findings_of(shown: str) -> dict[int, str]:
    """The findings as they were shown, by number."""
    parts = re.split(r"^ {0,2}(\d{1,3}) {2}(?=\S)", shown, flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def faults_of(findings: dict[int, str]) -> dict[str, str]:
    """Which unit at which setting has which cause."""
    faulty = [text for text in findings.values() if "FAULT" in text]
    return {text.splitlines()[0].partition("/dev/rs485 ")[2]: re.findall(r"FAULT (\w+)", text)[0] for text in faulty}


def in_the_cloud(site: enrolment.Site) -> set[str]:
    """The channels of which there is something in the cloud's database."""
    engine = open_engine(sqlite_url(site.folder / "data" / "cloud.db"))
    try:
        with reading(engine) as conn:
            told = [one.channel for one in list_series(conn)]
            scanned = conn.scalars(select(scan.c.channel).distinct())
            return {*told, *scanned}
    finally:
        engine.dispose()
