"""A column of integers in few bytes, losslessly: what a chunk of readings is made of.

Layout: kind, base, step as varints (the signed ones zigzag), width in bytes, then the residuals as byte planes, the
lowest bytes of all values first. Kind 0 codes the residuals of the steps from value to value (a clock, a slow
temperature), kind 1 those of the values themselves (noise around a level); the smaller one is taken. A column without
residuals has width 0: a constant, or one that grows evenly, costs a few bytes whatever its length. Arithmetic wraps in
64 bits both ways, so that every int64 comes back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_STEPS, _LEVEL = 0, 1
_MASK = (1 << 64) - 1
_WIDTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8)
VARINT_MAX = 10  # bytes of 64 bits in sevens


class ColumnError(ValueError):
    """These bytes are no column of that length."""


def encode(values: Ints) -> bytes:
    """A column of any length, one value at least."""
    if (values == values[0]).all():  # most columns are, and need not be looked at further
        return bytes([_STEPS]) + varint(_zig(int(values[0]))) + bytes(2)
    steps = np.diff(values)
    step = _middle(steps)
    kind, base, coded = _STEPS, int(values[0]), _zigzag(steps - step)
    if coded.any():  # nothing is smaller than one that grows evenly
        level = _middle(values)
        by_level = _zigzag(values - level)
        if _cost(by_level) < _cost(coded):
            kind, base, step, coded = _LEVEL, int(level), np.int64(0), by_level
    width = (int(coded.max(initial=0)).bit_length() + 7) // 8
    head = bytes([kind]) + varint(_zig(base)) + varint(_zig(int(step))) + bytes([width])
    return head + _planes(coded, width)


def decode(data: bytes, at: int, count: int) -> tuple[Ints, int]:
    """A column of `count` values that begins at `at`, and where it ends. Raises ColumnError."""
    try:
        kind = data[at]
        base, at = read_varint(data, at + 1)
        step, at = read_varint(data, at)
        width = data[at]
    except IndexError as error:
        raise ColumnError("a column ends early") from error
    at += 1
    if kind not in (_STEPS, _LEVEL) or width not in _WIDTHS or count < 1:
        raise ColumnError(f"kind {kind}, width {width}, {count} values: no column of ours")
    coded = count - 1 if kind == _STEPS else count
    end = at + width * coded
    if end > len(data):
        raise ColumnError("a column ends early")
    residuals = _unzigzag(_unplanes(data, at, coded, width))
    first = np.int64(_unzig(base))
    if kind == _LEVEL:
        return residuals + first, end
    values = np.empty(count, np.int64)
    values[0] = first
    np.add(residuals, np.int64(_unzig(step)), out=values[1:])
    return np.cumsum(values, out=values), end


def varint(value: int) -> bytes:
    """An unsigned integer below 2^64, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer that begins at `at`, and where it ends. Raises ColumnError."""
    value = 0
    for shift in range(0, 7 * VARINT_MAX, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
    raise ColumnError("an integer ends early")


def _middle(values: Ints) -> np.int64:
    return np.partition(values, len(values) // 2)[len(values) // 2] if len(values) else np.int64(0)


def _cost(coded: NDArray[np.uint64]) -> float:
    """About how many bits the residuals hold."""
    return float(np.log2(coded.astype(np.float64) + 1).sum())


def _zigzag(values: Ints) -> NDArray[np.uint64]:
    return ((values << np.int64(1)) ^ (values >> np.int64(63))).view(np.uint64)


def _unzigzag(coded: NDArray[np.uint64]) -> Ints:
    signed = coded.view(np.int64)
    return (coded >> np.uint64(1)).view(np.int64) ^ -(signed & np.int64(1))


def _zig(value: int) -> int:
    return (value << 1 ^ value >> 63) & _MASK


def _unzig(coded: int) -> int:
    return coded >> 1 ^ -(coded & 1)


def _planes(coded: NDArray[np.uint64], width: int) -> bytes:
    return coded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T.tobytes()


def _unplanes(data: bytes, at: int, count: int, width: int) -> NDArray[np.uint64]:
    if width == 0 or count == 0:
        return np.zeros(count, np.uint64)
    planes = np.frombuffer(data, np.uint8, width * count, at).reshape(width, count)
    wide = np.zeros((count, 8), np.uint8)
    wide[:, :width] = planes.T
    coded: NDArray[np.uint64] = wide.view("<u8").reshape(count).astype(np.uint64)
    return coded
