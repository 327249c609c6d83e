"""The driver contract, all of it.

    Driver(name, config, ctx)      does no I/O
    async with driver:             opens and closes; closing twice is harmless
    await driver.poll()            one exchange: the observations of one look at the device      (PollDriver), or
    await driver.listen(emit)      until cancelled: `emit` returns when they are on the disk      (ListenDriver)

A driver never retries, paces, buffers or catches cancellation. After a BadReply from `listen` it is called again
at once and goes on where it was. It raises only these errors:

    DriverError
    ├── DeviceUnavailable   not there, silent, or the link failed   → the supervisor closes, backs off, opens again
    ├── BadReply            answered, but not with something true   → counted and shown, asked again next time
    │   └── DeviceBusy      answered that it has no time now        → asked again after a moment, a few times
    └── DriverMisconfigured no amount of waiting will help          → shown until the configuration changes
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import msgspec

from edge.clock import Clock
from edge.drivers.links import Links
from wire.observation import Observation

Emit = Callable[[Sequence[Observation]], Awaitable[None]]


class DriverError(Exception):
    """What a driver may raise; `str()` says what, where, why and what to do."""


class DeviceUnavailable(DriverError):
    """The device is not there, does not answer, or the link to it failed."""


class BadReply(DriverError):
    """The device answered with something that cannot be true (checksum, exception code, wrong length)."""


class DeviceBusy(BadReply):
    """The device asks for a moment: the same question may be answered soon."""


class DriverMisconfigured(DriverError):
    """The device can never work as configured."""


class DriverContext(msgspec.Struct, frozen=True):
    """What the agent lends to a driver."""

    clock: Clock
    log: logging.Logger
    rng: random.Random
    links: Links  #: serial lines and sockets that several devices share


class Claim(msgspec.Struct, frozen=True):
    """Something a configured device occupies: two devices may share `what` only as different parts, set alike."""

    key: str  #: the key of the configuration that says so
    what: str  #: for example `serial:/dev/ttyUSB0`
    part: str = ""  #: for example `unit 1`; empty: all of it
    settings: str = ""  #: for example `9600 8N1`


@runtime_checkable
class ChecksItself(Protocol):
    """Optional power of a driver's configuration: rules between its keys, checked before anything opens."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""


@runtime_checkable
class ClaimsDevices(Protocol):
    """Optional power of a driver's configuration: it knows what the device occupies."""

    def claims(self) -> list[Claim]:
        """What no other device may occupy."""


class Driver(AbstractAsyncContextManager["Driver"], Protocol):
    """What every driver is: something that opens and closes, and knows its channels."""

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """(channel, Rec 20 unit) of every reading it can give; empty for scanners."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class PollDriver(Driver, Protocol):
    """A device that answers when asked."""

    async def poll(self) -> list[Observation]:
        """One exchange. Raises DriverError."""


@runtime_checkable
class ListenDriver(Driver, Protocol):
    """A device that speaks when it likes."""

    async def listen(self, emit: Emit) -> None:
        """Hand on what arrives until cancelled or the device is gone. Raises DriverError."""


@runtime_checkable
class HoldsBack(Protocol):
    """Optional power of a driver that gathers before it tells: nothing is lost when it is closed."""

    def leftovers(self) -> list[Observation]:
        """What it has gathered and not told; asked once after each closing, whatever the reason."""
