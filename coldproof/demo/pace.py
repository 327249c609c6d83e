"""Who sets the pace of simulated time: it starts in the past, runs fast and meets the wall clock, never ahead."""

from __future__ import annotations

import time
from pathlib import Path

from wire import simtime
from wire.simtime import Segment, SimTime

NOTICE_S = 0.5  # a change counts only after every process has had the chance to read the file again


class PaceMaker:
    """Writes the one file of simulated time and changes the pace in it."""

    def __init__(self, path: Path, *, journey_s: float, lead_ms: int) -> None:
        """Plan to catch up `lead_ms` of simulated time in `journey_s` real seconds."""
        self._path = path
        now_s = time.monotonic()
        self.fast = 1.0 + lead_ms / 1000.0 / journey_s
        first = Segment(now_s, _wall_ms(now_s) - lead_ms, self.fast)
        self._segments = [first]
        self._write()

    @property
    def origin_ms(self) -> int:
        """Where simulated time started."""
        return int(self._segments[0].origin_ms)

    def now_ms(self) -> float:
        """Simulated UTC milliseconds now."""
        return SimTime(self._segments).now_ms(time.monotonic())

    def change(self, factor: float) -> None:
        """Run with `factor` from a moment after now; returns once it counts."""
        at_s = time.monotonic() + NOTICE_S
        passed = [segment for segment in self._segments if segment.started_s < at_s]
        here_ms = SimTime(passed).now_ms(at_s)
        self._segments = [*passed, Segment(at_s, here_ms, factor)]
        self._write()
        time.sleep(NOTICE_S)

    def meets_wall_in_s(self) -> float:
        """Real seconds until simulated time has caught up with the wall clock at the present pace."""
        now_s = time.monotonic()
        return self._meeting_s() - now_s

    def _meeting_s(self) -> float:
        last = [segment for segment in self._segments if segment.factor != 1.0][-1]
        behind_ms = _wall_ms(last.started_s) - last.origin_ms
        return last.started_s + behind_ms / 1000.0 / (last.factor - 1.0)

    def _write(self) -> None:
        """The last word is always the wall clock's own pace, from where the two meet."""
        segments = list(self._segments)
        if segments[-1].factor > 1.0:
            meeting_s = self._meeting_s()
            segments.append(Segment(meeting_s, _wall_ms(meeting_s), 1.0))
        self._segments = segments
        simtime.write(self._path, SimTime(segments))


def _wall_ms(monotonic_s: float) -> float:
    """What the wall clock shows at a host monotonic time."""
    return (time.time() + (monotonic_s - time.monotonic())) * 1000.0
