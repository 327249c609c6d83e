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


def _modules(class_name: str) -> list[ModuleType]:
    """The test modules that name a driver's class: others may need libraries that are not here."""
    paths = [path for path in sorted(HERE.rglob("test_*.py")) if class_name in path.read_text("utf-8")]
    parts = [path.relative_to(HERE).with_suffix("").parts for path in paths]
    return [importlib.import_module(".".join(("tests", "edge", "drivers", *part))) for part in parts]


def _is_tried(made: type, module: ModuleType) -> bool:
    """Whether a bench of the module makes such a driver, and its tests run the suite."""
    own = [thing for _, thing in inspect.getmembers(module, inspect.isclass) if thing.__module__ == module.__name__]
    if not any(issubclass(thing, DriverSuite) and thing.__name__.startswith("Test") for thing in own):
        return False
    return any(get_type_hints(thing.driver).get("return") is made for thing in own if issubclass(thing, Bench))


@pytest.mark.parametrize("name", sorted(registry._TABLE))
def test_every_driver_goes_through_the_suite(name: str) -> None:
    try:
        made = registry.load_driver(name)
    except registry.DriverNotInstalled as error:
        pytest.skip(str(error))
    assert isinstance(made, type)
    assert any(_is_tried(made, module) for module in _modules(made.__name__)), (
        f"no bench of a DriverSuite makes a {made.__name__}: add one to tests/edge/drivers/{name}"
    )
