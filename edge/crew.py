"""The devices of a running gateway and the supervisors that keep them going; some may be exchanged while others go on.

A device leaves between two exchanges, so that no answer is lost on the way, and is closed before another one takes its
place: the same port or unit id may be given on. Who stays is not touched: schedule, link and state go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from edge.config import DeviceConfig
from edge.device import DeviceState
from edge.drivers.base import Claim, ClaimsDevices
from edge.patience import Patience
from edge.supervisor import Supervisor

FINISH_S = 3.0  # for an exchange that is under way
CLOSE_S = Patience().close_s + 1.0  # a driver that hangs while it closes is cut off by its supervisor
CANCELS = 3  # the first one may be lost in a driver that hangs while it closes

log = logging.getLogger(__name__)


class StuckDevice(Exception):
    """A device could not be stopped; `str()` says which."""


class _Member:
    def __init__(self, config: DeviceConfig, supervisor: Supervisor, task: asyncio.Task[None]) -> None:
        self.config, self.supervisor, self.task = config, supervisor, task


class Crew:
    """All devices, by name, in the order of the configuration."""

    def __init__(self, make: Callable[[DeviceConfig], Supervisor]) -> None:
        self._make = make
        self._members: dict[str, _Member] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def begin(self, tasks: asyncio.TaskGroup, devices: Iterable[DeviceConfig]) -> None:
        """Start these in `tasks`, which outlives every device."""
        self._tasks = tasks
        for device in devices:
            self._start(device)

    def states(self) -> list[DeviceState]:
        """How each device is."""
        return [member.supervisor.state for member in self._members.values()]

    def state(self, name: str) -> DeviceState | None:
        """How one device is; None when there is none of this name."""
        member = self._members.get(name)
        return None if member is None else member.supervisor.state

    def words(self) -> dict[str, str]:
        """The state of each device in one word."""
        return {name: member.supervisor.state.state for name, member in self._members.items()}

    @property
    def devices(self) -> list[DeviceConfig]:
        """What is running."""
        return [member.config for member in self._members.values()]

    def channels(self, name: str) -> list[tuple[str, str]]:
        """(channel, unit) of every reading a device can give."""
        member = self._members.get(name)
        return [] if member is None else list(member.supervisor.channels)

    def claims(self) -> list[tuple[str, Claim]]:
        """(device, what it occupies) of every device that says so."""
        return [(device.name, claim) for device in self.devices for claim in claims_of(device)]

    async def leave(self) -> None:
        """End all of them."""
        await asyncio.gather(*(self._end(member) for member in self._members.values()))

    async def exchange(self, leaving: Sequence[str], joining: Sequence[DeviceConfig], order: Sequence[str]) -> None:
        """End some, then start others. order: of all names afterwards.

        Raises StuckDevice when one cannot be ended; those that were ended are then running again.
        """
        gone = [self._members[name] for name in leaving]
        try:
            await self._end_all(gone)
        except StuckDevice:
            for member in gone:
                if member.task.done():
                    self._start(member.config)
            raise
        for name in leaving:
            del self._members[name]
        for device in joining:
            self._start(device)
        rank = {name: at for at, name in enumerate(order)}
        self._members = dict(sorted(self._members.items(), key=lambda pair: rank.get(pair[0], len(rank))))

    @asynccontextmanager
    async def lent(self, what: str) -> AsyncIterator[list[str]]:
        """Give up a port or host until the end of the block: the devices on it pause. Yields their names."""
        names = sorted({name for name, claim in self.claims() if claim.what == what})
        members = [self._members[name] for name in names]
        try:
            await self._end_all(members)
            yield names
        finally:
            for member in members:
                if member.task.done() and self._members.get(member.config.name) is member:
                    self._start(member.config)

    def _start(self, device: DeviceConfig) -> None:
        assert self._tasks is not None  # begun
        supervisor = self._make(device)
        task = self._tasks.create_task(supervisor.run(), name=f"device {device.name}")
        self._members[device.name] = _Member(device, supervisor, task)

    async def _end_all(self, members: Sequence[_Member]) -> None:
        await asyncio.gather(*(self._end(member) for member in members))
        stuck = [member.config.name for member in members if not member.task.done()]
        if stuck:
            raise StuckDevice(f"{', '.join(stuck)}: does not let itself be closed; restart the gateway")

    async def _end(self, member: _Member) -> None:
        """Cancel a supervisor between two exchanges, so that no answer is lost on the way; soon in any case."""
        try:
            async with asyncio.timeout(FINISH_S):
                while member.supervisor.busy and not member.task.done():
                    await member.supervisor.idle()
        except TimeoutError:
            log.warning("an exchange is cut off: task=%s", member.task.get_name())
        for _ in range(CANCELS):
            member.task.cancel()
            done, _ = await asyncio.wait([member.task], timeout=CLOSE_S)
            if done:
                break


def claims_of(device: DeviceConfig) -> list[Claim]:
    """What a configured device occupies."""
    return device.options.claims() if isinstance(device.options, ClaimsDevices) else []
