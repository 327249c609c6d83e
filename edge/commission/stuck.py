"""Tells a probe that is stuck: it says exactly the same again and again while others of its kind move. Pure.

A reading alone never shows it, and a calm room is no fault. So a channel is named only when its last READINGS numbers
are equal to the last digit and another channel of the same unit took at least MOVES different values meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

READINGS = 30
MOVES = 5

Points = Sequence[tuple[int, float]]  # (wall time in ms, number), oldest first


def stuck(curves: Mapping[str, Points], units: Mapping[str, str]) -> dict[str, int]:
    """Channel → how many readings in a row were equal, of those that are likely stuck. units: by channel."""
    found = {}
    for channel, points in curves.items():
        same = _equal_at_the_end(points)
        if same < READINGS:
            continue
        since_ms = points[-same][0]
        others = (other for other in curves if other != channel and units.get(other) == units.get(channel))
        if any(_values_since(curves[other], since_ms) >= MOVES for other in others):
            found[channel] = same
    return found


def _equal_at_the_end(points: Points) -> int:
    count = 0
    for _, value in reversed(points):
        if value != points[-1][1]:
            break
        count += 1
    return count


def _values_since(points: Points, since_ms: int) -> int:
    return len({value for at_ms, value in points if at_ms >= since_ms})
