"""Warnings at the site: raised, cleared, tried; and what the command is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edge.alarms import Alarms, AlarmTable
from edge.limits import Limit
from wire.observation import ClockState, Quality, Reading, Stamp

LIMIT = Limit("room-1/air", above=-18.0, below=-25.0)


def reading(tenths: int | None, at_s: int = 0, quality: Quality = Quality.OK, channel: str = "room-1/air") -> Reading:
    return Reading(channel, "CEL", tenths, -1, Stamp(1000 * at_s, 1000 * at_s, bytes(16), ClockState.SYNCED), quality)


def alarms(after_s: float = 0.0, command: list[str] | None = None, timeout_s: float = 5.0) -> Alarms:
    return Alarms("gw", [LIMIT], AlarmTable(after_s, command or [], timeout_s))


def events(one: Alarms) -> list[tuple[str, str]]:
    return [(change.event, change.alarm.kind) for change in reversed(one.history())]


def test_beyond_is_raised_once_and_cleared_by_the_first_reading_within() -> None:
    one = alarms()
    one.see([reading(-200), reading(-179, 1), reading(-150, 2), reading(-160, 3)])
    (active,) = one.active()
    assert (active.kind, active.value, active.limit, active.since_ms) == ("above", "-15.0", "-18", 1000)
    one.see([reading(-180, 4)])
    assert one.active() == []
    one.see([reading(-251, 5)])
    assert events(one) == [("raised", "above"), ("cleared", "above"), ("raised", "below")]


def test_short_excursion_is_no_alarm() -> None:
    one = alarms(after_s=60)
    one.see([reading(-100, 0), reading(-100, 59), reading(-200, 61), reading(-100, 70), reading(-100, 129)])
    assert events(one) == []
    one.see([reading(-100, 130)])
    assert events(one) == [("raised", "above")]
    assert one.active()[0].since_ms == 70_000


def test_silent_channel_with_a_limit_is_an_alarm() -> None:
    one = alarms(after_s=60)
    one.see([reading(None, 1, Quality.STALE), reading(None, 1, Quality.STALE, channel="room-2/air")])
    assert events(one) == [("raised", "silent")]
    one.see([reading(-200, 2)])
    assert one.active() == []


def test_broken_probe_neither_raises_nor_clears() -> None:
    one = alarms()
    one.see([reading(-100), reading(None, 1, Quality.SENSOR_ERROR), reading(6000, 2, Quality.OUT_OF_RANGE)])
    assert len(one.active()) == 1


def test_test_alarm_is_told_and_changes_nothing() -> None:
    one = alarms(after_s=600)
    one.see([reading(-170, 1, Quality.TEST)])
    assert events(one) == [("test", "above")]
    assert one.history()[0].alarm.test
    assert one.active() == []


def test_new_limits_are_judged_by_the_next_reading() -> None:
    one = alarms()
    one.see([reading(-100)])
    one.configure([Limit("room-1/air", above=0.0)], AlarmTable())
    assert one.active() == []
    one.see([reading(-100, 1)])
    assert one.active() == []


@asynccontextmanager
async def telling(one: Alarms) -> AsyncIterator[None]:
    task = asyncio.create_task(one.keep_telling())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(claim: object, limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while not claim():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_command_is_told_what_happens_in_order(tmp_path: Path) -> None:
    told = tmp_path / "told"
    words = (
        "echo $COLDPROOF_EVENT $COLDPROOF_GATEWAY $COLDPROOF_CHANNEL $COLDPROOF_KIND $COLDPROOF_VALUE $COLDPROOF_LIMIT"
    )
    one = alarms(command=["sh", "-c", f"{words} >> {told}; echo ${{HOME-no home}} >> {told}"])
    async with telling(one):
        one.see([reading(-100), reading(-200, 1), reading(-170, 2, Quality.TEST)])
        await until(lambda: told.exists() and told.read_text().count("\n") == 6)
    assert told.read_text().splitlines() == [
        "raised gw room-1/air above -10.0 -18",
        "no home",
        "cleared gw room-1/air above -10.0 -18",
        "no home",
        "test gw room-1/air above -17.0 -18",
        "no home",
    ]
    assert one.last_error == ""


async def test_command_that_hangs_fails_or_is_not_there_holds_up_nobody(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    one = alarms(command=["sh", "-c", f"(sleep 1; touch {alive}) & sleep 60"], timeout_s=0.3)
    async with telling(one):
        one.see([reading(-100)])
        await until(lambda: "not done within 0.3 s" in one.last_error)
        one.configure([LIMIT], AlarmTable(command=["false"]))
        one.see([reading(-200, 1)])
        await until(lambda: "exit status 1" in one.last_error)
        one.configure([LIMIT], AlarmTable(command=[str(tmp_path / "nowhere")]))
        one.see([reading(-100, 2)])
        await until(lambda: "No such file" in one.last_error)
        one.configure([LIMIT], AlarmTable(command=["true"]))
        one.see([reading(-200, 3)])
        await until(lambda: one.last_error == "")
    assert not alive.exists()
