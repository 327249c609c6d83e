"""Truth against record: what the devices gave, and what whoever stores it has. Pure.

Values count up and are unique within a run, so nothing has to be aligned: a value that is missing was lost, one that
is there twice was doubled, one that no device gave under that name is foreign (swapped or invented).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from bench.counting import Channel, Made

TIME_TOLERANCE_MS = 1_000


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A stored value, and when it is said to have been observed."""

    value: int
    at_ms: int


class Account(msgspec.Struct, frozen=True):
    """The balance: produced = stored − doubled − foreign + unaccepted + declared + lost.

    unaccepted: missing, but given within a window in which a killed gateway may not have committed yet.
    declared: missing, and given within a span of which a signed statement says that something is missing.
    out_of_order: stored values that come after one the device gave later. mistimed: more than a second off.
    worst_ms: the largest error of time.
    """

    produced: int = 0
    stored: int = 0
    unaccepted: int = 0
    declared: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    out_of_order: int = 0
    mistimed: int = 0
    worst_ms: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing accepted is lost, doubled, swapped, disordered or mis-timed."""
        return not (self.lost or self.doubled or self.foreign or self.out_of_order or self.mistimed)


Window = tuple[float, float]  # host monotonic seconds


def account(
    given: Mapping[Channel, Sequence[Made]],
    stored: Mapping[Channel, Sequence[Kept]],
    windows: Sequence[Window] = (),
    declared: Sequence[Window] = (),
) -> Account:
    """Balance all channels. `stored` is in the order in which a reader gets it."""
    parts = [_channel(given.get(name, ()), stored.get(name, ()), windows, declared) for name in {*given, *stored}]
    sums = {
        name: sum(getattr(part, name) for part in parts) for name in Account.__struct_fields__ if name != "worst_ms"
    }
    return Account(**sums, worst_ms=max((part.worst_ms for part in parts), default=0))


def _channel(
    given: Sequence[Made], stored: Sequence[Kept], windows: Sequence[Window], declared: Sequence[Window]
) -> Account:
    at = {one.value: index for index, one in enumerate(given)}
    times = Counter(one.value for one in stored)
    missing = [one for one in given if one.value not in times]
    unaccepted = [one for one in missing if _within(one, windows)]
    said = [one for one in missing if _within(one, declared) and not _within(one, windows)]
    out_of_order, latest, errors_ms = 0, -1, [0]
    for one in stored:
        index = at.get(one.value)
        if index is None:
            continue
        out_of_order += index < latest
        latest = max(latest, index)
        errors_ms.append(abs(one.at_ms - given[index].at_ms))
    return Account(
        produced=len(given),
        stored=len(stored),
        unaccepted=len(unaccepted),
        declared=len(said),
        lost=len(missing) - len(unaccepted) - len(said),
        doubled=sum(count - 1 for value, count in times.items() if value in at),
        foreign=sum(count for value, count in times.items() if value not in at),
        out_of_order=out_of_order,
        mistimed=sum(error > TIME_TOLERANCE_MS for error in errors_ms),
        worst_ms=max(errors_ms),
    )


def _within(one: Made, spans: Sequence[Window]) -> bool:
    return any(start <= one.host_s <= end for start, end in spans)
