"""Scan → durable → feedback: how long an operator waits for the beep, while readings flow.

    python -m bench.devices.scanner [--seconds 20] [--rate 10] [--busy N] [--json]

A gateway as it runs on site (`coldproof edge run`, its uplink to nowhere) reads 20 Modbus TCP devices of 10 registers
once a second: 200 readings a second. A scanner on a pseudo-terminal, in this process, scans at a fixed pace whatever
the answers do. Waited: from the moment the last byte of the code was written to the moment the answer is here. Each
third code is refused, each tenth is a command card; those are answered, too. Afterwards the gateway is killed (-9), and
the scans in its buffer file are counted: none that was answered may be missing.

--busy: processes that do nothing but use the processor, for a machine as small as a gateway.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import select
import sqlite3
import sys
import tempfile
import time
import tty
from collections import deque
from contextlib import closing
from pathlib import Path

from bench.field import Field
from bench.house import write_gateway
from bench.port import quiet_port
from bench.process import Cost, cost
from bench.system import Place
from coldproof.demo.stage import Stage, StageError
from edge.drivers.barcode.codec import Code, encode
from standards.gs1.check_digit import check_digit

TARGET_S = 0.3
ACK, NAK = b"\x06", b"\x15"
WARM_S = 5.0
READY_S = 60.0
ANSWER_S = 10.0  # until a missing answer counts as one
GTIN = "0893000000012" + check_digit("0893000000012")


class Port:
    """The scanner's end of the line: what was written when, and when its answer came."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        os.close(self._slave)  # a port that somebody holds is busy
        self.waits_s: list[float] = []
        self.answers: list[bytes] = []
        self._unanswered: deque[float] = deque()

    def scan(self, code: Code) -> None:
        """Send a code whole."""
        data = encode(code)
        if os.write(self._master, data) != len(data):
            raise StageError("the line to the gateway is full: it reads no longer")
        self._unanswered.append(time.monotonic())

    def listen(self, until_s: float) -> None:
        """Take answers until a moment, or until none is missing if that is sooner and nothing is to be sent."""
        while (left_s := until_s - time.monotonic()) > 0:
            ready, _, _ = select.select([self._master], [], [], left_s)
            if not ready:
                return
            at_s = time.monotonic()
            try:
                answered = os.read(self._master, 4096)
            except OSError:  # nobody has the port open
                time.sleep(0.01)
                continue
            for byte in answered:
                self.answers.append(bytes([byte]))
                self.waits_s.append(at_s - self._unanswered.popleft())

    @property
    def missing(self) -> int:
        """Scans without an answer."""
        return len(self._unanswered)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._master)


def codes(number: int) -> tuple[Code, bytes]:
    """The code of scan `number`, and its right answer."""
    if number % 10 == 9:
        return Code(f"CP:START:{number}", "Q1"), ACK
    if number % 3 == 2:
        return Code(f"01{GTIN[:-1]}{(int(GTIN[-1]) + 1) % 10}10LOT{number}", "C1"), NAK
    return Code(f"01{GTIN}10LOT{number}\x1d21{number:06}", "C1"), ACK


def measure(folder: Path, *, seconds: float, rate: float) -> dict[str, object]:
    """One run. Raises StageError when a process ended."""
    port = Port()
    try:
        with Field(folder / "field") as field, Stage(folder) as stage:
            nowhere = quiet_port()
            place = Place(folder, field.devices, nowhere, nowhere)
            path = write_gateway(folder, place, {})
            path.write_text(path.read_text() + _scanner(port.path))
            stage.start("gateway", "edge", "run", str(path))
            stage.wait_for("the first readings", lambda: field.count() >= 200, within_s=READY_S)
            time.sleep(WARM_S)
            pid = stage.pid("gateway")
            before, given, began_s = cost(pid), field.count(), time.monotonic()
            sent = _scan(port, seconds=seconds, rate=rate)
            lasted_s = time.monotonic() - began_s
            port.listen(time.monotonic() + ANSWER_S if port.missing else 0)
            after, given = cost(pid), field.count() - given
            stage.check()
            stage.kill("gateway")
            return _account(folder, port, sent, lasted_s, given=given, before=before, after=after)
    finally:
        port.close()


def _scan(port: Port, *, seconds: float, rate: float) -> int:
    total, begin_s = int(seconds * rate), time.monotonic()
    for number in range(total):
        port.listen(begin_s + number / rate)
        port.scan(codes(number)[0])
    port.listen(begin_s + total / rate)
    return total


def _account(
    folder: Path, port: Port, sent: int, lasted_s: float, *, given: int, before: Cost, after: Cost
) -> dict[str, object]:
    waits_s = sorted(port.waits_s)
    with closing(sqlite3.connect(folder / "data" / "buffer.sqlite")) as buffer:
        [kept] = buffer.execute(
            "SELECT (SELECT coalesce(sum(scans), 0) FROM open_group) + (SELECT coalesce(sum(scans), 0) FROM pack)"
        ).fetchone()
    return {
        "scans": sent,
        "answered": len(waits_s),
        "wrong_answers": sum(answer != codes(number)[1] for number, answer in enumerate(port.answers)),
        "durable_after_kill": kept,
        "readings_per_s": round(given / lasted_s, 1),
        "p50_ms": round(_quantile(waits_s, 0.50) * 1000, 1),
        "p99_ms": round(_quantile(waits_s, 0.99) * 1000, 1),
        "max_ms": round(waits_s[-1] * 1000, 1) if waits_s else None,
        "gateway_cpu_percent": round((after.cpu_s - before.cpu_s) / lasted_s * 100, 1),
        "gateway_rss_mb": after.rss_mb,
        "load": [round(one, 1) for one in os.getloadavg()],
    }


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def _scanner(port: str) -> str:
    return (
        f'\n[[device]]\nname = "scanner"\ndriver = "barcode"\nport = "{port}"\n'
        'ack = "\\u0006"\nnak = "\\u0015"\ndouble_scan_s = 0.5\nrequire_aim = true\n'
        '[[device.card]]\ncommand = "start-lot"\ncode = "CP:START:*"\n'
    )


def _burn() -> None:
    while True:
        pass


def main() -> int:
    """Measure and print; 1 when the target is missed or a scan is."""
    parser = argparse.ArgumentParser(prog="python -m bench.devices.scanner", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    burners = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(asked.busy)]
    for burner in burners:
        burner.start()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-scanner-") as folder:
            found = measure(Path(folder), seconds=asked.seconds, rate=asked.rate)
    finally:
        for burner in burners:
            burner.terminate()
    holds = (
        found["answered"] == found["scans"] == found["durable_after_kill"]
        and not found["wrong_answers"]
        and float(str(found["p99_ms"])) <= TARGET_S * 1000
    )
    print(json.dumps(found) if asked.json else "\n".join(f"{key:20} {value}" for key, value in found.items()))
    print(
        f"p99 ≤ {TARGET_S * 1000:.0f} ms, nothing answered missing: {'holds' if holds else 'MISSED'}", file=sys.stderr
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
