"""The gateway's clocks: what they say when somebody steps them, when the source is lost, and when time is simulated."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from edge import clock as edge_clock
from edge.clock import BUILD_MS, OFFERS_LAST_MS, SimulatedClock, SteppedClock, SystemClock
from edge.clock_file import CLOCK_NAME
from wire import simtime
from wire.observation import ClockState, Stamp
from wire.pack import Correction
from wire.simtime import Segment, SimTime, WallClock

START_MS = 1_790_000_000_000


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the machine's clocks say: the wall's lead over the monotonic clock, and whether they are synchronised."""
    says = {"lead_ms": START_MS, "synced": 1}
    monkeypatch.setattr(edge_clock, "_wall_minus_monotonic_ms", lambda: says["lead_ms"])
    monkeypatch.setattr(edge_clock, "_kernel", lambda: (bool(says["synced"]), 30))
    return says


def test_wall_time_keeps_step_with_monotonic_time_until_somebody_steps_it(kernel: dict[str, int]) -> None:
    clock = SystemClock()
    leads = []
    for lead_ms in (0, 2, -2, 3, 3_600_000):
        kernel["lead_ms"] = START_MS + lead_ms
        stamp = clock.stamp()
        leads.append(stamp.observed_at_ms - stamp.monotonic_ms - START_MS)
    assert leads == [0, 0, 0, 3, 3_600_000]


def test_a_clock_that_was_synced_holds_over_until_it_is_stepped(kernel: dict[str, int]) -> None:
    kernel["synced"] = 0
    clock = SystemClock()
    states = [clock.stamp().clock]
    for synced, step_ms in ((1, 0), (0, 0), (0, 0), (0, 5_000), (1, 9_000), (0, 0)):
        kernel["synced"] = synced
        kernel["lead_ms"] += step_ms
        states.append(clock.stamp().clock)
    unsynced, synced_, holdover = ClockState.UNSYNCED, ClockState.SYNCED, ClockState.HOLDOVER
    assert states == [unsynced, synced_, holdover, holdover, unsynced, synced_, holdover]


def test_being_held_up_between_the_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, held_up = [10**15], iter([80_000_000, 0, 0, 0])

    def wall_ns() -> int:
        now_ns[0] += next(held_up)
        return now_ns[0] + START_MS * 1_000_000

    monkeypatch.setattr(edge_clock.time, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(edge_clock.time, "time_ns", wall_ns)
    assert edge_clock._wall_minus_monotonic_ms() == START_MS


def test_the_machines_own_clock_tells_the_time_of_day() -> None:
    stamp = SystemClock().stamp()
    assert abs(stamp.observed_at_ms - time.time() * 1000) < 1000
    assert len(stamp.boot_id) == 16


async def test_simulated_time_is_followed_through_a_change_of_pace(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    now_s = time.monotonic()
    simtime.write(path, SimTime([Segment(now_s, START_MS, 0.001)]))
    clock = SimulatedClock(path)
    waiting = asyncio.create_task(clock.sleep_until(60_000))
    await asyncio.sleep(0)
    assert clock.stamp().observed_at_ms - clock.stamp().monotonic_ms == START_MS
    simtime.write(path, SimTime([Segment(now_s, START_MS, 0.001), Segment(now_s, START_MS, 1e6)]))
    async with asyncio.timeout(5):
        await waiting
    assert clock.stamp().monotonic_ms >= 60_000


async def test_a_stepped_clock_wakes_who_is_due_and_never_goes_back() -> None:
    clock = SteppedClock(START_MS)
    early, late = (asyncio.create_task(clock.sleep_until(ms)) for ms in (10, 20))
    await clock.all_asleep(2)
    clock.move_to(START_MS + 10)
    await early
    assert not late.done()
    assert clock.stamp().observed_at_ms == START_MS + 10
    with pytest.raises(ValueError, match="forward"):
        clock.move_to(START_MS + 9)
    late.cancel()


DAY_MS = 86_400_000


def offsets(clock: SystemClock) -> list[tuple[int, str]]:
    return [(one.offset_ms, one.source) for one in clock.pending()]


def mended(stamp: Stamp, corrections: list[Correction]) -> int:
    """The believed time with the newest correction over it."""
    for one in reversed(corrections):
        if one.boot_id == stamp.boot_id and one.from_monotonic_ms <= stamp.monotonic_ms <= one.to_monotonic_ms:
            return stamp.observed_at_ms + one.offset_ms
    return stamp.observed_at_ms


@pytest.mark.parametrize("wrong_ms", [-DAY_MS, DAY_MS, -START_MS], ids=["-1 day", "+1 day", "1970"])
def test_a_wrong_clock_is_corrected_once_it_is_set(kernel: dict[str, int], wrong_ms: int) -> None:
    kernel.update(lead_ms=START_MS + wrong_ms, synced=0)
    clock = SystemClock()
    before = clock.stamp()
    assert (before.clock, clock.pending()) == (ClockState.UNSYNCED, [])
    kernel.update(lead_ms=START_MS, synced=1)
    after = clock.stamp()
    assert after.clock is ClockState.SYNCED
    assert offsets(clock) == [(-wrong_ms, "ntp")]
    assert mended(before, clock.pending()) - before.monotonic_ms == START_MS
    assert mended(after, clock.pending()) == after.observed_at_ms


def test_a_new_regime_begins_behind_the_last_row_of_the_one_before(
    kernel: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_clock.time, "monotonic_ns", lambda: 5_000_000_000)
    kernel["synced"] = 0
    clock = SystemClock()
    stamps = [clock.stamp()]
    for step_ms in (DAY_MS, -DAY_MS):
        kernel["lead_ms"] += step_ms
        stamps += [clock.stamp(), clock.stamp()]
    assert [stamp.monotonic_ms for stamp in stamps] == [5000, 5001, 5001, 5002, 5002]
    kernel["synced"] = 1
    stamps.append(clock.stamp())
    assert {mended(stamp, clock.pending()) - stamp.monotonic_ms for stamp in stamps} == {START_MS}


def test_a_later_process_of_the_boot_corrects_what_an_earlier_one_stamped(
    kernel: dict[str, int], tmp_path: Path
) -> None:
    kernel.update(lead_ms=0, synced=0)
    early = SystemClock(tmp_path / CLOCK_NAME).stamp()
    kernel.update(lead_ms=START_MS, synced=1)
    later = SystemClock(tmp_path / CLOCK_NAME)
    later.stamp()
    assert mended(early, later.pending()) == START_MS + early.monotonic_ms


def test_what_was_not_declared_is_declared_by_the_next_process_also_after_a_reboot(
    kernel: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.update(lead_ms=0, synced=0)
    first = SystemClock(tmp_path / CLOCK_NAME)
    first.stamp()
    kernel.update(lead_ms=START_MS, synced=1)
    first.stamp()
    owed = first.pending()
    assert len(owed) == 1
    second = SystemClock(tmp_path / CLOCK_NAME)  # the first was killed before it could declare anything
    assert second.pending() == owed
    monkeypatch.setattr(Path, "read_text", lambda _: "11111111-2222-3333-4444-555555555555")
    rebooted = SystemClock(tmp_path / CLOCK_NAME)
    rebooted.stamp()
    assert rebooted.pending() == owed
    rebooted.declared(owed)
    assert SystemClock(tmp_path / CLOCK_NAME).pending() == []


def test_the_known_floor_outlives_a_reboot_and_is_never_below_the_build(kernel: dict[str, int], tmp_path: Path) -> None:
    kernel.update(lead_ms=0, synced=0)
    clock = SystemClock(tmp_path / CLOCK_NAME)
    clock.stamp()
    assert clock.known_floor_ms() == BUILD_MS
    kernel.update(lead_ms=START_MS, synced=1)
    known_ms = clock.stamp().observed_at_ms
    kernel.update(lead_ms=0, synced=0)
    assert SystemClock(tmp_path / CLOCK_NAME).known_floor_ms() == known_ms


def test_what_has_passed_is_the_floor_of_a_clock_nobody_set_until_somebody_does(
    kernel: dict[str, int], tmp_path: Path
) -> None:
    kernel.update(lead_ms=0, synced=0)
    clock = SystemClock(tmp_path / CLOCK_NAME)
    later_ms = BUILD_MS + 400 * 86_400_000
    for step_ms in (0, 60_000, -3_600_000):
        clock.has_passed(later_ms + step_ms)
    assert clock.known_floor_ms() == later_ms + 60_000
    assert SystemClock(tmp_path / CLOCK_NAME).known_floor_ms() == later_ms  # a card wears: once an hour
    kernel.update(lead_ms=START_MS, synced=1)
    known_ms = clock.stamp().observed_at_ms
    assert clock.known_floor_ms() == known_ms < later_ms
    clock.has_passed(later_ms)
    assert clock.known_floor_ms() == known_ms
    assert SystemClock(tmp_path / CLOCK_NAME).known_floor_ms() == known_ms


def test_a_clock_that_is_synchronised_to_before_this_program_is_not_believed(kernel: dict[str, int]) -> None:
    kernel.update(lead_ms=0, synced=1)
    assert SystemClock().stamp().clock is ClockState.UNSYNCED


def test_a_file_that_cannot_be_read_is_set_aside(kernel: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / CLOCK_NAME).write_bytes(b'{"boot_id": 7')
    clock = SystemClock(tmp_path / CLOCK_NAME)
    assert clock.stamp().clock is ClockState.SYNCED
    assert (tmp_path / f"{CLOCK_NAME}.corrupt").read_bytes() == b'{"boot_id": 7'
    assert SystemClock(tmp_path / CLOCK_NAME).course == clock.course


def test_a_folder_that_takes_nothing_stops_no_stamp(
    kernel: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    clock = SystemClock(tmp_path / "file" / CLOCK_NAME)
    assert clock.stamp().clock is ClockState.SYNCED
    kernel["synced"] = 0
    assert clock.stamp().clock is ClockState.HOLDOVER
    assert caplog.text.count("cannot be written") == 1


def test_only_changes_are_written(kernel: dict[str, int], tmp_path: Path) -> None:
    clock = SystemClock(tmp_path / CLOCK_NAME)
    clock.stamp()
    written = (tmp_path / CLOCK_NAME).stat().st_ino
    for _ in range(1000):
        clock.stamp()
    assert (tmp_path / CLOCK_NAME).stat().st_ino == written


def test_gps_time_is_believed_when_offers_agree_and_corrects_what_was_before(kernel: dict[str, int]) -> None:
    kernel.update(lead_ms=0, synced=0)
    clock = SystemClock()
    before = clock.stamp()
    for jitter_ms in (40, -60):
        now_ms = clock.stamp().monotonic_ms
        clock.offer("gps", START_MS + now_ms + jitter_ms, now_ms, 300)
        assert clock.stamp().clock is ClockState.UNSYNCED
    clock.offer("gps", START_MS + now_ms + 10, now_ms, 300)
    after = clock.stamp()
    assert after.clock is ClockState.SYNCED
    assert after.observed_at_ms - after.monotonic_ms == START_MS + 10
    assert offsets(clock) == [(START_MS + 10, "gps")]
    assert mended(before, clock.pending()) - before.monotonic_ms == START_MS + 10


def test_a_lone_or_impossible_offer_is_not_believed(kernel: dict[str, int]) -> None:
    kernel.update(lead_ms=0, synced=0)
    clock = SystemClock()
    now_ms = clock.stamp().monotonic_ms
    for offset_ms, uncertainty_ms in (
        (START_MS, 300),
        (START_MS + DAY_MS, 300),
        (START_MS, 300),
        (START_MS, 5000),
        (BUILD_MS - DAY_MS * 1024 * 7, 300),
    ):
        clock.offer("gps", offset_ms + now_ms, now_ms, uncertainty_ms)
        assert clock.stamp().clock is ClockState.UNSYNCED


def test_gps_time_holds_over_when_the_receiver_goes_silent_also_in_the_next_process(
    kernel: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = [10**12]
    monkeypatch.setattr(edge_clock.time, "monotonic_ns", lambda: now_ns[0])
    kernel.update(lead_ms=0, synced=0)
    clock = SystemClock(tmp_path / CLOCK_NAME)
    for _ in range(3):
        clock.offer("gps", START_MS + 10**6, 10**6, 300)
    assert clock.stamp().clock is ClockState.SYNCED
    now_ns[0] += (OFFERS_LAST_MS + 1) * 1_000_000
    stamp = clock.stamp()
    assert (stamp.clock, stamp.observed_at_ms - stamp.monotonic_ms) == (ClockState.HOLDOVER, START_MS)
    stamp = SystemClock(tmp_path / CLOCK_NAME).stamp()
    assert (stamp.clock, stamp.observed_at_ms - stamp.monotonic_ms) == (ClockState.HOLDOVER, START_MS)


def test_the_kernel_is_believed_before_gps_and_a_contradiction_is_told_once(
    kernel: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    clock = SystemClock()
    for _ in range(10):
        now_ms = clock.stamp().monotonic_ms
        clock.offer("gps", START_MS + DAY_MS + now_ms, now_ms, 300)
    stamp = clock.stamp()
    assert stamp.observed_at_ms - stamp.monotonic_ms == START_MS
    assert caplog.text.count("contradicts") == 1


async def test_a_simulated_gateway_boots_in_1970_and_corrects_itself_after_the_sync(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    wrong = WallClock(START_MS, error_ms=-START_MS, synced=False, boot=True)
    segment = Segment(time.monotonic(), START_MS, 300.0)  # ten minutes in two seconds
    simtime.write(path, SimTime([segment], {"gw-1": [wrong, WallClock(START_MS + 600_000)]}))
    clock, right = SimulatedClock(path, "gw-1", tmp_path / CLOCK_NAME), SimulatedClock(path, "gw-2")
    early = clock.stamp()
    assert early.observed_at_ms == early.monotonic_ms
    await clock.sleep_until(600_001)
    late = clock.stamp()
    assert late.clock is ClockState.SYNCED
    assert mended(early, clock.pending()) == START_MS + early.monotonic_ms
    assert late.boot_id == early.boot_id != right.stamp().boot_id
    assert right.pending() == []
