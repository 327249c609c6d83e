"""What Modbus TCP costs the gateway: 20 devices × 10 registers, told one by one and merged, from poll to record.

    python -m bench.devices.modbus_tcp [--seconds 15]

The whole house runs as in bench/performance.py, and every reading is balanced in the end; the figure is the CPU time
of the gateway's process. Ends with status 1 when the target is missed.
"""

from __future__ import annotations

import argparse
import os
import sys

from bench.faults.row import OURS
from bench.performance import FULL, measure

AT_MOST_S = 10.0  # CPU seconds for 100,000 readings


def main() -> int:
    """The exit status."""
    options = argparse.ArgumentParser(prog="python -m bench.devices.modbus_tcp", description=__doc__)
    options.add_argument("--seconds", type=float, default=15.0, help="length of the window that is measured")
    chosen = options.parse_args()
    found = measure(FULL, OURS, chosen.seconds)
    cpu_s = found.cpu_s / found.readings * 1e5
    print(f"{found.readings:,} readings in {found.seconds:.1f} s: {found.readings / found.seconds:,.0f}/s")
    print(f"of {found.account.produced:,} produced: {found.account.lost} lost, {found.account.doubled} doubled")
    print(f"CPU of the gateway: {cpu_s:.1f} s per 100k readings (target: at most {AT_MOST_S:g})")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(cpu_s > AT_MOST_S or found.account.lost > 0 or found.account.doubled > 0)


if __name__ == "__main__":
    sys.exit(main())
