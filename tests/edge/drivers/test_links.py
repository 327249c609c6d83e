"""Lines that devices share."""

from __future__ import annotations

import asyncio

import pytest

from edge.drivers.base import DeviceUnavailable
from edge.drivers.links import Links


class Line:
    opened = closed = 0

    async def open(self) -> Line:
        await asyncio.sleep(0)
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1


async def test_first_opens_and_last_closes() -> None:
    links, line = Links(), Line()
    async with links.lease("serial:a", line.open) as first:
        async with links.lease("serial:a", line.open) as second:
            assert first is second
        assert (line.opened, line.closed) == (1, 0)
    assert (line.opened, line.closed) == (1, 1)


async def test_all_at_once_open_it_once() -> None:
    links, line = Links(), Line()

    async def use() -> None:
        async with links.lease("serial:a", line.open):
            await asyncio.sleep(0.01)

    await asyncio.gather(*(use() for _ in range(20)))
    assert (line.opened, line.closed) == (1, 1)


async def test_line_that_cannot_be_opened_leaves_nothing_behind() -> None:
    links, line = Links(), Line()

    async def fail() -> Line:
        raise DeviceUnavailable("absent")

    with pytest.raises(DeviceUnavailable):
        async with links.lease("serial:a", fail):
            pass
    async with links.lease("serial:a", line.open):
        assert line.opened == 1


async def test_other_keys_are_other_lines() -> None:
    links, one, other = Links(), Line(), Line()
    async with links.lease("serial:a", one.open) as first, links.lease("serial:b", other.open) as second:
        assert first is not second
