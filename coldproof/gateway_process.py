"""The process that `coldproof edge run` becomes: the gateway without the libraries of the command line.

They take 8 MB, for as long as the gateway runs, of a board that may have 512. `become` replaces this process, so its
number, its files and whoever waits for it stay the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from edge.agent import serve
from edge.buffer.base import BufferUnusable
from edge.config import ConfigError, load_config
from edge.keys import KeyFileError
from wire.simtime import SimTimeError

STOPPED_AT_ONCE, UNUSABLE = 1, 2  # exit statuses


def become(config: Path, level: int) -> NoReturn:
    """Go on as the gateway of this configuration. `-P`: what lies in the current folder is nobody's library."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, str(config), str(level)])  # noqa: S606 - no shell


def run(config: Path, level: int) -> int:
    """Run until SIGTERM or Ctrl-C; the exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=level)
    try:
        asyncio.run(serve(load_config(config)))
    except (ConfigError, KeyFileError, SimTimeError, BufferUnusable) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("stopped at once; what was accepted is safe in the buffer", file=sys.stderr)
        return STOPPED_AT_ONCE
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2])))
