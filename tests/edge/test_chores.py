"""Chores beside the recording: held whatever they raise, and ended together."""

from __future__ import annotations

import asyncio

import pytest

from edge.buffer.base import BufferUnusable
from edge.chores import kept_going, running


@pytest.mark.parametrize("error", [OSError("card"), ValueError("no url"), KeyError(1), RecursionError()])
async def test_chore_begins_anew_whatever_it_raises(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    begun = 0
    thrice = asyncio.Event()

    async def chore() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            thrice.set()
        raise error

    async with asyncio.timeout(5), running(chore=kept_going("a chore", chore, again_after_s=0.01)):
        await thrice.wait()
    assert "recording goes on: chore=a chore" in caplog.text
    assert repr(error)[:7] in caplog.text
    assert len(caplog.records) == 1


async def test_what_ends_the_gateway_on_purpose_goes_through() -> None:
    async def chore() -> None:
        raise BufferUnusable("newer schema")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with running(chore=kept_going("a chore", chore)):
            await asyncio.sleep(5)
    assert caught.group_contains(BufferUnusable)


async def test_the_end_of_the_block_ends_all_and_waits_for_them() -> None:
    ended: list[str] = []

    async def chore(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append(name)

    async with running(one=chore("one"), two=chore("two")):
        await asyncio.sleep(0)
    assert sorted(ended) == ["one", "two"]
