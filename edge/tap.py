"""The newest values of every channel, for people who look: `tail`, the local page, the installation report.

It stands beside the way to the buffer and is no part of it: what it forgets is in the record. All of it is bounded:
channels, points of a curve, watchers and what a slow watcher may leave unread.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from edge.drivers.base import Emit
from wire.observation import Observation, Quality, Reading, Scan

CHANNELS_MAX = 10_000  # as many as limits
POINTS_MAX = 360  # of one curve: six hours at one a minute, and twice the pixels of a phone
POINTS_IN_ALL_MAX = 400_000  # 16 bytes each
WATCHERS_MAX = 8
UNREAD_MAX = 1_000  # observations; a watcher that is slower misses some, and is told how many
SCANS_KEPT = 20


class Curve:
    """The last points of one channel: wall time in ms, and the number."""

    def __init__(self) -> None:
        self._times = array("d")
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._times)

    def add(self, at_ms: int, value: float, *, most: int) -> None:
        """Append one, and drop the oldest quarter when there are `most`."""
        if len(self._times) >= most:
            cut = max(1, most // 4)
            del self._times[:cut], self._values[:cut]
        self._times.append(at_ms)
        self._values.append(value)

    def points(self) -> list[tuple[int, float]]:
        """(wall time in ms, number), oldest first."""
        return [(int(at), value) for at, value in zip(self._times, self._values, strict=True)]


class Watcher:
    """What one watcher has not read yet."""

    def __init__(self) -> None:
        self.missed = 0  #: observations it was too slow for
        self._unread: deque[Observation] = deque()
        self._more = asyncio.Event()

    def hand(self, observations: Sequence[Observation]) -> None:
        """Give it these, or count them as missed."""
        room = UNREAD_MAX - len(self._unread)
        self._unread.extend(observations[:room])
        self.missed += max(0, len(observations) - room)
        self._more.set()

    async def read(self) -> list[Observation]:
        """What came since the last time; waits for the first one."""
        await self._more.wait()
        self._more.clear()
        found = list(self._unread)
        self._unread.clear()
        return found


class TooManyWatchers(Exception):
    """WATCHERS_MAX people are looking already."""


class Tap:
    """Sees all observations of the devices on their way to the buffer."""

    def __init__(self) -> None:
        self._newest: dict[str, Observation] = {}
        self._curves: dict[str, Curve] = {}
        self._first: dict[str, Observation] = {}
        self._tests: deque[Observation] = deque(maxlen=SCANS_KEPT)
        self._scans: deque[Scan] = deque(maxlen=SCANS_KEPT)
        self._watchers: list[Watcher] = []
        self._judges: list[Callable[[Sequence[Observation]], None]] = []

    def also(self, judge: Callable[[Sequence[Observation]], None]) -> None:
        """`judge` sees everything, too."""
        self._judges.append(judge)

    def before(self, emit: Emit) -> Emit:
        """`emit`, seen here first."""

        async def seen(observations: Sequence[Observation]) -> None:
            self.see(observations)
            await emit(observations)

        return seen

    def see(self, observations: Sequence[Observation]) -> None:
        """Keep the newest, and hand them to whoever watches."""
        for each in observations:
            if each.channel not in self._newest and len(self._newest) >= CHANNELS_MAX:
                continue
            if each.quality is Quality.TEST:
                self._tests.append(each)
            else:
                self._first.setdefault(each.channel, each)
            self._newest[each.channel] = each
            if isinstance(each, Scan):
                self._scans.append(each)
            elif each.mantissa is not None and each.quality in (Quality.OK, Quality.OUT_OF_RANGE):
                self._draw(each)
        for judge in self._judges:
            judge(observations)
        for watcher in self._watchers:
            watcher.hand(observations)

    def newest(self, device: str | None = None) -> list[Observation]:
        """The newest observation of each channel (of one device), by channel."""
        return [
            each
            for channel, each in sorted(self._newest.items())
            if device is None or channel.partition("/")[0] == device
        ]

    def first(self) -> list[Observation]:
        """The first observation of each channel since its device was started or changed; tests don't count."""
        return [each for _, each in sorted(self._first.items())]

    def tests(self) -> list[Observation]:
        """The last observations that were made by a person trying the installation, oldest first."""
        return list(self._tests)

    def scans(self) -> list[Scan]:
        """The last scans, oldest first."""
        return list(self._scans)

    def curve(self, channel: str) -> list[tuple[int, float]]:
        """(wall time in ms, number) of the last readings that were numbers, oldest first."""
        curve = self._curves.get(channel)
        return [] if curve is None else curve.points()

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Every curve, by channel."""
        return {channel: curve.points() for channel, curve in self._curves.items()}

    def forget(self, devices: Sequence[str]) -> None:
        """Devices that were changed or taken away: what they said before is no live value any more."""
        gone = {channel for channel in self._newest if channel.partition("/")[0] in devices}
        for channel in gone:
            del self._newest[channel]
            self._first.pop(channel, None)
            self._curves.pop(channel, None)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Watch until the end of the block. Raises TooManyWatchers."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise TooManyWatchers(f"{WATCHERS_MAX} people are looking already; end one of them")
        watcher = Watcher()
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            self._watchers.remove(watcher)

    def _draw(self, reading: Reading) -> None:
        assert reading.mantissa is not None
        curve = self._curves.setdefault(reading.channel, Curve())
        most = max(8, min(POINTS_MAX, POINTS_IN_ALL_MAX // len(self._curves)))
        curve.add(reading.stamp.observed_at_ms, reading.mantissa * 10.0**reading.exponent, most=most)
