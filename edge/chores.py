"""What runs beside the recording: started together, ended together, and nothing of it ends the recording.

A chore (renewing a certificate, following a change of key, writing the status …) reads files and talks to others. What
it expects to go wrong it takes in itself. What nobody expected (a file system that answers in its own way, a letter
nobody thought of) must not reach the TaskGroup that records: there it would end every device. So a chore is held like
a driver: the error is logged with its trace, and the chore begins anew after a while. Only what ends the gateway on
purpose, BufferUnusable, goes through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from edge.buffer.base import BufferUnusable

AGAIN_AFTER_S = 60.0

log = logging.getLogger(__name__)


async def kept_going(name: str, chore: Callable[[], Awaitable[None]], *, again_after_s: float = AGAIN_AFTER_S) -> None:
    """Run a chore for ever, whatever it raises. Raises BufferUnusable."""
    told = ""
    while True:
        try:
            await chore()
        except BufferUnusable:
            raise
        except Exception as error:
            if repr(error) != told:  # a card wears
                log.exception("a chore failed, recording goes on: chore=%s again_after_s=%g", name, again_after_s)
            told = repr(error)
        await asyncio.sleep(again_after_s)


@asynccontextmanager
async def running(**tasks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these, by name, until the end of the block, which cancels them together and waits for them.

    Raises, as an ExceptionGroup, what one of them raises; that ends the block.
    """
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(task, name=name) for name, task in tasks.items()]
        yield
        for each in started:
            each.cancel()
