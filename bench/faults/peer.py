"""thingsboard-gateway 3.8.5 as a system under test: its own process, its own sqlite storage, a counting subscriber.

It is set up as its documentation recommends where that matters here: sqlite storage, QoS 1, one range read per
device, packs of 1,000 records, no rate limits; and a keep-alive of 10 s, with which it does better on a silent link
than with its default of 120 s. Installed by `make peer` into a virtual environment of its own (.venv-peer).
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.account import Kept
from bench.counting import Channel
from bench.system import Place
from coldproof.demo.stage import Stage

PEER_PYTHON = Path(__file__).parents[2] / ".venv-peer" / "bin" / "python"
KEEP_ALIVE_S = 10
PACK_RECORDS = 1000
READY_S = 90.0
LOG_NAME = "received.jsonl"


class _Line(msgspec.Struct, frozen=True, gc=False):
    at_ms: int
    device: str
    key: str
    ts: int
    value: int


def is_installed() -> bool:
    """Whether `make peer` has been there."""
    return (PEER_PYTHON.parents[1] / ".installed").exists()


class PeerHouse:
    """A System."""

    name = "thingsboard-gateway"

    def __init__(self, place: Place) -> None:
        self._place = place
        self.folder = place.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stage = Stage(self.folder)
        self._broker_port = place.broker_port
        self._log = self.folder / LOG_NAME
        self._log.touch()
        self._config = self.folder / "config"
        self._config.mkdir()
        self._write(place)

    def start(self) -> None:
        """Subscriber first, then the gateway; return when every channel has come once."""
        self.stage.start_program(
            "subscriber", sys.executable, "-m", "bench.faults.subscriber", str(self._broker_port), str(self._log)
        )
        self.start_gateway()
        self.stage.wait_for("the first readings", lambda: self.count() >= self._place.channels, within_s=READY_S)

    def start_gateway(self) -> None:
        """In its own folder, where it puts logs and data."""
        run = "import os, sys; os.chdir(sys.argv[1]); os.environ['TB_GW_CONFIG_DIR'] = sys.argv[2]; "
        run += "sys.argv[1:] = []; from thingsboard_gateway.tb_gateway import main; main()"
        self.stage.start_program("gateway", str(PEER_PYTHON), "-c", run, str(self.folder), str(self._config))

    def kill_gateway(self) -> float:
        """SIGKILL."""
        return self.stage.kill("gateway")

    def stop_gateway(self) -> None:
        """It knows SIGTERM as any Python program does: it is ended by it."""
        self.stage.stop("gateway")

    def gateway_pid(self) -> int:
        """Of the gateway."""
        return self.stage.pid("gateway")

    def storing_pid(self) -> int:
        """Of the subscriber."""
        return self.stage.pid("subscriber")

    def check(self) -> None:
        """Raise StageError when gateway or subscriber ended on its own."""
        self.stage.check()

    def stored(self) -> Mapping[Channel, list[Kept]]:
        """What was received, per channel, by its own time stamps, as a server would show it."""
        kept: dict[Channel, list[Kept]] = defaultdict(list)
        for line in self._lines():
            kept[f"{line.device}/{line.key}"].append(Kept(line.value, line.ts))
        for values in kept.values():
            values.sort(key=lambda one: one.at_ms)
        return kept

    def count(self) -> int:
        """Readings received, copies included."""
        return self._log.read_bytes().count(b"\n")

    def first_arrival_ms(self, since_ms: int) -> int | None:
        """When the first telemetry was received at or after `since_ms`."""
        return next((line.at_ms for line in self._lines() if line.at_ms >= since_ms), None)

    def close(self) -> None:
        """End gateway and subscriber."""
        self.stage.clear()

    def _lines(self) -> list[_Line]:
        whole, _, _ = self._log.read_bytes().rpartition(b"\n")
        decoder = msgspec.json.Decoder(_Line)
        return [decoder.decode(text) for text in whole.splitlines()]

    def _write(self, place: Place) -> None:
        for name, document in (
            ("tb_gateway.json", _main(place.uplink_port)),
            ("modbus.json", _modbus(place)),
            ("logs.json", _LOGS),
        ):
            (self._config / name).write_text(json.dumps(document, indent=2))


def _main(port: int) -> dict[str, Any]:
    no_limit = "0:0,"
    limits = ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits")
    return {
        "thingsboard": {
            "host": "127.0.0.1",
            "port": port,
            "keep_alive": KEEP_ALIVE_S,
            "remoteShell": False,
            "remoteConfiguration": False,
            "statistics": {"enable": False},
            "checkingDeviceActivity": {"checkDeviceInactivity": False},
            "security": {"type": "accessToken", "accessToken": "bench-token"},
            "qos": 1,
            "maxPayloadSizeBytes": 65_536,
            "reportStrategy": {"type": "ON_RECEIVED"},
            **dict.fromkeys((*limits, "deviceDpRateLimits"), no_limit),
        },
        "storage": {
            "type": "sqlite",
            "data_file_path": "./data/",
            "max_read_records_count": PACK_RECORDS,
            "writing_batch_size": PACK_RECORDS,
            "messages_ttl_in_days": 7,
        },
        "grpc": {"enabled": False},
        "connectors": [{"name": "Modbus", "type": "modbus", "configuration": "modbus.json"}],
    }


def _modbus(place: Place) -> dict[str, Any]:
    registers = {
        "tag": "r-${address}",
        "type": "16uint",
        "functionCode": 3,
        "objectsCount": 1,
        "address": f"0-{place.registers - 1}",
    }
    return {
        "name": "Modbus",
        "logLevel": "ERROR",
        "master": {
            "slaves": [
                {
                    "name": f"dev-{at}",
                    "deviceName": f"dev-{at}",
                    "deviceType": "default",
                    "type": "tcp",
                    "method": "socket",
                    "host": "127.0.0.1",
                    "port": one.port,
                    "unitId": one.unit_id,
                    "timeout": 5,
                    "byteOrder": "BIG",
                    "wordOrder": "BIG",
                    "retries": True,
                    "pollPeriod": int(place.interval_s * 1000),
                    "connectAttemptTimeMs": 1000,
                    "connectAttemptCount": 5,
                    "waitAfterFailedAttemptsMs": 30_000,
                    "attributes": [],
                    "timeseries": [registers],
                    "attributeUpdates": [],
                    "rpc": [],
                }
                for at, one in enumerate(place.devices)
            ]
        },
    }


_LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}},
    "loggers": {
        name: {"level": "WARNING", "handlers": ["console"], "propagate": False}
        for name in ("database", "service", "connector", "converter", "tb_connection", "storage", "extension")
    },
    "root": {"level": "WARNING", "handlers": ["console"]},
}
