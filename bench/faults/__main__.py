"""`python -m bench.faults`: run the table, print every row with its seed, leave bench/results/faults.json."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.faults import report
from bench.faults.peer import is_installed
from bench.faults.row import OURS, PEER, Bench, Result, Row, run
from bench.faults.rows import ROWS

_printing = threading.Lock()


def main() -> int:
    """The exit status: 0 when every row of ours holds or was skipped with a reason."""
    chosen = _options()
    rows = [row for row in ROWS if not chosen.only or any(word in row.name for word in chosen.only)]
    if chosen.list:
        print("\n".join(f"{row.name}: {row.must}" for row in ROWS))
        return 0
    if not rows:
        print(f"no row is named like {', '.join(chosen.only)}; see --list", file=sys.stderr)
        return 2
    peer = not chosen.quick and not chosen.no_peer
    if peer and not is_installed():
        _say("thingsboard-gateway is not installed (`make peer`): its stored results are shown instead")
        peer = False
    results = []
    for row in rows:
        seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1, 1_000_000)
        fresh = _run(row, [OURS, *([PEER] if peer and row.peer else [])], seed, chosen)
        results += fresh
        report.store(fresh, chosen.results)
    stored = report.load(chosen.results)
    print(f"\n{report.table(rows, stored)}\nThe same as JSON: {chosen.results}", flush=True)
    if chosen.readme:
        report.write_readme(ROWS, stored)
    return int(any(one.passed is False for one in results if one.system == OURS))


def _run(row: Row, systems: Sequence[str], seed: int, chosen: argparse.Namespace) -> list[Result]:
    """One row, side by side on its systems, each in a folder of its own that is kept when it fails."""
    results: list[Result] = []

    def one(system: str) -> None:
        name = f"{row.name} [{system}]"
        began_s = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="coldproof-faults-"))
        bench = Bench(
            fault=row.name,
            system=system,
            seed=seed,
            quick=chosen.quick,
            folder=folder,
            say=lambda text: _say(f"  {time.monotonic() - began_s:5.0f} s  {name}: {text}"),
        )
        bench.say(f"begins, seed {seed}")
        result = run(row, bench)
        results.append(result)
        _say(report.line(result))
        if chosen.keep or (result.passed is False and system == OURS):
            bench.say(f"its files are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)

    threads = [threading.Thread(target=one, args=(system,), name=system) for system in systems]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _say(text: str) -> None:
    with _printing:
        print(text, flush=True)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer points and shorter faults; within 8 minutes")
    options.add_argument("--only", nargs="*", default=[], metavar="ROW", help="rows whose name holds one of these")
    options.add_argument("--seed", type=int, help="of every row; without it each row draws one and prints it")
    options.add_argument("--no-peer", action="store_true", help="leave thingsboard-gateway out")
    options.add_argument("--keep", action="store_true", help="keep the folders of the rows, with all logs")
    options.add_argument("--readme", action="store_true", help="renew the table in bench/README.md")
    options.add_argument("--list", action="store_true", help="print the rows and end")
    options.add_argument("--results", type=Path, default=report.RESULTS, help="where the results are kept")
    return options.parse_args()


if __name__ == "__main__":
    sys.exit(main())
