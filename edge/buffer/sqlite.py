"""SqliteBuffer: the buffer contract over one SQLite file, with one worker thread and group commit.

Keeps "accepted survives kill" and "a scan commits at once". What happens to the file: edge/buffer/keeper.py.

`append` waits until its group is committed with fsync. A group gathers what arrives within the commit window of
its first observation, and while the commit before it is still under way; a scan ends the wait at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edge.buffer.base import (
    BufferFailure,
    BufferOptions,
    BufferState,
    BufferUnusable,
    PackName,
    SealedPack,
    SealOptions,
)
from edge.buffer.file import free_disk_bytes
from edge.buffer.keeper import Keeper
from edge.buffer.seal import admit
from edge.buffer.space import FreeBytes
from edge.buffer.store import Store
from edge.keys import Identity
from edge.limits import Limits
from wire.observation import Observation, Scan, Stamp
from wire.pack import Correction, Loss, StreamHead
from wire.receipt import Receipt

T = TypeVar("T")


class SqliteBuffer:
    """See edge/buffer/base.py for the contract. Use as `async with SqliteBuffer(…) as buffer`."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        options: BufferOptions | None = None,
        *,
        seal_options: SealOptions | None = None,
        free_bytes: FreeBytes = free_disk_bytes,
        successor: Identity | None = None,
        limits: Limits | None = None,
    ) -> None:
        """successor: whoever a key change may have named before the program ended; signs if the file says so.

        limits: in force on this gateway; what lies beyond them survives disk pressure longest.
        """
        self._path = path
        self._options = options or BufferOptions()
        self._seal_options = seal_options or SealOptions()
        self._after_s = self._seal_options.after_s
        self._keeper = Keeper(
            path,
            identity,
            successor=successor,
            options=self._options,
            seal_options=self._seal_options,
            free_bytes=free_bytes,
            limits=limits,
        )
        self._worker: ThreadPoolExecutor
        self._committer: asyncio.Task[None] | None = None
        self._group: list[Observation] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._arrived = asyncio.Event()  # something waits for its commit
        self._hurry = asyncio.Event()  # do not wait for the window
        self._changed = asyncio.Event()  # something was committed: ripe() looks again
        self._open_since: float | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="buffer")
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._keeper.open)
        except BaseException:
            self._worker.shutdown(wait=False)
            raise
        if self._store.state.open_observations:
            self._open_since = -math.inf  # from before the start: as old as can be
        self._committer = asyncio.create_task(self._commit_groups(), name="buffer-commit")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._arrived.set()
        self._hurry.set()
        try:
            if self._committer is not None:
                await self._committer
        finally:
            await self._run(Store.close)
            self._worker.shutdown(wait=False)

    async def append(self, observations: Sequence[Observation]) -> None:
        """Return when all of them are accepted. Raises BufferFull, ObservationRefused, BufferUnusable."""
        if self._closing or self._committer is None or self._committer.done():
            raise BufferUnusable(f"{self._path}: the buffer is closed")
        if not observations:
            return
        self._group += admit(observations, self._seal_options)
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(accepted)
        self._arrived.set()
        if any(isinstance(observation, Scan) for observation in observations):
            self._hurry.set()
        await accepted

    async def ripe(self) -> None:
        """Return when something ought to be sealed: old enough, many enough, a scan, or something to declare."""
        while not self._store.seal_at_once:
            left_s: float | None = None
            if self._open_since is not None:
                left_s = self._open_since + self._after_s - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return
            self._changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                return

    def set_pace(self, after_s: float) -> None:
        """From now on observations are old enough after this many real seconds."""
        if after_s != self._after_s:
            self._after_s = after_s
            self._changed.set()

    async def seal(self, stamp: Stamp) -> list[StreamHead]:
        """Seal everything open; the heads of the new packs, oldest first. Raises BufferFull, BufferUnusable."""
        opened_at_s, self._open_since = self._open_since, None
        try:
            heads = await self._run(partial(Store.seal, stamp=stamp))
        except BaseException:
            self._open_since = self._open_since if opened_at_s is None else opened_at_s  # as overdue as before
            raise
        if self._store.state.open_observations and self._open_since is None:
            self._open_since = asyncio.get_running_loop().time()
        return heads

    async def declare(self, entry: Loss | Correction) -> None:
        """Return when the entry is on the disk; the next pack carries it. Raises DeclarationRefused."""
        await self._run(partial(Store.declare, entry=entry))
        self._changed.set()

    @property
    def kid(self) -> bytes:
        """Key id of whoever signs now."""
        return self._store.identity.kid

    async def change_key(self, successor: Identity, stamp: Stamp) -> list[StreamHead]:
        """Let `successor` sign from here on; the heads of the packs this sealed, oldest first."""
        self._keeper.successor = successor
        heads = await self._run(partial(Store.change_key, successor=successor, stamp=stamp))
        if not self._store.state.open_observations:
            self._open_since = None
        return heads

    async def change_arrived(self) -> bool:
        """Whether the cloud surely knows the key that is to follow."""
        return await self._run(Store.change_arrived)

    async def finish_change(self) -> None:
        """The successor is the only key from now on."""
        self._keeper.finish_change()
        await self._run(Store.finish_change)
        self._changed.set()

    async def unsent(self, *, newest_first: bool, limit: int, exclude: Collection[PackName] = ()) -> list[SealedPack]:
        """Up to `limit` packs that are sealed, not settled and not in `exclude`."""
        chosen = frozenset(exclude)
        packs = await self._run(partial(Store.unsent, newest_first=newest_first, limit=limit, exclude=chosen))
        self._changed.set()  # a damaged pack found on the way has to be declared
        return packs

    async def fetch(self, names: Sequence[PackName]) -> list[SealedPack]:
        """Those of the named packs that are still here, settled or not."""
        return await self._run(partial(Store.fetch, names=tuple(names)))

    async def held(self, stream: bytes, ranges: Sequence[tuple[int, int]], *, limit: int) -> list[PackName]:
        """Names of up to `limit` packs of these ranges that are still here. Raises StreamUnknown."""
        return await self._run(partial(Store.held, name=stream, ranges=tuple(ranges), limit=limit))

    async def head_of(self, stream: bytes) -> StreamHead | None:
        """The last pack of this stream that was surely sealed, None before the first. Raises StreamUnknown."""
        return await self._run(partial(Store.head_of, name=stream))

    async def settle(self, receipt: Receipt) -> int:
        """Take a verified receipt in; how many packs it released that were not before.

        Raises StreamUnknown, ReceiptBeyondHead.
        """
        released = await self._run(partial(Store.settle, receipt=receipt))
        self._changed.set()  # a change of key that the cloud needed no more has to be declared
        return released

    async def use_command(self, counter: int) -> bool:
        """Whether a command counter is new; it is used up for good when this returns."""
        return await self._run(partial(Store.use_command, counter=counter))

    def state(self) -> BufferState:
        """The buffer as of the last finished operation."""
        return self._store.state

    # -- group commit, on the loop --

    async def _commit_groups(self) -> None:
        try:
            while not self._closing or self._group:
                await self._arrived.wait()
                try:
                    async with asyncio.timeout(self._options.commit_window_ms / 1000):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
                if self._group:
                    await self._commit()
        finally:  # it may end by a defect while others have come: nobody waits for ever
            _answer(self._waiting, self._interrupted())

    async def _commit(self) -> None:
        group, waiting = self._group, self._waiting
        self._group, self._waiting = [], []
        self._arrived.clear()
        self._hurry.clear()
        failure: BufferFailure | None = self._interrupted()
        try:
            await self._run(partial(Store.append, observations=group))
            failure = None
        except BufferFailure as error:
            failure = error
        finally:
            _answer(waiting, failure)
        if failure is None and self._open_since is None:
            self._open_since = asyncio.get_running_loop().time()
        self._changed.set()

    def _interrupted(self) -> BufferUnusable:
        return BufferUnusable(f"{self._path}: the commit was interrupted; start again")

    # -- the file, on the worker thread --

    async def _run(self, step: Callable[[Store], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._keeper.run, step)

    @property
    def _store(self) -> Store:
        return self._keeper.store


def _answer(waiting: list[asyncio.Future[None]], failure: BufferFailure | None) -> None:
    """Tell everybody who still waits that the commit is done, or why it is not."""
    for accepted in waiting:
        if not accepted.done():
            if failure is None:
                accepted.set_result(None)
            else:
                accepted.set_exception(failure)
