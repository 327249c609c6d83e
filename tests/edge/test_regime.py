"""What a boot's clock did and what is declared about it, against a model that knows the true time."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.regime import DRIFT_PPM, PIECES_MAX, REGIMES_MAX, Course, Regime, follow, settle
from wire.observation import ClockState
from wire.pack import Correction

BOOT = b"b" * 16
TRUE_MS = 1_790_000_000_000  # true time at monotonic 0
DAY_MS = 86_400_000
SYNCED, HOLDOVER, UNSYNCED = ClockState.SYNCED, ClockState.HOLDOVER, ClockState.UNSYNCED

steps = st.sampled_from([-DAY_MS, DAY_MS, -TRUE_MS, 0, 700, -1500, 3_600_000]) | st.integers(-10_000, 10_000)
#: (monotonic time that passes, what somebody sets the error of the clock to, or None: a source sets it right)
doings = st.lists(st.tuples(st.integers(1, 3_600_000), steps | st.none()), min_size=1, max_size=30)


def at(course: Course, monotonic_ms: int, error_ms: int, state: ClockState) -> tuple[Course, list[Correction]]:
    """One look at a clock that is off by `error_ms`."""
    source = "ntp" if state is SYNCED else ""
    after = follow(course, Regime(monotonic_ms, TRUE_MS + error_ms, state, source, 20 if source else 0))
    return settle(after, BOOT) if after is not course else (after, [])


def corrected(believed_ms: int, monotonic_ms: int, declared: list[Correction]) -> tuple[int, int]:
    """Believed time with the newest correction over it, and its uncertainty."""
    for one in reversed(declared):
        if one.from_monotonic_ms <= monotonic_ms <= one.to_monotonic_ms:
            return believed_ms + one.offset_ms, one.uncertainty_ms
    return believed_ms, 0


@given(doings)
def test_corrected_times_are_right(doings: list[tuple[int, int | None]]) -> None:
    course: Course = ()
    declared: list[Correction] = []
    rows: list[tuple[int, int]] = []  # monotonic, believed
    now_ms, error_ms, state = 0, -5 * DAY_MS, UNSYNCED
    for passes_ms, error in [*doings, (1000, None)]:
        course, news = at(course, now_ms, error_ms, state)
        declared += news
        rows += [(when, TRUE_MS + error_ms + when) for when in (now_ms, now_ms + passes_ms - 1)]
        now_ms += passes_ms
        error_ms, state = (0, SYNCED) if error is None else (error, UNSYNCED)
    course, news = at(course, now_ms, error_ms, state)
    declared += news
    assert course[-1].state is SYNCED
    for monotonic_ms, believed_ms in rows:
        true_ms, uncertainty_ms = corrected(believed_ms, monotonic_ms, declared)
        assert abs(true_ms - TRUE_MS - monotonic_ms) <= 1000
        assert uncertainty_ms <= 20 + 500 + DRIFT_PPM * now_ms // 1_000_000 + 50
    order = [corrected(believed_ms, monotonic_ms, declared)[0] for monotonic_ms, believed_ms in rows]
    assert all(later >= earlier - 1000 for earlier, later in pairwise(order))
    assert settle(course, BOOT) == (course, [])


def test_nothing_is_declared_twice() -> None:
    course, _ = at((), 0, -DAY_MS, UNSYNCED)
    course, first = at(course, 1000, 0, SYNCED)
    assert [(one.from_monotonic_ms, one.to_monotonic_ms, one.offset_ms) for one in first] == [(0, 999, DAY_MS)]
    course, lost = at(course, 2000, 0, HOLDOVER)
    course, again = at(course, 3000, 0, SYNCED)
    assert lost == again == []


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(-DAY_MS, DAY_MS)), min_size=200, max_size=400))
def test_the_course_is_bounded(doings: list[tuple[int, int]]) -> None:
    course: Course = ()
    rows: list[tuple[int, int]] = []
    now_ms = 0
    for passes_ms, error_ms in doings:
        course, _ = at(course, now_ms, error_ms, UNSYNCED)
        rows.append((now_ms, TRUE_MS + now_ms + error_ms))
        now_ms += passes_ms
    course, declared = at(course, now_ms, 0, SYNCED)
    assert len(course) <= REGIMES_MAX
    begins = [regime.from_monotonic_ms for regime in course]
    assert begins == sorted(set(begins))
    for monotonic_ms, believed_ms in rows:
        assert bisect_right(begins, monotonic_ms) > 0
        true_ms, uncertainty_ms = corrected(believed_ms, monotonic_ms, declared)
        assert abs(true_ms - TRUE_MS - monotonic_ms) <= uncertainty_ms


def test_a_step_while_the_kernel_says_synchronised_corrects_what_was_stamped_before() -> None:
    course, _ = at((), 0, -3_600_000, SYNCED)
    course, declared = at(course, 60_000, 0, SYNCED)
    assert [(one.offset_ms, one.to_monotonic_ms) for one in declared] == [(3_600_000, 59_999)]


def test_a_source_that_misled_us_is_taken_back_when_the_true_one_returns() -> None:
    course, _ = at((), 0, 0, SYNCED)
    course, misled = at(course, 60_000, 3_600_000, SYNCED)
    course, mended = at(course, 120_000, 0, SYNCED)
    assert [one.offset_ms for one in misled] == [3_600_000]
    assert [(one.from_monotonic_ms, one.offset_ms) for one in mended] == [(0, 0), (60_000, -3_600_000)]


def test_a_clock_that_was_right_unsynced_is_confirmed() -> None:
    course, _ = at((), 0, 0, UNSYNCED)
    course, declared = at(course, 600_000, 0, SYNCED)
    assert [(one.offset_ms, one.uncertainty_ms) for one in declared] == [(0, 20 + 60)]


def test_a_drift_without_source_is_corrected_along_its_line() -> None:
    days = 10 * DAY_MS
    course, _ = at((), 0, 0, SYNCED)
    course, _ = at(course, 1000, 0, HOLDOVER)
    gained_ms = days * 50 // 1_000_000  # 43 s at 50 ppm
    course, declared = at(course, 1000 + days, -gained_ms, SYNCED)  # wall minus monotonic goes back by what it gained
    assert len(declared) == PIECES_MAX
    for when in range(1000, 1000 + days, days // 100):
        truth_ms = -gained_ms * (when - 1000) / days
        mended_ms, uncertainty_ms = corrected(0, when, declared)
        assert abs(mended_ms - truth_ms) <= uncertainty_ms <= 20 + gained_ms // PIECES_MAX
    assert [one.from_monotonic_ms for one in declared[1:]] == [one.to_monotonic_ms + 1 for one in declared[:-1]]
    assert course[0].shift_ms == 0, "what was synchronised before the drift stays as it is"


def test_small_moves_are_uncertainty_and_no_regimes() -> None:
    course: Course = ()
    for look in range(100):
        course, _ = at(course, look * 1000, look * 4, UNSYNCED)
    assert len(course) == 1
    course, declared = at(course, 100_000, 0, SYNCED)
    assert declared[0].uncertainty_ms >= 396
