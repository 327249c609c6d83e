"""What is made of the codes a scanner gives: scans, repeats, commands, verdicts. Shared by all scanner drivers; pure.

A code becomes a Scan at once, exactly as it was read and whatever is thought of it. What is refused is in the record,
too, but in a channel of its own, so that no event is ever made of a scan that was answered with red; the verdict is
told (`troubles`) and answered (`accepted`).

    channel            what
    NAME/POINT         a code
    NAME/POINT.refused a code that breaks the rules of GS1 or was damaged on the way
    NAME/POINT.COMMAND a command card
    NAME/POINT.repeats the same code again within the double-scan window of its first scan: the same scan, whose count
                       this says: `count` reads in all since `first_seen_ms`. The last such row is the sum.

The window begins with a scan that is on the disk, and does not grow with repeats: a carton that looks like the one
before counts after it. So nothing waits for the window's end, and a power cut loses no read that was answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from edge.drivers.barcode.codec import Code, Overlong
from edge.drivers.barcode.options import REFUSED, REPEATS, ScanOptions
from edge.drivers.base import DriverMisconfigured
from standards.gs1.damage import Damage
from standards.gs1.verdict import Verdict, judge, refused
from wire.observation import CODE_MAX_BYTES, Scan, Stamp

REMEMBERED_MAX = 256  # codes in a window; at 10 scans/s and 60 s a person cannot scan more than twice that
SHOWN_CHARS = 40  # of a code, in a message


class Seen(NamedTuple):
    """The first scan of a window, and how often its code was read since."""

    scan: Scan
    reads: int
    accepted: bool


class Look(NamedTuple):
    """What one look at a scanner brings. accepted: one for each code, in order: its answer is yes or no.

    troubles: what people have to know, about codes that are in `scans` all the same.
    """

    scans: list[Scan]
    accepted: list[bool]
    troubles: list[str]
    seen: dict[tuple[str, str], Seen]


class Desk:
    """Keeps the double-scan window of one scanner."""

    def __init__(self, name: str, options: ScanOptions) -> None:
        self._channel = f"{name}/{options.point}"
        self._options = options
        self._window_ms = round(options.double_scan_s * 1000)
        self._seen: dict[tuple[str, str], Seen] = {}  # (code, symbology) → oldest first

    def look(self, found: Sequence[Code | Overlong], stamp: Stamp) -> Look:
        """What to make of codes that came at `stamp`. Changes nothing: call `remember` when the scans are safe."""
        fresh: list[Scan] = []
        repeats: dict[tuple[str, str], Scan] = {}
        look = Look(fresh, [], [], {})
        for item in found:
            if isinstance(item, Overlong):
                look.troubles.append(
                    f"{item.size_bytes} bytes without the suffix (the longest code has {CODE_MAX_BYTES}): "
                    "do scanner and configuration agree on it?"
                )
                continue
            key = (item.text, item.symbology)
            seen = look.seen.get(key) or self._within(key, stamp)
            if seen is None:
                seen = self._first(item, stamp, look.troubles)
                fresh.append(seen.scan)
            else:
                seen = seen._replace(reads=seen.reads + 1)
                repeats[key] = self._repeat(seen, stamp)
            look.accepted.append(seen.accepted)
            if self._window_ms:
                look.seen[key] = seen
        fresh += repeats.values()
        return look

    def remember(self, look: Look) -> None:
        """The scans of this look are on the disk: their windows begin."""
        self._seen |= look.seen
        while len(self._seen) > REMEMBERED_MAX:
            del self._seen[next(iter(self._seen))]

    def _within(self, key: tuple[str, str], stamp: Stamp) -> Seen | None:
        seen = self._seen.get(key)
        if seen is None:
            return None
        first = seen.scan.stamp
        if first.boot_id == stamp.boot_id and stamp.monotonic_ms - first.monotonic_ms < self._window_ms:
            return seen
        del self._seen[key]
        return None

    def _first(self, code: Code, stamp: Stamp, troubles: list[str]) -> Seen:
        card = next((card for card in self._options.card if card.matches(code.text)), None)
        if card is not None and not code.trouble:
            scan = Scan(f"{self._channel}.{card.command}", code.text, code.symbology, stamp)
            return Seen(scan, 1, accepted=True)
        verdict = self._verdict(code)
        accepted = verdict.kind != "refused"
        if not accepted:
            troubles.append(f"code {code.text[:SHOWN_CHARS]!r} is recorded but refused: {verdict.reason}")
        channel = self._channel if accepted else f"{self._channel}.{REFUSED}"
        return Seen(Scan(channel, code.text, code.symbology, stamp), 1, accepted)

    def _verdict(self, code: Code) -> Verdict:
        verdict = judge(code.text, code.symbology, aim_expected=self._options.require_aim)
        if code.trouble and not (verdict.damage and verdict.damage != "no_aim"):
            return refused(code.text, code.symbology, Damage("keys", code.trouble))
        if self._options.gs1_only and verdict.kind == "plain":
            what = "it is not GS1 data, which this scanner is there for (gs1_only)"
            return msgspec.structs.replace(verdict, kind="refused", reason=what)
        return verdict

    def _repeat(self, seen: Seen, stamp: Stamp) -> Scan:
        first = seen.scan
        return Scan(
            f"{self._channel}.{REPEATS}",
            first.code,
            first.symbology,
            stamp,
            count=seen.reads,
            first_seen_ms=first.stamp.observed_at_ms,
            last_seen_ms=first.stamp.observed_at_ms + stamp.monotonic_ms - first.stamp.monotonic_ms,
        )


def warm_up() -> None:
    """Load what the first verdict needs, so that no operator waits for it; element_string.py says what it costs.

    Raises DriverMisconfigured where it is not installed.
    """
    try:
        judge(WARM_UP, "C1")
    except ImportError as error:
        raise DriverMisconfigured(f"cannot judge codes ({error}): pip install 'coldproof[edge]'") from error


WARM_UP = "00" + "0" * 18  # an SSCC with its check digit
