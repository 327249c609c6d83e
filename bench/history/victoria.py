"""A VictoriaMetrics of our own, for comparison: on a free loopback port, with its data in a folder that goes away."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.port import quiet_port

BINARY = "victoria-metrics"
MONTHS_KEPT = 120
PART = 50_000  # values in one line of import
READY_S = 20.0


class Victoria:
    """A running server."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder

    def load(self, sensor: str, times_ms: Sequence[int], values: Sequence[float]) -> None:
        """Write a series of the metric `air`."""
        for at in range(0, len(times_ms), PART):
            part = slice(at, at + PART)
            line = {
                "metric": {"__name__": "air", "sensor": sensor},
                "values": list(values[part]),
                "timestamps": list(times_ms[part]),
            }
            self._ask("/api/v1/import", body=json.dumps(line).encode())

    def settle(self) -> None:
        """Have everything searchable and on the disk."""
        self._ask("/internal/force_flush")
        self._ask("/internal/force_merge")

    def query_range(self, query: str, start_ms: int, end_ms: int, step_s: int) -> bytes:
        """The answer as it comes, not from a cache."""
        asked = {"query": query, "start": start_ms / 1000, "end": end_ms / 1000, "step": f"{step_s}s", "nocache": 1}
        return self._ask(f"/api/v1/query_range?{urllib.parse.urlencode(asked)}")

    @property
    def size_bytes(self) -> int:
        """What its folder takes."""
        return sum(one.stat().st_size for one in self._folder.rglob("*") if one.is_file())

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self._url + path, data=body, timeout=300) as answer:
            return bytes(answer.read())

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self._ask("/health")
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@contextmanager
def victoria() -> Iterator[Victoria]:
    """A server while the block runs. Raises FileNotFoundError where it is not installed."""
    binary = shutil.which(BINARY)
    if binary is None:
        raise FileNotFoundError(f"{BINARY} is not installed: `make test-servers`")
    folder, port = Path(tempfile.mkdtemp(prefix="coldproof-victoria-")), quiet_port()
    words: Iterable[str] = (
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={folder}",
        f"-retentionPeriod={MONTHS_KEPT}",
        "-search.latencyOffset=0s",
        "-loggerLevel=ERROR",
    )
    process = subprocess.Popen([binary, *words])
    try:
        server = Victoria(f"http://127.0.0.1:{port}", folder)
        server.wait()
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
