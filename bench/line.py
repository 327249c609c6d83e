"""A TCP line that harms on command, for benches that are written as plain steps: the proxy runs in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from firmware_sim.tcp_proxy import DEAF, GOOD, Road, TcpProxy

ANSWER_S = 10.0


class Line:
    """`with Line(port) as line:` carries what connects to `line.port` to a loopback port."""

    def __init__(self, port: int) -> None:
        self._proxy = TcpProxy("127.0.0.1", port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._proxy.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._proxy.__aexit__, None, None, None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._proxy.port

    @property
    def carried_up(self) -> int:
        """Bytes that went from who connected to the target."""
        return self._proxy.carried["up"]

    def swallow(self) -> None:
        """From now on everything vanishes, and no socket is closed."""
        self._say(self._proxy.change, DEAF)

    def become(self, road: Road) -> None:
        """Both directions are like this from now on."""
        self._say(self._proxy.change, road)

    def heal(self) -> None:
        """New connections are carried again; those that swallowed something stay deaf."""
        self._say(self._proxy.change, GOOD)

    def reset(self) -> None:
        """Reset every connection."""
        self._say(self._proxy.reset)

    def refuse(self) -> None:
        """Close the port and reset what is connected."""
        self._do(self._proxy.refuse)
        self._say(self._proxy.reset)

    def admit(self) -> None:
        """Listen again."""
        self._do(self._proxy.admit)

    def _say(self, change: Callable[..., None], *words: Any) -> None:
        async def step() -> None:
            change(*words)

        self._do(step)

    def _do(self, step: Callable[..., Awaitable[Any]], *words: Any) -> None:
        async def run() -> None:
            await step(*words)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(ANSWER_S)
