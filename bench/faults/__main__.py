"""`python -m bench.faults`: run the table, print every row with its seed, leave bench/results/faults.json."""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.faults import report
from bench.faults.peer import is_installed
from bench.faults.row import OURS, PEER, Bench, Result, Row, run
from bench.faults.rows import ROWS

RESULT_NAME = "result.json"
ROW_WITHIN_S = 3600.0
QUICK_JOBS = 4  # rows at a time: they wait more than they work


def main() -> int:
    """The exit status: 0 when every row of ours holds or was skipped with a reason."""
    chosen = _options()
    if chosen.play:
        name, system, folder = chosen.play
        return _play(next(row for row in ROWS if row.name == name), system, Path(folder), chosen)
    rows = [row for row in ROWS if not chosen.only or any(word in row.name for word in chosen.only)]
    if chosen.list:
        print("\n".join(f"{row.name}: {row.must}" for row in ROWS))
        return 0
    if not rows:
        print(f"no row is named like {', '.join(chosen.only)}; see --list", file=sys.stderr)
        return 2
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        print("the fault bench needs the broker mosquitto: install Debian's `mosquitto`", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupted)
    peer = not chosen.quick and not chosen.no_peer
    if peer and not is_installed():
        _say("thingsboard-gateway is not installed (`make peer`): its stored results are shown instead")
        peer = False
    results = _run_all([(row, [OURS, *([PEER] if peer and row.peer else [])]) for row in rows], chosen)
    stored = report.load(chosen.results)
    print(f"\n{report.table(rows, stored)}\nThe same as JSON: {chosen.results}", flush=True)
    if chosen.readme:
        report.write_readme(ROWS, stored)
    return int(any(one.passed is False for one in results if one.system == OURS))


def _run_all(rows: Sequence[tuple[Row, list[str]]], chosen: argparse.Namespace) -> list[Result]:
    """All rows, `--jobs` at a time; each on its systems side by side. What is ready is stored at once."""
    results: list[Result] = []
    running: list[_Task] = []
    jobs = chosen.jobs or (QUICK_JOBS if chosen.quick else 1)
    try:
        for row, systems in rows:
            while len({task.row for task in running}) >= jobs:
                results += _collect(running, chosen.results)
            seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1, 1_000_000)
            running += [_Task(row, system, seed, chosen) for system in systems]
        while running:
            results += _collect(running, chosen.results)
    finally:
        for task in running:
            task.give_up()
    return results


def _collect(running: list[_Task], path: Path) -> list[Result]:
    """What has ended since; waits a moment when nothing has."""
    ended = [task for task in running if task.has_ended()]
    if not ended:
        time.sleep(0.2)
    results = [task.result() for task in ended]
    for task in ended:
        running.remove(task)
    report.store(results, path)
    return results


class _Task:
    """A row on one system: a process, so that neither a crash nor a busy interpreter touches another row."""

    def __init__(self, row: Row, system: str, seed: int, chosen: argparse.Namespace) -> None:
        self.row = row.name
        self._bench = _bench(row, system, seed, chosen, Path(tempfile.mkdtemp(prefix="coldproof-faults-")))
        self._keep = chosen.keep
        self._ends_s = time.monotonic() + ROW_WITHIN_S
        words = ["--seed", str(seed), "--play", row.name, system, str(self._bench.folder)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.faults", *words, *(["--quick"] if chosen.quick else [])],
            start_new_session=True,  # a Ctrl-C is ours to hand on
        )

    def has_ended(self) -> bool:
        """Whether there is a result, or the row takes far too long and is given up."""
        if time.monotonic() > self._ends_s:
            self.give_up()
        return self._process.poll() is not None

    def result(self) -> Result:
        """What came of it. Its folder is kept when it fails."""
        folder, status = self._bench.folder, self._process.wait()
        path = folder / RESULT_NAME
        if path.exists():
            result = msgspec.json.decode(path.read_bytes(), type=Result)
        else:
            result = self._bench.failed(f"the row's own process ended with status {status}, without a result")
        _say(report.line(result))
        if self._keep or (result.passed is False and result.system == OURS):
            self._bench.say(f"its files are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return result

    def give_up(self) -> None:
        """End it, with all that it started."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)


def _play(row: Row, system: str, folder: Path, chosen: argparse.Namespace) -> int:
    """What such a process does."""
    signal.signal(signal.SIGTERM, _interrupted)
    logging.disable(logging.CRITICAL)  # some rows run gateways in this process, and harm them on purpose
    bench = _bench(row, system, chosen.seed, chosen, folder)
    bench.say(f"begins, seed {chosen.seed}")
    result = run(row, bench)
    (folder / RESULT_NAME).write_bytes(msgspec.json.encode(result))
    return 0


def _bench(row: Row, system: str, seed: int, chosen: argparse.Namespace, folder: Path) -> Bench:
    began_s = time.monotonic()

    def say(text: str) -> None:
        _say(f"  {time.monotonic() - began_s:5.0f} s  {row.name} [{system}]: {text}")

    return Bench(fault=row.name, system=system, seed=seed, quick=chosen.quick, folder=folder, say=say)


def _interrupted(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer points and shorter faults; within 8 minutes")
    options.add_argument("--only", nargs="*", default=[], metavar="ROW", help="rows whose name holds one of these")
    options.add_argument("--seed", type=int, help="of every row; without it each row draws one and prints it")
    options.add_argument("--jobs", type=int, help=f"rows at a time (1; {QUICK_JOBS} with --quick)")
    options.add_argument("--no-peer", action="store_true", help="leave thingsboard-gateway out")
    options.add_argument("--keep", action="store_true", help="keep the folders of the rows, with all logs")
    options.add_argument("--readme", action="store_true", help="renew the table in bench/README.md")
    options.add_argument("--list", action="store_true", help="print the rows and end")
    options.add_argument("--play", nargs=3, help=argparse.SUPPRESS)  # what each row's own process is told
    options.add_argument("--results", type=Path, default=report.RESULTS, help="where the results are kept")
    return options.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
