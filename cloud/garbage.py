"""How often Python looks for circles of objects that nothing else holds.

Packs are trees: they go when the last reference goes, and no search ever finds one. But a group of them is tens of
thousands of lists, and with Python's own threshold (700 of them) each group would be searched a hundred times over,
which is a third of what decoding costs. Circles are made by libraries, a few for each request and statement: searching
once in FEW_MADE objects finds them while they are still few megabytes.
"""

from __future__ import annotations

import gc

FEW_MADE = 50_000  # objects of containers made and not yet gone, before the youngest are searched
YOUNG_SEARCHES = 10  # of the youngest, before the next older ones are searched too, and so on


def calm() -> None:
    """Leave what is loaded by now out of every search, and search seldom. Once, before the work begins."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(FEW_MADE, YOUNG_SEARCHES, YOUNG_SEARCHES)
