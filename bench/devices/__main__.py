"""The bench's field as a process: `python -m bench.devices FOLDER REGISTERS [TIMEFILE]`."""

import asyncio
import sys
from pathlib import Path

from bench.devices import run

if __name__ == "__main__":
    try:
        asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None))
    except asyncio.CancelledError:
        sys.exit(0)
