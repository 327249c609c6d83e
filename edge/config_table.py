"""Reads tables of a TOML document into Structs and collects every problem, each with its path and line.

Called by edge/config.py. Every field is converted by itself, so that one mistake does not hide the next.
A field of type Path is taken relative to the folder of the document; a type with `from_config(value, folder)`
makes itself.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)

_ARRAY = re.compile(r"\s*\[\[\s*([A-Za-z0-9_.-]+)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")
SHOWN_CHARS = 60  # of a wrong value, in a message


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing wrong with a configuration. path: for example `device[1].baudrate`."""

    line: int  # 0: unknown
    path: str
    what: str


class Document:
    """The document under examination: where it is, and what was found wrong with it."""

    def __init__(self, text: str, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self._lines = _key_lines(text)

    def complain(self, path: str, what: str) -> None:
        """Note a problem at a key, or at the nearest table around it."""
        at = path
        while at and at not in self._lines:
            at = re.sub(r"(\.[^.\[]*|\[\d+\]|[^.\[\]]*)$", "", at)
        self.problems.append(Problem(self._lines.get(at, 0), path, what))

    def table(self, raw: dict[str, Any], name: str, *, required: bool) -> dict[str, Any] | None:
        """The top-level table `name`, None where it is missing or no table."""
        if name not in raw:
            if required:
                self.complain(name, f"this table is missing: add [{name}]")
            return None
        value = raw[name]
        if not isinstance(value, dict):
            self.complain(name, f"expected a table [{name}], got {_shown(value)}")
            return None
        return value

    def read(self, raw: dict[str, Any], kind: type[T], path: str) -> T | None:
        """The Struct made of a table; None when anything in it is wrong (and noted)."""
        before = len(self.problems)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        types = {field.encode_name: field.type for field in _struct_type(kind).fields}
        for key in raw.keys() - fields.keys():
            self.complain(f"{path}.{key}", f"unknown key{_nearest(key, list(fields))}")
        values: dict[str, Any] = {}
        for key, field in fields.items():
            if key in raw:
                values[field.name] = self._field(raw[key], field.type, types[key], f"{path}.{key}")
            elif field.required:
                self.complain(path, f"{key} is missing ({describe(types[key])})")
        if len(self.problems) > before:
            return None
        try:
            return kind(**values)
        except ValueError as error:  # a rule of the Struct's own; it names its field as `field = value: why`
            named, _, _ = str(error).partition(" = ")
            self.complain(f"{path}.{named}" if named in fields else path, str(error))
            return None

    def _field(self, value: Any, kind: Any, info: inspect.Type, path: str) -> Any:
        inner = _inner_struct(info)
        if inner is not None and isinstance(value, dict):
            return self.read(value, inner, path)
        items = _item_struct(info)
        if items is not None and isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return [self.read(item, items, f"{path}[{at}]") for at, item in enumerate(value)]
        try:
            return msgspec.convert(value, kind, dec_hook=self._make)
        except msgspec.ValidationError as error:
            cause = error.__cause__
            self.complain(path, str(cause) if cause else f"expected {describe(info)}, got {_shown(value)}")
            return None

    def _make(self, kind: Any, value: Any) -> Any:
        if hasattr(kind, "from_config"):
            return kind.from_config(value, self.folder)
        if kind is Path:
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError(f"expected a path, got {_shown(value)}")
            return self.folder / value
        raise NotImplementedError(f"no way to make a {kind}")


def describe(info: inspect.Type) -> str:
    """A type in plain words, with the values it allows."""
    match info:
        case inspect.Metadata():
            schema = info.extra_json_schema or {}
            return str(schema.get("description") or describe(info.type))
        case inspect.UnionType():
            return " or ".join(describe(part) for part in info.types if not isinstance(part, inspect.NoneType))
        case inspect.LiteralType():
            return "one of " + ", ".join(_shown(value) for value in sorted(info.values, key=str))
        case inspect.IntType() | inspect.FloatType():
            word = "a whole number" if isinstance(info, inspect.IntType) else "a number"
            return word + _bounds(info)
        case inspect.StrType():
            longest = f" of at most {info.max_length} characters" if info.max_length else ""
            return f"a text{longest}" + (f" matching {info.pattern}" if info.pattern else "")
        case inspect.BoolType():
            return "true or false"
        case inspect.ListType() | inspect.VarTupleType():
            return f"a list of {describe(info.item_type)}"
        case inspect.StructType():
            return "a table"
        case inspect.CustomType() if info.cls is Path:
            return "a path"
        case _:
            return "something else"


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    parts = [
        f"{word} {bound:_}"
        for word, bound in (("from", info.ge), ("above", info.gt), ("to", info.le), ("below", info.lt))
        if bound is not None
    ]
    return " " + " ".join(parts) if parts else ""


def _struct_type(kind: type[msgspec.Struct]) -> inspect.StructType:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info


def _inner_struct(info: inspect.Type) -> type[msgspec.Struct] | None:
    if isinstance(info, inspect.UnionType):
        info = next((part for part in info.types if isinstance(part, inspect.StructType)), info)
    return info.cls if isinstance(info, inspect.StructType) else None


def _item_struct(info: inspect.Type) -> type[msgspec.Struct] | None:
    return _inner_struct(info.item_type) if isinstance(info, inspect.ListType) else None


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f", did you mean {close[0]}?" if close else f", known here: {', '.join(sorted(known))}"


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


def _key_lines(text: str) -> dict[str, int]:
    """The line of every table and key, by path; line-wise, so a key inside a multi-line text may mislead it."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _ARRAY.match(line):
            name = _placed(found[1], counts)
            counts[name] = counts.get(name, -1) + 1
            table = f"{name}[{counts[name]}]"
            lines.setdefault(table, number)
        elif found := _TABLE.match(line):
            table = _placed(found[1], counts)
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            lines.setdefault(f"{table}.{found[1]}" if table else found[1], number)
    return lines


def _placed(name: str, counts: dict[str, int]) -> str:
    """`device.column` below the second [[device]] is `device[1].column`."""
    placed = ""
    for part in name.split("."):
        if placed in counts:
            placed = f"{placed}[{counts[placed]}]"
        placed = f"{placed}.{part}" if placed else part
    return placed
