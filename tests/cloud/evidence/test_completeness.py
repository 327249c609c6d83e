"""How many readings were to be expected, came, were declared, are missing: counted by hour."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from cloud.db.engine import reading as looking
from cloud.evidence.completeness import HOUR_MS, Cell, by_day, counts_by_hour, judge, of_series
from cloud.ingest.record import Arrival, record
from cloud.telemetry.declared import DeclaredSpan
from cloud.telemetry.query import LATE_MS, readings
from tests.cloud.field import START_MS, Gateway
from tests.cloud.field import reading as measured
from tests.cloud.site import register
from wire.observation import Quality
from wire.pack import Loss

H = HOUR_MS
BEGIN_MS = START_MS - START_MS % H + H
HOURS = [at * H for at in range(4)]
EVERY_MINUTE = dict.fromkeys(HOURS, 60.0)


def lost(from_ms: int, to_ms: int, count: int | None, kind: str = "lost") -> DeclaredSpan:
    return DeclaredSpan(kind, "card failed", from_ms, to_ms, count)


def lacking(cells: list[Cell]) -> list[tuple[int, int, int]]:
    return [(one.lost, one.thinned, one.missing) for one in cells]


def test_what_lacks_and_was_not_declared_is_missing() -> None:
    cells = judge(HOURS, EVERY_MINUTE, {0: 60, H: 40, 2 * H: 60}, [])
    assert lacking(cells) == [(0, 0, 0), (0, 0, 20), (0, 0, 0), (0, 0, 60)]


def test_a_declaration_explains_as_much_as_it_says_and_no_more() -> None:
    counts = {0: 60, H: 0, 2 * H: 0, 3 * H: 60}
    declared = [lost(H, 3 * H, 70), lost(2 * H, 3 * H, 30, "thinned")]
    assert lacking(judge(HOURS, EVERY_MINUTE, counts, declared)) == [
        (0, 0, 0), (60, 0, 0), (10, 30, 20), (0, 0, 0),
    ]  # fmt: skip


def test_what_nobody_could_count_explains_all_of_its_time() -> None:
    cells = judge(HOURS, EVERY_MINUTE, {0: 60, 3 * H: 30}, [lost(H, 3 * H, None)])
    assert lacking(cells) == [(0, 0, 0), (60, 0, 0), (60, 0, 0), (0, 0, 30)]


def test_of_a_declaration_that_reaches_beyond_the_period_its_part_counts() -> None:
    cells = judge(HOURS, EVERY_MINUTE, dict.fromkeys(HOURS, 0), [lost(2 * H, 6 * H, 120)])
    assert lacking(cells) == [(0, 0, 60), (0, 0, 60), (60, 0, 0), (0, 0, 60)]


def test_a_reading_that_slipped_into_the_next_hour_is_not_missing() -> None:
    assert lacking(judge(HOURS, EVERY_MINUTE, {0: 60, H: 59, 2 * H: 61, 3 * H: 59}, []))[1:] == [
        (0, 0, 0), (0, 0, 0), (0, 0, 0),
    ]  # fmt: skip
    assert lacking(judge(HOURS, EVERY_MINUTE, {0: 60, H: 58, 2 * H: 61, 3 * H: 60}, []))[1] == (0, 0, 2)
    assert lacking(judge(HOURS, EVERY_MINUTE, {0: 60, H: 59, 2 * H: 60, 3 * H: 60}, []))[1] == (0, 0, 1)


def test_hours_that_expect_nothing_lack_nothing() -> None:
    cells = judge(HOURS, {H: 30.0}, {0: 5}, [lost(0, 4 * H, None)])
    assert [one.expected for one in cells] == [None, 30, None, None]
    assert lacking(cells) == [(0, 0, 0), (30, 0, 0), (0, 0, 0), (0, 0, 0)]


@given(
    st.lists(st.integers(0, 70), min_size=4, max_size=4),
    st.lists(
        st.builds(
            lambda start, length, count, kind: lost(start, start + length, count, kind),
            st.integers(-H, 5 * H), st.integers(0, 3 * H), st.none() | st.integers(0, 300),
            st.sampled_from(["lost", "thinned"]),
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_parts_add_up_to_what_lacks(counts: list[int], declared: list[DeclaredSpan]) -> None:
    cells = judge(HOURS, EVERY_MINUTE, dict(zip(HOURS, counts, strict=True)), declared)
    for one in cells:
        lacks = one.lost + one.thinned + one.missing
        assert min(one.lost, one.thinned, one.missing) >= 0
        assert lacks == max(0, 60 - one.came) or (lacks, one.came) == (0, 59)
    for kind in ("lost", "thinned"):
        told = [one.left_out for one in declared if one.kind == kind]
        if None not in told:
            assert sum(getattr(one, kind) for one in cells) <= sum(one or 0 for one in told)


def test_days_sum_their_hours() -> None:
    cells = judge(HOURS, {0: 60.0, H: 60.0}, {0: 60, H: 10}, [lost(H, 2 * H, 20)])
    day_of = {0: 7, H: 7, 2 * H: 9, 3 * H: 9}
    assert by_day(cells, day_of) == [Cell(7, 120, 70, lost=20, missing=30), Cell(9, None, 0)]


def test_a_bound_series_is_held_against_its_log_interval(engine: Engine, gateway: Gateway) -> None:
    register(engine)
    base_s = (BEGIN_MS - START_MS) // 1000
    there = [measured(at_s=base_s + 60 * at) for at in range(180) if not 70 <= at < 100]
    told = Loss(gateway.stream, 1, 1, b"h" * 32, "lost", "card failed", [("room-1/air", 10)],
                BEGIN_MS + 70 * 60_000, BEGIN_MS + 80 * 60_000)  # fmt: skip
    envelope = gateway.seal(gateway.pack(2, there, losses=[told]))
    assert record(engine, [Arrival(gateway.topic, envelope, BEGIN_MS + 4 * H)]).accepted == 1
    period = BEGIN_MS - 2 * H, BEGIN_MS + 5 * H
    with looking(engine) as conn:
        found = of_series(conn, gateway.name, "room-1/air", period, BEGIN_MS + 3 * H + LATE_MS)
        assert of_series(conn, gateway.name, "room-9/air", period, BEGIN_MS) is None
    assert found is not None
    expected_before = (BEGIN_MS - START_MS) // 60_000  # since the gateway was added
    assert (found.expected, found.came) == (180 + expected_before, 150)
    assert (found.lost, found.thinned, found.missing) == (10, 0, 20 + expected_before)
    assert found.share == 150 / found.expected
    assert [one.expected for one in found.cells[:1] + found.cells[-2:]] == [None, None, None]


def test_hours_hold_as_many_readings_as_there_are(engine: Engine, gateway: Gateway) -> None:
    there = [
        measured(
            at_s=7 * at,
            mantissa=None if at % 9 == 0 else at,
            quality=Quality.SENSOR_ERROR if at % 9 == 0 else Quality.OK,
        )
        for at in range(3000)
        if at % 700 > 40
    ]
    envelope = gateway.seal(gateway.pack(1, there))
    assert record(engine, [Arrival(gateway.topic, envelope, BEGIN_MS + 9 * H)]).accepted == 1
    with looking(engine) as conn:
        period = (gateway.name, "room-1/air", BEGIN_MS - 2 * H, BEGIN_MS + 9 * H)
        summed = counts_by_hour(conn, *period)
        rows = readings(conn, *period)
    assert summed == Counter(row.observed_ms - row.observed_ms % H for row in rows)
    assert len(rows) == len(there)
