"""Device profiles: what stands where in a kind of device, as a TOML document that needs no code.

    name = "xy-md02"
    title = "XY-MD02 temperature and humidity transmitter"
    source = "where these facts come from"
    [serial]                     # the device's factory settings; a gateway's configuration may override them
    baudrate = 9600
    [requests]                   # how the device bears to be asked; likewise
    max_gap = 0                  # registers between two points that may be read along with them
    [[point]]                    # one channel; points that stand close together are read in one request (plan.py)
    name = "air"                 # channel = DEVICE/air
    unit = "CEL"                 # UN/ECE Recommendation 20
    function = 4                 # 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers
    register = 1                 # protocol address, as it goes over the wire
    type = "int16"               # bit, (u)int8, (u)int16, (u)int32, (u)int64, float16, float32, float64
    exponent = -1                # value = register × 10^exponent; a float is rounded to it
    sensor_error = [32767]       # raw values by which the device says that its probe has failed
    min = -40.0                  # outside of [min, max] the reading is marked out of range, and kept
    max = 60.0

A device that wants its registers read in certain pieces has `[[block]]`s, each with function, address and count, and
its points as `[[block.point]]`. All keys and their limits: docs/devices/modbus.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from typing import Annotated, Any, Literal

import msgspec

from edge.drivers.modbus.codec.error import CodecError
from edge.drivers.modbus.codec.point import BIT_FUNCTIONS, POINT_PATTERN, REGISTER_SPACE, Function, Point, check_point

READ_MAX_REGISTERS = 125  # V1.1b3 §6.3 and §6.4: more does not fit into a PDU of 253 bytes
READ_MAX_BITS = 2000  # §6.1 and §6.2
PROFILE_MAX_CHARS = 64 * 1024  # the longest real register map we know has under 300 points

Baudrate = Annotated[int, msgspec.Meta(ge=300, le=1_000_000)]
Register = Annotated[int, msgspec.Meta(ge=0, lt=REGISTER_SPACE)]
Gap = Annotated[int, msgspec.Meta(ge=0, lt=READ_MAX_REGISTERS)]
RegisterCount = Annotated[int, msgspec.Meta(ge=1, le=READ_MAX_REGISTERS)]
PauseS = Annotated[float, msgspec.Meta(ge=0, le=2)]


class Serial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a device's serial line is set when it leaves the factory."""

    baudrate: Baudrate = 9600
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1


class Requests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a device bears to be asked.

    max_gap: registers that nobody asked for, which may be read along between two points; 0 for devices that answer
    only for what their manual lists. one_by_one: a request for every point. pause_s: between two requests.
    """

    max_gap: Gap = 0
    max_registers: RegisterCount = READ_MAX_REGISTERS
    one_by_one: bool = False
    pause_s: PauseS = 0.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holding registers in which a device keeps its own unit id and speed; what tells its variants apart.

    baudrates: what the values 0, 1, 2 … of the register `baudrate` mean.
    """

    unit_id: Register | None = None
    baudrate: Register | None = None
    baudrates: list[Baudrate] = []


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Registers (or bits) that are read in one request."""

    function: Function
    address: Register
    count: Annotated[int, msgspec.Meta(ge=1, le=READ_MAX_BITS)]
    point: Annotated[list[Point], msgspec.Meta(min_length=1)]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of device."""

    name: Annotated[str, msgspec.Meta(pattern=POINT_PATTERN)]
    title: str
    source: str
    block: list[Block] = []
    point: list[Point] = []
    serial: Serial = Serial()
    requests: Requests = Requests()
    settings: Settings = Settings()

    @property
    def points(self) -> Iterator[Point]:
        """Every point: those of blocks, then those on their own, in the order of the document."""
        yield from (point for block in self.block for point in block.point)
        yield from self.point


def parse_profile(text: str) -> Profile:
    """Read a profile document. Raises CodecError with the path to what is wrong."""
    if len(text) > PROFILE_MAX_CHARS:
        raise CodecError(f"profile of {len(text)} characters, the limit is {PROFILE_MAX_CHARS}")
    try:
        raw: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
        profile = msgspec.convert(raw, Profile)
    except (ValueError, ArithmeticError, RecursionError) as error:
        # ValueError: TOML, msgspec, and integers of more digits than Python reads; ArithmeticError: such exponents
        raise CodecError(f"profile: {error}") from error
    _check_profile(profile)
    return profile


def profile_names() -> list[str]:
    """The names of the profiles that come with coldproof."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def shipped_profile(name: str) -> Profile:
    """A profile that comes with coldproof. Raises CodecError for an unknown name."""
    if re.fullmatch(POINT_PATTERN, name) is None or name not in profile_names():
        raise CodecError(f"unknown profile {name[:80]!r}, known: {', '.join(profile_names())}")
    return parse_profile((_shipped() / f"{name}.toml").read_text("utf-8"))


def _check_profile(profile: Profile) -> None:
    if not profile.block and not profile.point:
        raise CodecError("profile: it has neither a [[point]] nor a [[block]]: nothing would be read")
    for at, block in enumerate(profile.block):
        _check_block(block, f"profile: block[{at}]")
    for at, point in enumerate(profile.point):
        where = f"profile: point[{at}] {point.name!r}"
        if point.function is None:
            raise CodecError(
                f"{where}: function is missing: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers"
            )
        check_point(point, point.function, where)
        if point.register + point.width > REGISTER_SPACE:
            raise CodecError(f"{where}: reaches beyond register {REGISTER_SPACE - 1}")
        if point.width > profile.requests.max_registers:
            raise CodecError(f"{where}: {point.type} does not fit into requests of max_registers")
    _check_names(list(profile.points))


def _check_block(block: Block, where: str) -> None:
    if block.function not in BIT_FUNCTIONS and block.count > READ_MAX_REGISTERS:
        raise CodecError(f"{where}: count: expected `int` <= {READ_MAX_REGISTERS} for registers, got {block.count}")
    if block.address + block.count > REGISTER_SPACE:
        raise CodecError(f"{where}: reaches beyond register {REGISTER_SPACE - 1}")
    for point in block.point:
        here = f"{where}: point {point.name!r}"
        if point.function not in (None, block.function):
            raise CodecError(f"{here}: function {point.function} in a block of function {block.function}")
        check_point(point, block.function, here)
        last = block.address + block.count - point.width
        if not block.address <= point.register <= last:
            raise CodecError(f"{here}: register {point.register} is outside of its block ({block.address} … {last})")


def _check_names(points: list[Point]) -> None:
    seen: dict[str, Point] = {}
    for point in points:
        if point.name in seen:
            raise CodecError(f"profile: point {point.name!r}: this name occurs twice")
        seen[point.name] = point
    for point in points:
        if point.fault is not None and (point.fault not in seen or seen[point.fault].type != "bit"):
            raise CodecError(
                f"profile: point {point.name!r}: fault {point.fault[:80]!r} is no point of type bit of this profile"
            )


def _shipped() -> resources.abc.Traversable:
    return resources.files("edge.drivers.modbus") / "profiles"
