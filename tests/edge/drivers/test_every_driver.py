"""Every driver of the registry is put through the driver test suite."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType, NoneType
from typing import get_args, get_type_hints

import msgspec
import pytest

from edge.drivers import registry
from edge.drivers.ports import Port
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


@pytest.mark.parametrize("name", sorted(registry._TABLE))
def test_every_serial_port_is_named_alike(name: str) -> None:
    try:
        config_type = registry.load_driver(name).config_type
    except registry.DriverNotInstalled as error:
        pytest.skip(str(error))
    hint = get_type_hints(config_type, include_extras=True).get("port")
    if hint is None or int in get_args(hint):  # no port, or one of TCP
        return
    assert Port in {hint, *get_args(hint)} - {NoneType}


@pytest.mark.parametrize("port", ["/dev/ttyUSB0", "usb:1a86:7523", "usb:FT4X1ABC@02", "socket://10.0.0.7:4001"])
def test_a_port_is_a_path_a_name_or_an_address(port: str) -> None:
    assert msgspec.convert(port, Port) == port


@pytest.mark.parametrize("port", ["", "ttyUSB0", "COM3", "usb:", "usb: A", "/dev/\0", "dev/ttyUSB0", "/dev/a\n\0"])
def test_what_can_be_no_port_is_refused_when_the_configuration_is_read(port: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(port, Port)
