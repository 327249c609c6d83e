"""Searches for garbage are seldom, and still find it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, weakref
from cloud.garbage import FEW_MADE, calm
class Circle: pass
calm()
assert gc.get_threshold()[0] == FEW_MADE
one = Circle(); one.itself = one; gone = weakref.ref(one); del one
kept = [[at] for at in range(2 * FEW_MADE)]
assert gone() is None
"""


def test_circles_are_found_all_the_same() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)  # in a process of its own: it is the process's setting
