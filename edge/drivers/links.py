"""Serial lines and sockets that several devices share: opened by the first, closed by the last, one user at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol


class Closable(Protocol):
    """A link that can be closed."""

    def close(self) -> None:
        """Close it; must not block."""


class Link:
    """One shared link and the lock that gives it to one exchange at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.resource: Any = None


class Links:
    """The links of one agent, by key (for example `serial:/dev/ttyUSB0`)."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    @asynccontextmanager
    async def lease(self, key: str, open_link: Callable[[], Awaitable[Closable]]) -> AsyncIterator[Link]:
        """Share the link named `key`; the first user opens it with `open_link`, the last one closes it."""
        link = self._links.setdefault(key, Link())
        link.users += 1
        try:
            async with link.lock:
                if link.resource is None:
                    link.resource = await open_link()
            yield link
        finally:
            link.users -= 1
            if link.users == 0:
                self._links.pop(key, None)
                if link.resource is not None:
                    link.resource.close()
