"""What checking a bundle costs: 100,000 readings, 100 in each of 1,000 packs, in a process of its own.

    python -m bench.verify [--packs 1000] [--readings 100] [--runs 5]

The bundle is over a ledger in which every fourth leaf is of another gateway, with an event, a frozen version of
evidence that is computed again, and a decision. Told: the median of the runs, wall and CPU time of `coldproof verify`,
start of the interpreter included; its memory; and the size beside that of the packs alone.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.wire.bundle import maker
from wire.bundle import form

LIMIT_S = 5.0


def main() -> int:
    """Measure; 1 when it took too long or found anything wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packs", type=int, default=1000)
    parser.add_argument("--readings", type=int, default=100, help="in each pack")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    data, content = maker.bundle(*maker.small(asked.packs, asked.readings))
    packs = sum(len(one.payload) for one in maker.framed(data) if one.letter == form.PACK)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lot.coldproof"
        file.write_bytes(data)
        times = [_timed(file) for _ in range(asked.runs)]
    wall_s, cpu_s, peak_mib = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{content.readings} readings in {content.counts['pack']} packs: {len(data)} bytes, of which packs {packs}")
    print(f"coldproof verify: {wall_s:.2f} s, {cpu_s:.2f} CPU s, {peak_mib:.0f} MiB (limit {LIMIT_S} s)")
    return int(wall_s >= LIMIT_S)


def _timed(file: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MiB of one check."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "coldproof.main", "verify", str(file)], check=True, capture_output=True)
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, after.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
