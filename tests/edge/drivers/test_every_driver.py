"""Every driver of the registry is put through the driver test suite."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from edge.drivers import registry
from tests.edge.drivers.suite import Bench, DriverSuite

HERE = Path(__file__).parent


def _modules() -> list[ModuleType]:
    paths = sorted(HERE.rglob("test_*.py"))
    parts = [path.relative_to(HERE).with_suffix("").parts for path in paths if path != Path(__file__)]
    return [importlib.import_module(".".join(("tests", "edge", "drivers", *part))) for part in parts]


def _tried() -> set[str]:
    """The names of the classes that a bench makes, in modules whose tests run the suite."""
    tried: set[str] = set()
    for module in _modules():
        own = [thing for _, thing in inspect.getmembers(module, inspect.isclass) if thing.__module__ == module.__name__]
        if not any(issubclass(thing, DriverSuite) and thing.__name__.startswith("Test") for thing in own):
            continue
        made = (get_type_hints(thing.driver).get("return") for thing in own if issubclass(thing, Bench))
        tried |= {kind.__name__ for kind in made if kind is not None}
    return tried


@pytest.mark.parametrize("name", sorted(registry._TABLE))
def test_every_driver_goes_through_the_suite(name: str) -> None:
    made = registry.load_driver(name).__name__  # type: ignore[attr-defined]
    assert made in _tried(), f"no bench of a DriverSuite makes a {made}: add one to tests/edge/drivers/{name}"
