"""A VictoriaMetrics of its own on loopback, and what it says it has."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

READY_S = 20
PROGRAM = "victoria-metrics"

Point = tuple[str, str, str, str, int, float]  # gateway, channel, unit, quality, time in ms, value


def is_installed() -> bool:
    """Whether there is one to run."""
    return shutil.which(PROGRAM) is not None


class Victoria:
    """One server; equal times of a series are one point, as it is meant to run (docs/cloud.md)."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        listen = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'victoria'}"]
        self._command = [PROGRAM, *listen, "-retentionPeriod=120", "-dedup.minScrapeInterval=1ms"]
        self._log = folder / "victoria.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                self.get("/health")
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"no answer: see {self._log}")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it; harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(READY_S)

    def get(self, path: str, **query: str) -> str:
        """The body of an answer. Raises OSError, HTTPError among them."""
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return str(answer.read().decode())

    def points(self, name: str = "coldproof_reading_value") -> list[Point]:
        """Every point of a metric, in order."""
        self.get("/internal/force_flush")
        asked = {"match[]": f'{{__name__="{name}"}}', "start": "0", "end": "4102444800", "reduce_mem_usage": "0"}
        found: list[Point] = []
        for line in self.get("/api/v1/export", **asked).splitlines():
            series = json.loads(line)
            tags = [series["metric"][tag] for tag in ("gateway", "channel", "unit", "quality")]
            found += [(*tags, at, value) for at, value in zip(series["timestamps"], series["values"], strict=True)]
        return sorted(found)

    def range(self, query: str, start_ms: int, end_ms: int, step_s: int) -> list[dict[str, Any]]:
        """The answer to a query over a range: a list of series."""
        self.get("/internal/force_flush")
        span = {"start": str(start_ms / 1000), "end": str(end_ms / 1000), "step": str(step_s), "nocache": "1"}
        body = json.loads(self.get("/api/v1/query_range", query=query, **span))
        assert body["status"] == "success", body
        result: list[dict[str, Any]] = body["data"]["result"]
        return result
