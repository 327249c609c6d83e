"""What the tests of the letters share: the test key, and stored vectors turned into values."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose

VECTORS = Path(__file__).parent.parent / "vectors" / "wire"


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    """The key of all vectors: its seed is the bytes 0 to 31."""
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def kid(key: Ed25519PrivateKey) -> bytes:
    """The key id that belongs to it."""
    return cose.key_id(key.public_key())


@pytest.fixture(scope="session")
def vector() -> Callable[[str], dict[str, Any]]:
    """A function that reads a stored vector by its name."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
        return found

    return read


@pytest.fixture(scope="session")
def from_named() -> Callable[[Any, Any], Any]:
    """A function that builds a letter from a vector's `value`: named fields, bytes in hex."""
    return _build


def _build(kind: Any, value: Any) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_union(parts, value)
    if origin is list:
        return [_build(parts[0], item) for item in value]
    if origin is tuple:
        return tuple(_build(part, item) for part, item in zip(parts, value, strict=True))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _build(hints[name], item) for name, item in value.items() if name != "kind_of_order"})
    if kind is bytes:
        return bytes.fromhex(value)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return kind(value)
    return value


def _build_union(parts: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        return None
    choices = [part for part in parts if part is not type(None)]
    if len(choices) == 1:
        return _build(choices[0], value)
    tag = value["kind_of_order"]
    return _build(next(choice for choice in choices if choice.__struct_config__.tag == tag), value)
