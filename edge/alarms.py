"""Warns at the site when a reading is beyond its limit, with or without the cloud: on the local page, and by a command.

An alarm of a channel is raised when its readings have been beyond a `[[limit]]` for `after_s`, or when a channel with a
limit has fallen silent; it is cleared by the first reading within. A test alarm is told at once, marked as a test, and
changes nothing. Each change runs the configured command once (a relay, a buzzer, a text message), bounded in time, one
at a time, in order; what it says is never believed. The record is not touched: it holds every reading anyway.

The command gets, in its environment: COLDPROOF_EVENT (raised, cleared, test), COLDPROOF_GATEWAY, COLDPROOF_CHANNEL,
COLDPROOF_KIND (above, below, silent), COLDPROOF_VALUE and COLDPROOF_LIMIT (numbers as text, may be empty).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from edge.limits import Limit
from wire.observation import Observation, Quality, Reading

EVENTS_MAX = 200  # that wait for the command; more than that is one big alarm anyway
HISTORY_MAX = 50

Kind = Literal["above", "below", "silent"]
Event = Literal["raised", "cleared", "test"]

log = logging.getLogger(__name__)


class AlarmTable(msgspec.Struct, frozen=True):
    """`[alarm]`: what a breach of a limit does at the site.

    after_s: beyond the limit for so long (gateway's time) before it is an alarm. command: a program and its words.
    timeout_s: real seconds that it gets.
    """

    after_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    command: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]], msgspec.Meta(max_length=64)
    ] = []
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=300)] = 10.0


class Alarm(msgspec.Struct, frozen=True):
    """One alarm. since_ms: wall time of the first reading beyond; value, limit: as text, empty when silent."""

    channel: str
    kind: Kind
    since_ms: int
    value: str = ""
    limit: str = ""
    unit: str = ""
    test: bool = False


class Change(msgspec.Struct, frozen=True):
    """An alarm that was raised, cleared or tried, and when (wall time)."""

    event: Event
    alarm: Alarm
    at_ms: int


class _Beyond(msgspec.Struct):
    """A channel that is beyond its limit, whether or not it is an alarm yet."""

    alarm: Alarm
    from_monotonic_ms: int
    raised: bool = False


class Alarms:
    """Judges readings as they pass, and hands changes to the command."""

    def __init__(self, gateway: str, limits: Sequence[Limit], table: AlarmTable) -> None:
        self._gateway = gateway
        self._limits: dict[str, Limit] = {}
        self._beyond: dict[str, _Beyond] = {}
        self._changes: asyncio.Queue[Change] = asyncio.Queue(EVENTS_MAX)
        self._history: list[Change] = []
        self.last_error = ""  #: of the command, for the page; empty after one that went well
        self.configure(limits, table)

    def configure(self, limits: Sequence[Limit], table: AlarmTable) -> None:
        """From now on these are in force; an alarm of a limit that changed is judged anew by the next reading."""
        before, self._limits = self._limits, {limit.channel: limit for limit in limits}
        self._table = table
        for channel in list(self._beyond):
            if self._limits.get(channel) != before.get(channel):
                del self._beyond[channel]

    def active(self) -> list[Alarm]:
        """What is wrong now, the oldest first."""
        return sorted((one.alarm for one in self._beyond.values() if one.raised), key=lambda alarm: alarm.since_ms)

    def history(self) -> list[Change]:
        """The last changes, the newest first."""
        return self._history[::-1]

    def see(self, observations: Sequence[Observation]) -> None:
        """Judge what the devices gave."""
        for each in observations:
            if isinstance(each, Reading) and (limit := self._limits.get(each.channel)):
                self._judge(each, limit)

    def _judge(self, reading: Reading, limit: Limit) -> None:
        alarm = _alarm_of(reading, limit)
        if reading.quality is Quality.TEST:
            if alarm is not None:
                self._tell("test", alarm, reading)
            return
        known = self._beyond.get(reading.channel)
        if alarm is None:
            if known is not None and reading.quality is Quality.OK:
                del self._beyond[reading.channel]
                if known.raised:
                    self._tell("cleared", known.alarm, reading)
            return
        if known is None or known.alarm.kind != alarm.kind:
            raised = known is not None and known.raised
            known = self._beyond[reading.channel] = _Beyond(alarm, reading.stamp.monotonic_ms, raised)
        known.alarm = _worse(known.alarm, alarm)
        due_ms = known.from_monotonic_ms + (0 if alarm.kind == "silent" else self._table.after_s * 1000)
        if not known.raised and reading.stamp.monotonic_ms >= due_ms:
            known.raised = True
            self._tell("raised", known.alarm, reading)

    def _tell(self, event: Event, alarm: Alarm, reading: Reading) -> None:
        change = Change(event, alarm, reading.stamp.observed_at_ms)
        self._history = [*self._history, change][-HISTORY_MAX:]
        log.warning("alarm %s: channel=%s kind=%s value=%s", event, alarm.channel, alarm.kind, alarm.value)
        if self._table.command:
            with contextlib.suppress(asyncio.QueueFull):
                self._changes.put_nowait(change)

    async def keep_telling(self) -> None:
        """Run the command for each change, until cancelled."""
        while True:
            change = await self._changes.get()
            error = await self._run(change)
            if error and error != self.last_error:
                log.error("the alarm command failed: %s", error)
            self.last_error = error

    async def _run(self, change: Change) -> str:
        """What went wrong, empty when nothing did."""
        alarm, table = change.alarm, self._table
        if not table.command:
            return ""
        told = {
            "COLDPROOF_EVENT": change.event,
            "COLDPROOF_GATEWAY": self._gateway,
            "COLDPROOF_CHANNEL": alarm.channel,
            "COLDPROOF_KIND": alarm.kind,
            "COLDPROOF_VALUE": alarm.value,
            "COLDPROOF_LIMIT": alarm.limit,
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *table.command,
                env={"PATH": os.environ.get("PATH", os.defpath), **told},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{table.command[0]}: {error}"
        try:
            async with asyncio.timeout(table.timeout_s):
                status = await process.wait()
        except TimeoutError:
            return f"{table.command[0]}: not done within {table.timeout_s:g} s, and ended"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                await process.wait()
        return f"{table.command[0]}: exit status {status}" if status else ""


def _alarm_of(reading: Reading, limit: Limit) -> Alarm | None:
    """The alarm that a reading means by itself; None when it is within or says nothing."""
    at_ms, test = reading.stamp.observed_at_ms, reading.quality is Quality.TEST
    if reading.quality is Quality.STALE:
        return Alarm(reading.channel, "silent", at_ms, unit=reading.unit)
    if reading.value is None or reading.quality not in (Quality.OK, Quality.TEST):
        return None
    value, shown = float(reading.value), f"{reading.value:f}"
    if limit.above is not None and value > limit.above:
        return Alarm(reading.channel, "above", at_ms, shown, f"{limit.above:g}", reading.unit, test)
    if limit.below is not None and value < limit.below:
        return Alarm(reading.channel, "below", at_ms, shown, f"{limit.below:g}", reading.unit, test)
    return None


def _worse(before: Alarm, now: Alarm) -> Alarm:
    """The one with the worst number, since the first one."""
    if now.kind == "silent":
        return before
    further = float(now.value) > float(before.value) if now.kind == "above" else float(now.value) < float(before.value)
    return msgspec.structs.replace(now, since_ms=before.since_ms) if further else before
