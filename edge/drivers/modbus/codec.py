"""What Modbus registers mean: device profiles, and registers ↔ exact decimals. Pure; driver and simulator share it.

A profile is a TOML document. Each `[[block]]` is read in one request; each `[[block.point]]` in it is one channel:

    name = "xy-md02"
    title = "XY-MD02 temperature and humidity transmitter"
    source = "where these facts come from"
    [serial]                     # the device's factory settings; a gateway's configuration may override them
    baudrate = 9600
    [[block]]
    function = 4                 # 3 holding registers, 4 input registers
    address = 1                  # protocol address of the first register, as it goes over the wire
    count = 2
    [[block.point]]
    name = "air"                 # channel = DEVICE/air
    unit = "CEL"                 # UN/ECE Recommendation 20
    register = 1
    type = "int16"               # int16, uint16, int32, uint32, float32
    exponent = -1                # value = register × 10^exponent; a float32 is rounded to it
    sensor_error = [32767]       # raw values by which the device says that its probe has failed
    min = -40.0                  # outside of [min, max] the reading is marked out of range, and kept
    max = 60.0

Bytes within a register are big-endian (Modbus Application Protocol V1.1b3 §4.2); the order of the two registers of
a 32-bit number is the maker's choice: `word_order = "big"` (high word first, the default) or `"little"`.
"""

from __future__ import annotations

import math
import re
import struct
import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib import resources
from typing import Annotated, Any, Literal

import msgspec

from wire.observation import MAX_EXPONENT, MIN_EXPONENT, Quality

READ_MAX_REGISTERS = 125  # V1.1b3 §6.3 and §6.4: more does not fit into a PDU of 253 bytes
REGISTER_SPACE = 65_536
POINT_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}\Z"
PROFILE_MAX_CHARS = 64 * 1024  # the longest real register map we know has under 300 points

NumberType = Literal["int16", "uint16", "int32", "uint32", "float32"]
_LIMITS = {
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
}


class CodecError(ValueError):
    """A profile or a value cannot be what it claims to be; `str()` says where and why."""


class Serial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a device's serial line is set when it leaves the factory."""

    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number in a block, and what it means."""

    name: Annotated[str, msgspec.Meta(pattern=POINT_PATTERN)]
    unit: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{1,3}\\Z")]
    register: Annotated[int, msgspec.Meta(ge=0, lt=REGISTER_SPACE)]
    type: NumberType = "int16"
    word_order: Literal["big", "little"] = "big"
    exponent: Annotated[int, msgspec.Meta(ge=MIN_EXPONENT, le=MAX_EXPONENT)] = 0
    sensor_error: list[int] = []
    min: Decimal | None = None
    max: Decimal | None = None

    @property
    def width(self) -> int:
        """How many registers the number takes."""
        return 1 if self.type in {"int16", "uint16"} else 2


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Registers that are read in one request."""

    function: Literal[3, 4]
    address: Annotated[int, msgspec.Meta(ge=0, lt=REGISTER_SPACE)]
    count: Annotated[int, msgspec.Meta(ge=1, le=READ_MAX_REGISTERS)]
    point: Annotated[list[Point], msgspec.Meta(min_length=1)]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of device."""

    name: Annotated[str, msgspec.Meta(pattern=POINT_PATTERN)]
    title: str
    source: str
    block: Annotated[list[Block], msgspec.Meta(min_length=1)]
    serial: Serial = Serial()

    @property
    def points(self) -> Iterator[Point]:
        """Every point, in the order of the document."""
        return (point for block in self.block for point in block.point)


class Value(msgspec.Struct, frozen=True):
    """What one point said: mantissa × 10^exponent of its point, or no number and why."""

    point: Point
    mantissa: int | None
    quality: Quality


def parse_profile(text: str) -> Profile:
    """Read a profile document. Raises CodecError with the path to what is wrong."""
    if len(text) > PROFILE_MAX_CHARS:
        raise CodecError(f"profile of {len(text)} characters, the limit is {PROFILE_MAX_CHARS}")
    try:
        raw: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
        profile = msgspec.convert(raw, Profile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
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


def decode_block(block: Block, registers: Sequence[int]) -> list[Value]:
    """The values of all points of a block from its registers. Raises CodecError for a wrong count."""
    if len(registers) != block.count:
        raise CodecError(f"{len(registers)} registers, asked for {block.count}")
    return [decode(point, registers[point.register - block.address :][: point.width]) for point in block.point]


def decode(point: Point, words: Sequence[int]) -> Value:
    """One number from its one or two registers (unsigned 16-bit integers, in wire order)."""
    raw = _unpack(point, words)
    if isinstance(raw, float):
        if not math.isfinite(raw) or (raw.is_integer() and int(raw) in point.sensor_error):
            return Value(point, None, Quality.SENSOR_ERROR)
        # float32 reaches 3.4e38: beyond 64 bits it is no measurement
        mantissa = round(Decimal(raw).scaleb(-point.exponent))
        if abs(mantissa) >= 2**63:
            return Value(point, None, Quality.OUT_OF_RANGE)
    elif raw in point.sensor_error:
        return Value(point, None, Quality.SENSOR_ERROR)
    else:
        mantissa = raw
    number = Decimal(mantissa).scaleb(point.exponent)
    low, high = point.min, point.max
    outside = (low is not None and number < low) or (high is not None and number > high)
    return Value(point, mantissa, Quality.OUT_OF_RANGE if outside else Quality.OK)


def encode(point: Point, value: Decimal | None) -> list[int]:
    """The registers by which a device says `value`; None says that its probe has failed.

    Raises CodecError when the point cannot say it exactly.
    """
    if value is None:
        if point.type == "float32":
            return _words(point, struct.pack(">f", math.nan))
        if not point.sensor_error:
            raise CodecError(f"{point.name}: this device has no value that means sensor error")
        return _pack_int(point, point.sensor_error[0])
    if not value.is_finite():
        raise CodecError(f"{point.name}: {value} is not a number")
    if point.type == "float32":
        return _words(point, struct.pack(">f", float(value)))
    mantissa = value.scaleb(-point.exponent)
    if mantissa != mantissa.to_integral_value():
        raise CodecError(f"{point.name}: {value} has more digits than steps of 10^{point.exponent} can say")
    if int(mantissa) in point.sensor_error:
        raise CodecError(f"{point.name}: {value} would be read as a sensor error")
    return _pack_int(point, int(mantissa))


def _unpack(point: Point, words: Sequence[int]) -> int | float:
    if len(words) != point.width or not all(0 <= word < REGISTER_SPACE for word in words):
        raise CodecError(f"{point.name}: {point.width} registers of 16 bits needed, got {list(words)}")
    ordered = words if point.word_order == "big" else list(reversed(words))
    data = struct.pack(f">{len(words)}H", *ordered)
    if point.type == "float32":
        number: float = struct.unpack(">f", data)[0]
        return number
    return int.from_bytes(data, "big", signed=point.type.startswith("int"))


def _pack_int(point: Point, raw: int) -> list[int]:
    low, high = _LIMITS[point.type]
    if not low <= raw <= high:
        raise CodecError(f"{point.name}: {raw} does not fit into {point.type} ({low} … {high})")
    return _words(point, raw.to_bytes(2 * point.width, "big", signed=point.type.startswith("int")))


def _words(point: Point, data: bytes) -> list[int]:
    words = list(struct.unpack(f">{len(data) // 2}H", data))
    return words if point.word_order == "big" else words[::-1]


def _check_profile(profile: Profile) -> None:
    seen: set[str] = set()
    for at, block in enumerate(profile.block):
        if block.address + block.count > REGISTER_SPACE:
            raise CodecError(f"profile: block[{at}]: reaches beyond register {REGISTER_SPACE - 1}")
        for point in block.point:
            _check_point(point, block, f"profile: block[{at}]: point {point.name!r}")
            if point.name in seen:
                raise CodecError(f"profile: block[{at}]: point {point.name!r}: this name occurs twice")
            seen.add(point.name)


def _check_point(point: Point, block: Block, where: str) -> None:
    last = block.address + block.count - point.width
    if not block.address <= point.register <= last:
        raise CodecError(f"{where}: register {point.register} is outside of its block ({block.address} … {last})")
    if point.type != "float32":
        low, high = _LIMITS[point.type]
        if any(not low <= raw <= high for raw in point.sensor_error):
            raise CodecError(f"{where}: sensor_error: a value that {point.type} cannot hold ({low} … {high})")
    for bound in (point.min, point.max):
        if bound is not None and not bound.is_finite():
            raise CodecError(f"{where}: min and max must be numbers")
    if point.min is not None and point.max is not None and point.min > point.max:
        raise CodecError(f"{where}: min {point.min} is above max {point.max}")


def _shipped() -> resources.abc.Traversable:
    return resources.files("edge.drivers.modbus") / "profiles"
