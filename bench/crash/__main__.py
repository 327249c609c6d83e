"""`python -m bench.crash FAULT --seed S [--point N | --count N]`: points of one fault, one line for each failed one."""

from __future__ import annotations

import argparse
import json
import sys

from bench.crash.cloud import run_cloud_kills
from bench.crash.corrupt import run_corruptions
from bench.crash.cut import run_power_cuts
from bench.crash.kill import run_kill_points
from bench.crash.record_cut import run_record_cuts
from bench.crash.result import summary

FAULTS = {
    "kill": run_kill_points,
    "cut": run_power_cuts,
    "cloud": run_cloud_kills,
    "record_cut": run_record_cuts,
    "corrupt": run_corruptions,
}


def main() -> int:
    """Run, print the summary as JSON; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--point", type=int, help="this one alone")
    chosen.add_argument("--count", type=int, default=20, help="points 0 … COUNT - 1")
    given = parser.parse_args()
    first, count = (0, given.count) if given.point is None else (given.point, 1)
    found = summary(FAULTS[given.fault](count, given.seed, first=first))
    print(json.dumps(found, indent=1))
    return 0 if found["pass"] else 1


if __name__ == "__main__":
    sys.exit(main())
