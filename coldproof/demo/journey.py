"""The course of the demonstration: start everything, play two days, break what breaks in the field, take stock."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from cloud.auth.people import Person
from cloud.db.engine import open_engine, reading, sqlite_url, writing
from cloud.review import submissions
from coldproof.demo import site
from coldproof.demo.account import Window
from coldproof.demo.broker import LocalBroker, free_port
from coldproof.demo.count import accounts, last_answer_s
from coldproof.demo.pace import PaceMaker
from coldproof.demo.report import Report, has_arrived, report
from coldproof.demo.site import SignIn
from coldproof.demo.stage import Stage
from firmware_sim import gateway_config
from firmware_sim import scenario as scenarios
from firmware_sim.devices.log import PRODUCED_NAME
from firmware_sim.machinery import DEVICES_NAME
from firmware_sim.parts import DevicePlace
from firmware_sim.run import timeline
from firmware_sim.scenario import Scenario, ScenarioError
from standards.gs1 import scan as gs1_scan

SLOW = 20.0  # the pace while something is broken: two dark seconds are forty of the journey's, less than a poll
JOURNEY_S = 110.0
BROKER_DOWN_S = 4.0
REPLY_S = 0.15  # an answer on the wire, and its way through the gateway to the commit window
KILLED = "gw-kho-01"
READY_S = 60.0
DRAIN_S = 45.0
LEAD_MS = 48 * 3_600_000


class Options(msgspec.Struct, frozen=True):
    """What a person may choose. web_port 0: any free one."""

    folder: Path
    web_port: int = 0
    seed: int = 1
    scenario: str = "demo"


class Tell(msgspec.Struct, frozen=True):
    """How the demonstration speaks. step: something happened; progress: share of the journey played, 0–1."""

    step: Callable[[str], None]
    progress: Callable[[float], None]


class Show:
    """One running demonstration. `open` starts it, `play` runs the journey, `live` goes on until interrupted."""

    def __init__(self, options: Options, tell: Tell) -> None:
        site.prepare(options.folder)
        self._options = options
        self._tell = tell
        self._folder = options.folder.absolute()
        self._scenario = scenarios.load(scenarios.find(options.scenario))
        self._lot = _first_lot(self._scenario)
        self._windows: dict[str, list[Window]] = {}
        self._stage = Stage(self._folder)
        self._broker = LocalBroker(self._folder, free_port())
        self._engine: Engine = open_engine(sqlite_url(self._folder / "cloud" / "cloud.db"))
        self._pace: PaceMaker
        self.sign_ins: list[SignIn] = []
        self.url = f"http://127.0.0.1:{options.web_port or free_port()}"

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.clear()
        self._broker.stop()
        self._engine.dispose()

    def open(self) -> None:
        """Start broker, devices, cloud and gateways, and wait until each is ready. Raises StageError, BrokerError."""
        self._broker.start()
        self._tell.step(f"broker: {self._broker.name} on 127.0.0.1:{self._broker.port}")
        self._pace = PaceMaker(self._folder / "time.json", journey_s=LEAD_MS / 1000 / SLOW, lead_ms=LEAD_MS)
        self._start_devices()
        self._start_cloud()
        self._start_gateways()
        self._tell.step(f"cloud: {self.url}")

    def play(self, tell: Tell) -> Report:
        """Play the two days with both faults and take stock. Raises StageError."""
        self._tell = tell
        fast = 1.0 + (LEAD_MS - (self._pace.now_ms() - self._pace.origin_ms)) / 1000 / JOURNEY_S
        self._pace.change(fast)
        self._until(0.30)
        self._stop_broker(fast)
        self._until(0.52)
        self._kill_gateway(fast)
        self._until(1.0)
        self._tell.step("simulated time has met the clock on the wall")
        report_ = self._take_stock()
        self._hand_in(report_)
        return report_

    def live(self) -> None:
        """Go on in real time until interrupted. Raises StageError when a process ends on its own."""
        while True:
            self._stage.check()
            time.sleep(0.5)

    def _start_devices(self) -> None:
        time_file = str(self._folder / "time.json")
        words = ["sim", "run", self._options.scenario, "--dir", str(self._devices), "--time", time_file]
        self._stage.start("devices", *words, "--seed", str(self._options.seed))
        ready = self._devices / DEVICES_NAME
        self._stage.wait_for("devices", ready.exists, within_s=READY_S)
        self._tell.step(f"devices: {len(self._scenario.device)} simulated, on serial lines and TCP")

    def _start_cloud(self) -> None:
        registry_file = scenarios.find(self._options.scenario).with_suffix(".registry.toml")
        self.sign_ins = site.open_cloud(self._folder, self._engine, registry_file, int(self._pace.now_ms()))
        web_port = int(self.url.rpartition(":")[2])
        config = site.write_cloud(self._folder, broker_port=self._broker.port, web_port=web_port)
        self._stage.start("cloud", "cloud", "serve", str(config))
        self._stage.wait_for("cloud", self._cloud_answers, within_s=READY_S)

    def _start_gateways(self) -> None:
        places = msgspec.json.decode((self._devices / DEVICES_NAME).read_bytes(), type=dict[str, DevicePlace])
        devices = gateway_config.gateway_configs(self._scenario, places)
        for name, tables in devices.items():
            config = site.write_gateway(self._folder, name, tables, broker_port=self._broker.port)
            site.introduce_gateway(self._engine, config.parent, name, int(self._pace.now_ms()))
            self._stage.start(name, "edge", "run", str(config))
        for name in devices:
            ready = self._folder / name / "data" / "status.json"
            self._stage.wait_for(f"gateway {name}", ready.exists, within_s=READY_S)
        self._tell.step(f"gateways: {', '.join(devices)}")

    def _stop_broker(self, fast: float) -> None:
        self._pace.change(SLOW)
        self._broker.stop()
        self._tell.step(f"the broker is down for {BROKER_DOWN_S:.0f} s …")
        self._hold(BROKER_DOWN_S)
        self._broker.start()
        self._tell.step("… and back: what was measured meanwhile is sent now")
        self._pace.change(fast)

    def _kill_gateway(self, fast: float) -> None:
        self._pace.change(SLOW)
        status = self._folder / KILLED / "data" / "status.json"
        killed_s = self._stage.kill(KILLED)
        status.unlink(missing_ok=True)
        last_s = last_answer_s(self._devices / PRODUCED_NAME, KILLED)  # a stalled disk holds up polls, not answers
        window_s = site.COMMIT_WINDOW_MS / 1000 + REPLY_S
        self._windows.setdefault(KILLED, []).append((min(last_s, killed_s) - window_s, killed_s))
        self._tell.step(f"gateway {KILLED} was killed (SIGKILL) …")
        self._stage.start_again(KILLED)
        self._stage.wait_for(f"gateway {KILLED}", status.exists, within_s=READY_S)
        self._tell.step("… and is back, with all it had accepted")
        self._pace.change(fast)

    def _until(self, share: float) -> None:
        """Wait until that share of the two days has been played."""
        goal_ms = self._pace.origin_ms + share * LEAD_MS if share < 1 else None
        while (self._pace.now_ms() < goal_ms) if goal_ms else (self._pace.meets_wall_in_s() > 0):
            self._stage.check()
            self._tell.progress(min(1.0, (self._pace.now_ms() - self._pace.origin_ms) / LEAD_MS))
            time.sleep(0.2)
        self._tell.progress(share)

    def _hold(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._stage.check()
            time.sleep(0.1)

    def _take_stock(self) -> Report:
        """Wait until the record has what the devices gave, or the time for it is over; then count."""
        due = len(timeline(self._scenario))
        deadline = time.monotonic() + DRAIN_S
        while True:
            self._stage.check()
            now_ms = int(self._pace.now_ms())
            with reading(self._engine) as conn:
                values, scans = accounts(self._devices / PRODUCED_NAME, conn, self._windows)
                complete = not values.lost and not scans.lost and scans.produced == due
                complete = complete and has_arrived(conn, *self._lot, now_ms)
                if complete or time.monotonic() > deadline:
                    return report(conn, *self._lot, readings=values, scans=scans, now_ms=now_ms, base_url=self.url)
            time.sleep(0.5)

    def _hand_in(self, found: Report) -> None:
        """The operator submits the lot, so that an official finds it waiting."""
        operator = self.sign_ins[0]
        person = Person(operator.login, operator.login, operator.role)
        with writing(self._engine) as conn:
            submissions.submit(conn, found.gtin, found.lot, by=person, now_ms=int(self._pace.now_ms()))

    @property
    def _devices(self) -> Path:
        return self._folder / "devices"

    def _cloud_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:  # noqa: S310 - our own loopback
                return bool(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            return error.code == 503  # it answers, and says what is not well yet
        except OSError:
            return False


def _first_lot(scenario: Scenario) -> tuple[str, str]:
    """(GTIN-14, lot) of the first label scanned: the lot whose journey is told."""
    for _, _, code, symbology in timeline(scenario):
        label = gs1_scan.parse(code, symbology)
        if label.gtin is not None and label.lot is not None:
            return label.gtin, label.lot
    raise ScenarioError(f"scenario {scenario.name}: no label with GTIN and lot is ever scanned")
