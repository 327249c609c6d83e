"""Where results are kept, and how they get into bench/README.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).parent
README = HERE / "README.md"


def write_lines(path: Path, items: Iterable[Any]) -> None:
    """A JSON list, one object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"[\n" + b",\n".join(msgspec.json.encode(one) for one in items) + b"\n]\n")


def replace_between(begin: str, end: str, body: str, path: Path = README) -> None:
    """Renew what stands between two marks of a document."""
    before, found_begin, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise SystemExit(f"{path}: the marks {begin.strip()} … {end.strip()} are not there")
    path.write_text(before + begin + body + end + after, encoding="utf-8")
