"""Swaps the configuration of a running gateway: only the devices that differ restart, and the new ones must prove it.

1. The file is read and checked whole; what is wrong is told, and nothing happens.
2. Devices that are gone or different end between two exchanges, and their successors start. All others, the buffer
   and the uplink go on.
3. Each new device must give a reading (a listener without an interval: be open) within a time. If all do, this is the
   last good configuration. If one doesn't, everything is as before, the file too, and it is said which one and why.

Readings that were given before, meanwhile or by a device that is rolled back are accepted like any others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from edge.commission.change import Change, compare
from edge.commission.kept import begin_trial, digest, keep_good, put_back
from edge.commission.words import words_of
from edge.config import GatewayConfig, load_config
from edge.crew import Crew, StuckDevice
from edge.device import State
from edge.tap import Tap

WITHIN_S = 30.0
WITHIN_MAX_S = 600.0
LOOK_S = 0.1
TELL_EVERY_S = 5.0

log = logging.getLogger(__name__)

Say = Callable[[str], None]


class ApplyRefused(Exception):
    """The configuration was not taken over; `str()` says why, and that what ran before runs on."""


class Failed(msgspec.Struct, frozen=True):
    """A device that did not prove itself, and why."""

    device: str
    why: str


class RolledBack(Exception):
    """New devices gave nothing: everything is as before. restored: the file, too."""

    def __init__(self, failed: Sequence[Failed], *, within_s: float, restored: bool, file: str) -> None:
        self.failed = list(failed)
        self.restored = restored
        lines = [f"{one.device}: {one.why}" for one in failed]
        super().__init__(
            f"no first reading within {within_s:g} s, so the configuration before runs on:\n  "
            + "\n  ".join(lines)
            + f"\n{file}"
        )


class Applied(msgspec.Struct, frozen=True):
    """What was changed, and devices that were allowed to be silent and are."""

    change: Change
    silent: list[Failed] = []


class Applier:
    """Holds the configuration that runs. `took_over` is told of each new one (limits, alarms), and of each way back."""

    def __init__(
        self, config: GatewayConfig, crew: Crew, tap: Tap, *, took_over: Callable[[GatewayConfig], None]
    ) -> None:
        self.running = config
        self._crew = crew
        self._tap = tap
        self._took_over = took_over
        self._turn = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether somebody's change is under way."""
        return self._turn.locked()

    async def apply(
        self, say: Say, *, within_s: float = WITHIN_S, may_be_silent: Sequence[str] = (), expected: str | None = None
    ) -> Applied:
        """Take over what the file says now. expected: the digest of what was checked by who asks.

        Raises ConfigError, ApplyRefused or RolledBack.
        """
        if not 0 < within_s <= WITHIN_MAX_S:
            raise ApplyRefused(f"the time for first readings must be above 0 and at most {WITHIN_MAX_S:g} s")
        if self.busy:
            raise ApplyRefused("another change is under way; try again when it is done")
        async with self._turn:
            wanted = load_config(self.running.path)
            if expected is not None and digest(wanted.text) != expected:
                raise ApplyRefused(f"{wanted.path} was changed a moment ago; look at it, and try again")
            return await self._take_over(wanted, say, within_s, may_be_silent)

    async def _take_over(
        self, wanted: GatewayConfig, say: Say, within_s: float, may_be_silent: Sequence[str]
    ) -> Applied:
        before, change = self.running, compare(self.running, wanted)
        self._check(change, wanted, may_be_silent)
        if change.empty:
            self.running = wanted  # comments may differ
            self._keep(wanted, say)
            return Applied(change)
        try:
            begin_trial(wanted)
        except OSError as error:
            raise ApplyRefused(f"the last good configuration cannot be kept ({error}); nothing was changed") from error
        say(_summary(change))
        try:
            await self._swap(wanted, change.removed + change.changed, change.changed + change.added)
        except StuckDevice as error:
            self._restore_file(before, wanted)
            raise ApplyRefused(f"{error}; nothing was changed") from error
        failed = await self._prove(change.changed + change.added, within_s, say)
        bad = [one for one in failed if one.device not in may_be_silent]
        if bad:
            await self._back(before, change)
            restored, file = self._restore_file(before, wanted)
            log.error("configuration was rolled back: %s", "; ".join(f"{one.device}: {one.why}" for one in bad))
            raise RolledBack(bad, within_s=within_s, restored=restored, file=file)
        self._keep(wanted, say)
        log.info("configuration was taken over: %s", _summary(change))
        return Applied(change, failed)

    def _keep(self, good: GatewayConfig, say: Say) -> None:
        try:
            keep_good(good)
        except OSError as error:
            say(f"it runs, but cannot be kept as the last good configuration: {error}")

    def _check(self, change: Change, wanted: GatewayConfig, may_be_silent: Sequence[str]) -> None:
        if change.restart:
            raise ApplyRefused(
                f"{', '.join(change.restart)} in {wanted.path.name} takes effect at a restart only "
                "(sudo systemctl restart coldproof-edge). Nothing was changed"
            )
        known = {device.name for device in wanted.devices}
        if unknown := [name for name in may_be_silent if name not in known]:
            raise ApplyRefused(f"no device is called {', '.join(unknown)} in {wanted.path.name}. Nothing was changed")

    async def _swap(self, after: GatewayConfig, leaving: Sequence[str], joining: Sequence[str]) -> None:
        by_name = {device.name: device for device in after.devices}
        order = list(by_name)
        await self._crew.exchange(leaving, [by_name[name] for name in joining], order)
        self._tap.forget(leaving)
        self.running = after
        self._took_over(after)

    async def _back(self, before: GatewayConfig, change: Change) -> None:
        try:
            await self._swap(before, change.changed + change.added, change.removed + change.changed)
        except StuckDevice as error:
            raise ApplyRefused(f"{error}; the new configuration did not prove itself and cannot be left") from error

    def _restore_file(self, before: GatewayConfig, wanted: GatewayConfig) -> tuple[bool, str]:
        """Whether the file says again what runs, and what to tell."""
        try:
            aside = put_back(before, rejected=wanted.text)
        except OSError as error:
            log.error("%s cannot be put back: %s", before.path, error)
            return False, f"the file could NOT be put back ({error}); put it right before the next start"
        if before.text == wanted.text:
            return (
                True,
                "the file is as it was; files that it names (profiles) differ: put them right before the next start",
            )
        return True, f"the file says again what runs; what you tried is in {aside}"

    async def _prove(self, names: Sequence[str], within_s: float, say: Say) -> list[Failed]:
        """Wait for the first readings of these; those that gave none."""
        loop = asyncio.get_running_loop()
        ends_s, told_s = loop.time() + within_s, loop.time()
        waiting = list(names)
        while waiting:
            for name in [name for name in waiting if self._proved(name)]:
                waiting.remove(name)
                say(f"{name}: {self._first_words(name)}")
            now_s = loop.time()
            if not waiting or now_s >= ends_s:
                break
            if now_s - told_s >= TELL_EVERY_S:
                told_s = now_s
                say(f"waiting for {', '.join(waiting)}, {ends_s - now_s:.0f} s left")
            await asyncio.sleep(LOOK_S)
        return [Failed(name, self._why(name)) for name in waiting]

    def _proved(self, name: str) -> bool:
        state = self._crew.state(name)
        if state is None:
            return False
        if state.last_seen_ms is not None:
            return True
        device = next(device for device in self._crew.devices if device.name == name)
        return device.interval_s is None and state.state == State.UP

    def _first_words(self, name: str) -> str:
        shown = [words_of(each) for each in self._tap.newest(name)]
        return ", ".join(shown) or "it is open, and listens"

    def _why(self, name: str) -> str:
        state = self._crew.state(name)
        return (state.last_error if state is not None else "") or "it is there, but says nothing"


def _summary(change: Change) -> str:
    parts = [
        f"{word} {', '.join(names)}"
        for word, names in (("new", change.added), ("changed", change.changed), ("removed", change.removed))
        if names
    ]
    if change.limits:
        parts.append("limits or alarms changed")
    return ("; ".join(parts) or "nothing is different") + f"; {len(change.kept)} devices go on"
