"""TOML files that people write: read into frozen nouns, refusing what was not meant, with the path to it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import inspect

from cloud.errors import Fatal

FILE_MAX_BYTES = 4 * 1024 * 1024  # thousands of places and sensors; what is larger is the wrong file

T = TypeVar("T")


class DocumentError(Fatal):
    """A file cannot be used as it stands; `str()` names file, place in it, reason and what is allowed."""


def read(path: Path, kind: type[T]) -> T:
    """Read `path` as `kind`. Unknown keys and wrong types are refused. Raises DocumentError."""
    try:
        size = path.stat().st_size
        if size > FILE_MAX_BYTES:
            raise DocumentError(f"{path}: {size} bytes, the limit is {FILE_MAX_BYTES}; is this the right file?")
        text = path.read_text("utf-8")
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read ({error.strerror}); check name and rights") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return parse(text, kind, str(path))


def parse(text: str, kind: type[T], where: str) -> T:
    """Read TOML text as `kind`; `where` begins every error. Raises DocumentError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DocumentError(f"{where}: not TOML ({error})") from error
    _refuse_unknown(table, inspect.type_info(kind), where, "")
    try:
        return msgspec.convert(table, kind, dec_hook=_from_toml)
    except msgspec.ValidationError as error:
        raise DocumentError(f"{where}: {str(error).replace('`$.', '`')}") from error


def _from_toml(kind: type, value: object) -> object:
    """Types TOML does not have: a path is written as text."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")


def _refuse_unknown(value: object, kind: inspect.Type, where: str, path: str) -> None:
    if isinstance(kind, inspect.UnionType):
        for option in kind.types:
            _refuse_unknown(value, option, where, path)
    elif isinstance(kind, inspect.ListType) and isinstance(value, list):
        for at, item in enumerate(value):
            _refuse_unknown(item, kind.item_type, where, f"{path}[{at}]")
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field for field in kind.fields}
        for key, item in value.items():
            name = f"{path}.{key}".lstrip(".")
            if key not in fields:
                raise DocumentError(f"{where}: {name}: unknown key, allowed here: {', '.join(sorted(fields))}")
            _refuse_unknown(item, fields[key].type, where, name)
