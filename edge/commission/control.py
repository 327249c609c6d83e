"""The control socket of a running gateway: `control.sock` in its data folder, for its own user and root only (0600).

What a person asks for over it is done by the gateway, not by who asks: a change goes on to its end when the terminal
is gone. Bounded: CLIENTS_MAX at a time, a request of REQUEST_MAX_BYTES within REQUEST_S, a lent port LEND_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from edge.commission import letters
from edge.commission.apply import Applied, Applier, ApplyRefused, RolledBack
from edge.commission.stuck import stuck
from edge.commission.trial import TestRefused, make_test
from edge.commission.words import line_of
from edge.config import ConfigError
from edge.crew import Crew, StuckDevice
from edge.drivers.base import Emit
from edge.health import Health
from edge.tap import Tap, TooManyWatchers
from wire.observation import Observation, Reading, Stamp

CLIENTS_MAX = 16
REQUEST_S = 5.0
LEND_S = 600.0
WRITE_S = 10.0  # a terminal that takes nothing for so long is gone

log = logging.getLogger(__name__)

Send = Callable[[letters.Answer], Awaitable[None]]


class Desk:
    """Answers requests; the local page asks it, too."""

    def __init__(
        self,
        *,
        applier: Applier,
        crew: Crew,
        tap: Tap,
        look: Callable[[], Health],
        test: Emit,
        stamp: Callable[[], Stamp],
    ) -> None:
        self.applier, self.crew, self.tap = applier, crew, tap
        self.look = look
        self._test = test
        self._stamp = stamp
        self._tasks: set[asyncio.Task[None]] = set()

    def status(self) -> letters.Look:
        """Everything at this moment."""
        return letters.Look(
            path=str(self.applier.running.path.absolute()),
            health=self.look(),
            held=[letters.Held(name, claim.what, claim.part) for name, claim in self.crew.claims()],
            newest=[seen(each) for each in self.tap.newest()],
            applying=self.applier.busy,
            first=[seen(each) for each in self.tap.first()],
            tests=[seen(each) for each in self.tap.tests()],
            stuck=self.stuck(),
        )

    def stuck(self) -> dict[str, int]:
        """Channels whose probes are likely stuck."""
        units = {each.channel: each.unit for each in self.tap.newest() if isinstance(each, Reading)}
        return stuck(self.tap.curves(), units)

    async def test(self, request: letters.Test) -> letters.Done | letters.Refused:
        """Make an observation marked TEST."""
        try:
            made = make_test(request, self.applier.running, self.crew, self._stamp())
            self.tap.see([made])
            await self._test([made])
        except TestRefused as error:
            return letters.Refused(str(error))
        except Exception as error:  # noqa: BLE001 - what the buffer refuses, in its own words
            return letters.Refused(f"not recorded: {error}")
        return letters.Done(f"recorded, marked TEST for ever: {line_of(made)}")

    async def apply(self, request: letters.Apply, send: Send) -> None:
        """Take over the configuration, and say how it goes; nobody who hangs up stops it."""
        mine = self.applier.running.path
        if not _one_file(mine, Path(request.path)):
            await send(letters.Refused(f"the running gateway was started with {mine}, not with {request.path}"))
            return
        said: asyncio.Queue[letters.Answer] = asyncio.Queue(10_000)

        def say(answer: letters.Answer) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                said.put_nowait(answer)

        task = asyncio.create_task(self._apply(request, say), name="apply")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while True:
            answer = await said.get()
            await send(answer)
            if isinstance(answer, letters.Done | letters.Refused):
                return

    async def _apply(self, request: letters.Apply, say: Callable[[letters.Answer], None]) -> None:
        try:
            applied = await self.applier.apply(
                lambda text: say(letters.Said(text)),
                within_s=request.within_s,
                may_be_silent=request.may_be_silent,
                expected=request.expected,
            )
            say(done(applied))
        except RolledBack as error:
            say(letters.Refused(str(error), file_stands=not error.restored))
        except (ApplyRefused, ConfigError, StuckDevice) as error:
            say(letters.Refused(str(error)))
        except Exception as error:  # whatever happens, the person must be told, and recording goes on
            log.exception("applying a configuration failed")
            say(letters.Refused(f"unexpected {type(error).__name__}: {error}"))

    async def close(self) -> None:
        """The gateway leaves: a change under way is cut off, and undone at the next start."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def keep_control(folder: Path, desk: Desk) -> None:
    """Listen until cancelled. Raises OSError when the socket cannot be made."""
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            if len(clients) <= CLIENTS_MAX:
                await _serve(desk, reader, writer)
        finally:
            clients.discard(task)
            writer.close()

    async with _listening(folder) as listener:
        server = await asyncio.start_unix_server(serve, sock=listener, limit=letters.REQUEST_MAX_BYTES)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in list(clients):
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await desk.close()


@asynccontextmanager
async def _listening(folder: Path) -> AsyncIterator[socket.socket]:
    """The socket, for us alone. A path in /proc, because one of its own may be longer than a socket's may be."""
    path = folder / letters.SOCKET_NAME
    path.unlink(missing_ok=True)  # of a gateway that was killed; a living one holds the buffer, and we were not here
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(f"/proc/self/fd/{place}/{letters.SOCKET_NAME}")
        finally:
            os.umask(before)
        yield listener
    finally:
        listener.close()
        os.close(place)
        path.unlink(missing_ok=True)


async def _serve(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def send(answer: letters.Answer) -> None:
        writer.write(letters.line(answer))
        async with asyncio.timeout(WRITE_S):
            await writer.drain()

    try:
        async with asyncio.timeout(REQUEST_S):
            asked = await reader.readline()
        await _answer(desk, letters.read_request(asked), reader, send)
    except ValueError as error:  # also a line that is too long
        with contextlib.suppress(OSError):
            await send(letters.Refused(str(error)))
    except (OSError, TimeoutError):  # hung up
        return


async def _answer(desk: Desk, request: letters.Request, reader: asyncio.StreamReader, send: Send) -> None:
    match request:
        case letters.Status():
            await send(desk.status())
        case letters.Test():
            await send(await desk.test(request))
        case letters.Apply():
            await desk.apply(request, send)
        case letters.Tail():
            await _until_gone(_tail(desk.tap, request.names, send), reader)
        case letters.Lend():
            await _lend(desk.crew, request.what, reader, send)


async def _tail(tap: Tap, names: list[str], send: Send) -> None:
    try:
        with tap.watch() as watcher:
            for each in tap.newest():
                if _wanted(each, names):
                    await send(seen(each))
            told = 0
            while True:
                for each in await watcher.read():
                    if _wanted(each, names):
                        await send(seen(each))
                if watcher.missed > told:
                    await send(letters.Said(f"{watcher.missed - told} observations came too fast to be shown"))
                    told = watcher.missed
    except TooManyWatchers as error:
        await send(letters.Refused(str(error)))


async def _lend(crew: Crew, what: str, reader: asyncio.StreamReader, send: Send) -> None:
    try:
        async with crew.lent(what) as devices:
            log.info("lent: what=%s devices=%s", what, ",".join(devices))
            await send(letters.Lent(devices))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEND_S):
                    await reader.read(1)
    except StuckDevice as error:
        await send(letters.Refused(str(error)))


async def _until_gone(work: Awaitable[None], reader: asyncio.StreamReader) -> None:
    """Until it is done or the asker hangs up."""
    tasks = {asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _one_file(one: Path, other: Path) -> bool:
    return one.absolute().resolve() == other.resolve()


def _wanted(observation: Observation, names: list[str]) -> bool:
    return not names or observation.channel in names or observation.channel.partition("/")[0] in names


def seen(observation: Observation) -> letters.Seen:
    """An observation as a letter."""
    if isinstance(observation, Reading):
        value, unit = "" if observation.value is None else f"{observation.value:f}", observation.unit
    else:
        value, unit = observation.code, ""
    return letters.Seen(
        line=line_of(observation),
        channel=observation.channel,
        at_ms=observation.stamp.observed_at_ms,
        value=value,
        unit=unit,
        quality=observation.quality.name.lower(),
    )


def done(applied: Applied) -> letters.Done:
    """What was taken over, as a letter."""
    if applied.change.empty:
        return letters.Done("nothing is different: the gateway runs this configuration already")
    warnings = [f"{one.device} is silent, as allowed: {one.why}" for one in applied.silent]
    return letters.Done("taken over, and kept as the last good configuration", warnings)
