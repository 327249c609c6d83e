"""A scenario: the places of a simulated world, its devices, and what happens when; read from TOML.

Called by run.py and by whoever writes the gateways' configurations. Unknown keys and wrong types are refused with
the path to the key; what refers to something (a place, a bus, a scanner) must find it. Nothing is opened here.
Times are offsets from the start of the simulation: "+2h", "+29h55m", "+90s".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec

from firmware_sim.kinds import Bus, Device, Gateway, LinkFault, ModbusRtu, OneWireSensor, Scans
from firmware_sim.place import Ambient, Offset, Place, Strict, offset
from firmware_sim.scenario_check import problems

BUILT_IN = Path(__file__).parent / "scenarios"
MAX_SCENARIO_BYTES = 1_000_000  # a scenario is written by hand; a thousand devices fit
ONE_WIRE = "w1"  # the one 1-wire bus of a site: its cable, and its folder


class ScenarioError(ValueError):
    """The scenario cannot be played; says which file, which key and why."""


class Scenario(Strict, frozen=True):
    """The whole play. utc_offset_h: local time of its day and night."""

    name: str
    title: str
    title_en: str
    duration: Offset
    ambient: Ambient
    place: list[Place]
    gateway: list[Gateway]
    device: list[Device]
    bus: list[Bus] = msgspec.field(default_factory=list)
    scan: list[Scans] = msgspec.field(default_factory=list)
    fault: list[LinkFault] = msgspec.field(default_factory=list)
    utc_offset_h: Annotated[float, msgspec.Meta(ge=-12, le=14)] = 7.0
    seed: int = 1

    @property
    def links(self) -> list[str]:
        """Names of all cables: one per bus, one per device that has its own."""
        own = [device.name for device in self.device if not isinstance(device, ModbusRtu | OneWireSensor)]
        wire = [ONE_WIRE] if any(isinstance(device, OneWireSensor) for device in self.device) else []
        return [bus.name for bus in self.bus] + wire + own


def find(name: str) -> Path:
    """The file of a built-in scenario (`demo`), or `name` taken as a path. Raises ScenarioError."""
    built_in = BUILT_IN / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9-]+", name) and built_in.is_file():
        return built_in
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(sorted(path.stem for path in BUILT_IN.glob("*.toml") if "." not in path.stem))
    raise ScenarioError(f"no scenario {name!r}: neither a file nor a built-in one ({known})")


def load(path: Path) -> Scenario:
    """Read and check a scenario. Raises ScenarioError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SCENARIO_BYTES + 1)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror})") from error
    if len(text) > MAX_SCENARIO_BYTES:
        raise ScenarioError(f"{path}: longer than {MAX_SCENARIO_BYTES} bytes")
    try:
        scenario = msgspec.toml.decode(text, type=Scenario, dec_hook=_decode_offset)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    if wrong := list(problems(scenario)):
        raise ScenarioError(f"{path}: " + "; ".join(wrong))
    return scenario


def _decode_offset(kind: type, value: Any) -> Any:
    if kind is not Offset:
        raise NotImplementedError(f"no decoder for {kind}")
    if not isinstance(value, str):
        raise ValueError("an offset is a text such as +2h")
    return offset(value)
