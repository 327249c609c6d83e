"""One number of a device: where it stands, how it is written there, and what it means."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from edge.drivers.modbus.codec.error import CodecError
from wire.observation import MAX_EXPONENT, MIN_EXPONENT

REGISTER_SPACE = 65_536
POINT_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}\Z"

#: The four tables of a device, by the function that reads them (Modbus Application Protocol V1.1b3 §4.3, §6.1–6.4):
#: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers.
Function = Literal[1, 2, 3, 4]
BIT_FUNCTIONS = (1, 2)

NumberType = Literal[
    "bit", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"
]
BYTES: dict[NumberType, int] = {
    "bit": 2,  # it is found in a register
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}
FINEST = -18  # of min, max, scale and offset, as 10^18 is the largest: a pack carries numbers of 64 bits


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number, and what it means: value = raw × scale + offset, in steps of 10^exponent.

    scale: 10^exponent where it is not given. bit, bits: where a field of bits begins in its register, and how many
    there are. half: which byte of its register an 8-bit number is. fault: the point that says whether the probe of
    this one has failed.
    """

    name: Annotated[str, msgspec.Meta(pattern=POINT_PATTERN)]
    unit: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{1,3}\\Z")]
    register: Annotated[int, msgspec.Meta(ge=0, lt=REGISTER_SPACE)]
    function: Function | None = None
    type: NumberType = "int16"
    word_order: Literal["big", "little"] = "big"
    byte_order: Literal["big", "little"] = "big"
    half: Literal["low", "high"] = "low"
    bit: Annotated[int, msgspec.Meta(ge=0, le=15)] | None = None
    bits: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    exponent: Annotated[int, msgspec.Meta(ge=MIN_EXPONENT, le=MAX_EXPONENT)] = 0
    scale: Decimal | None = None
    offset: Decimal | None = None
    sensor_error: list[int] = []
    fault: str | None = None
    min: Decimal | None = None
    max: Decimal | None = None

    @property
    def width(self) -> int:
        """How many registers (or bits, of a table of bits) the number takes."""
        return max(1, self.size_bytes // 2)

    @property
    def size_bytes(self) -> int:
        """How many bytes the number takes."""
        return BYTES[self.type]

    @property
    def is_float(self) -> bool:
        """Whether it is a number of IEEE 754."""
        return self.type.startswith("float")

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest raw value of an integer or a field of bits."""
        if self.type == "bit":
            return 0, 2**self.bits - 1
        size = 8 * self.size_bytes
        return (0, 2**size - 1) if self.type.startswith("u") else (-(2 ** (size - 1)), 2 ** (size - 1) - 1)


def check_point(point: Point, function: int, where: str) -> None:
    """Raise CodecError for a point that contradicts itself or the table it stands in."""
    _check_bits(point, function, where)
    if not point.is_float:
        low, high = point.limits
        if any(not low <= raw <= high for raw in point.sensor_error):
            raise CodecError(f"{where}: sensor_error: a value that {point.type} cannot hold ({low} … {high})")
    for key in ("min", "max", "scale", "offset"):
        number: Decimal | None = getattr(point, key)
        if number is not None and not _is_measurable(number):
            raise CodecError(f"{where}: {key} must be a number up to 10^18, of at most {-FINEST} decimals")
    if point.min is not None and point.max is not None and point.min > point.max:
        raise CodecError(f"{where}: min {point.min} is above max {point.max}")
    if point.scale is not None and not point.scale:
        raise CodecError(f"{where}: scale: 0 would make every value the same")
    for key in ("scale", "offset"):
        finer: Decimal | None = getattr(point, key)
        if finer is not None and not _in_steps(finer, point.exponent):
            raise CodecError(
                f"{where}: {key} {finer} is finer than steps of 10^{point.exponent}: give a smaller exponent"
            )


def _check_bits(point: Point, function: int, where: str) -> None:
    if function in BIT_FUNCTIONS:
        if point.type != "bit":
            raise CodecError(f'{where}: function {function} reads single bits: it needs type = "bit"')
        if point.bit is not None or point.bits != 1:
            raise CodecError(
                f"{where}: bit and bits belong to registers (functions 3 and 4), not to function {function}"
            )
    elif point.type == "bit":
        if point.bit is None:
            raise CodecError(f"{where}: bit is missing: which bit of the register, 0 (lowest) to 15")
        if point.bit + point.bits > 16:
            raise CodecError(f"{where}: bits: {point.bits} from bit {point.bit} reach beyond bit 15")
    elif point.bit is not None or point.bits != 1:
        raise CodecError(f'{where}: bit and bits need type = "bit", this is {point.type}')
    if point.half == "high" and point.size_bytes != 1:
        raise CodecError(f"{where}: half belongs to int8 and uint8, this is {point.type}")


def _is_measurable(number: Decimal) -> bool:
    if not number.is_finite():
        return False
    _, _, exponent = number.as_tuple()
    return isinstance(exponent, int) and exponent >= FINEST and (not number or number.adjusted() < 18)


def _in_steps(number: Decimal, exponent: int) -> bool:
    steps = number.scaleb(-exponent)
    return steps == steps.to_integral_value()
