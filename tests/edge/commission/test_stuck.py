from __future__ import annotations

from edge.commission.stuck import READINGS, stuck

UNITS = {"a/air": "CEL", "b/air": "CEL", "c/humidity": "P1"}


def points(values: list[float]) -> list[tuple[int, float]]:
    return [(60_000 * at, value) for at, value in enumerate(values)]


def test_probe_that_never_moves_while_another_does_is_named() -> None:
    moving = points([-21 + 0.1 * (at % 7) for at in range(READINGS)])
    assert stuck({"a/air": points([-20.0] * READINGS), "b/air": moving}, UNITS) == {"a/air": READINGS}


def test_calm_site_is_no_fault() -> None:
    calm = points([-20.0] * READINGS)
    assert stuck({"a/air": calm, "b/air": calm}, UNITS) == {}
    other_unit = points([float(at) for at in range(READINGS)])
    assert stuck({"a/air": calm, "c/humidity": other_unit}, UNITS) == {}


def test_few_readings_say_nothing() -> None:
    moving = points([float(at) for at in range(READINGS)])
    assert stuck({"a/air": points([-20.0] * (READINGS - 1)), "b/air": moving}, UNITS) == {}
    assert stuck({"a/air": [], "b/air": moving}, UNITS) == {}


def test_what_moved_before_it_stuck_does_not_count() -> None:
    early = points([*[float(at) for at in range(READINGS)], *[1.0] * READINGS])
    assert stuck({"a/air": points([-20.0] * 2 * READINGS), "b/air": early}, UNITS) == {"a/air": 2 * READINGS}
    late = [(at_ms + 60_000 * READINGS, -20.0) for at_ms, _ in points([0.0] * READINGS)]
    assert stuck({"a/air": late, "b/air": early}, UNITS) == {}
