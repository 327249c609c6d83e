"""Which streams may have sealed readings of which again, after a damage of the gateway's file (wire.md §4.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable

Ancestors = dict[bytes, set[bytes]]  # stream → the streams of which it may have sealed readings again


def ancestors(damages: Iterable[tuple[bytes, bytes]]) -> Ancestors:
    """All streams before each, from pairs of a younger stream and an older one; none is before another in a ring."""
    before: Ancestors = {}
    for younger, older in damages:
        before.setdefault(younger, set()).add(older)
    all_before = {stream: _all_before(stream, before) for stream in before}
    nothing: set[bytes] = set()
    return {
        stream: {one for one in found if stream not in all_before.get(one, nothing)}
        for stream, found in all_before.items()
    }


def _all_before(stream: bytes, before: Ancestors) -> set[bytes]:
    found: set[bytes] = set()
    waiting = list(before[stream])
    while waiting:
        one = waiting.pop()
        if one not in found and one != stream:
            found.add(one)
            waiting += before.get(one, ())
    return found
