"""A second MessagePack reader, written from the MessagePack specification alone, that knows no letter of ours.

It gives every value with the bytes it was read from, so that the layout in docs/wire.md is checked by something
other than the library that writes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Item(NamedTuple):
    """A value, where its bytes start, its head (type and length), and all its bytes."""

    value: Any  # for arrays: a list of Item
    start: int
    head: bytes
    raw: bytes


_FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_BINARY = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_TEXT = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY = {0xDC: 2, 0xDD: 4}


def read(data: bytes, start: int = 0) -> Item:
    """The value at `start`."""
    first = data[start]
    if first <= 0x7F or first >= 0xE0:
        return _scalar(data, start, 1, first if first <= 0x7F else first - 256)
    if first in _FIXED:
        return _scalar(data, start, 1, _FIXED[first])
    if first in _UNSIGNED or first in _SIGNED:
        width = _UNSIGNED.get(first) or _SIGNED[first]
        raw = data[start + 1 : start + 1 + width]
        return _scalar(data, start, 1 + width, int.from_bytes(raw, "big", signed=first in _SIGNED))
    if 0x90 <= first <= 0x9F:
        return _array(data, start, 1, first & 0x0F)
    if first in _ARRAY:
        width = _ARRAY[first]
        return _array(data, start, 1 + width, int.from_bytes(data[start + 1 : start + 1 + width], "big"))
    if 0xA0 <= first <= 0xBF:
        return _string(data, start, 1, first & 0x1F, text=True)
    width = _BINARY.get(first) or _TEXT[first]
    length = int.from_bytes(data[start + 1 : start + 1 + width], "big")
    return _string(data, start, 1 + width, length, text=first in _TEXT)


def plain(item: Item) -> Any:
    """The value without its bytes, arrays as lists."""
    return [plain(part) for part in item.value] if isinstance(item.value, list) else item.value


def _scalar(data: bytes, start: int, size: int, value: Any) -> Item:
    raw = data[start : start + size]
    return Item(value, start, raw, raw)


def _string(data: bytes, start: int, head: int, length: int, *, text: bool) -> Item:
    body = data[start + head : start + head + length]
    assert len(body) == length, "truncated"
    raw = data[start : start + head + length]
    return Item(body.decode() if text else body, start, data[start : start + head], raw)


def _array(data: bytes, start: int, head: int, length: int) -> Item:
    parts: list[Item] = []
    at = start + head
    for _ in range(length):
        part = read(data, at)
        parts.append(part)
        at = part.start + len(part.raw)
    return Item(parts, start, data[start : start + head], data[start:at])
