"""Just enough Markdown to hold the documentation against the code: links, headings, tables, fenced blocks, code."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Key:
    """A row of a table of configuration keys: the key and its default, both without backticks."""

    name: str
    default: str


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def links(text: str) -> list[str]:
    """Targets of the links, those in fenced blocks left out."""
    return [found[1] for found in _LINK.finditer(_FENCE.sub("", text))]


def anchors(text: str) -> set[str]:
    """The anchor of every heading, as GitHub makes them."""
    return {_anchor(found[2]) for found in _HEADING.finditer(_FENCE.sub("", text))}


def fenced(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of a language."""
    return [found[2] for found in _FENCE.finditer(text) if found[1] == language]


def code(text: str) -> list[str]:
    """What stands in backticks outside of fenced blocks."""
    return [found[1] for found in _CODE.finditer(_FENCE.sub("", text))]


def commands(page: Path) -> list[list[str]]:
    """The words behind `coldproof` of every command line in fenced blocks."""
    lines = [line for block in fenced(text_of(page), "sh") for line in block.splitlines()]
    return [found for line in lines if (found := words_of(line))]


def words_of(line: str) -> list[str] | None:
    """The words behind `coldproof` of a command line, None when it is of another program."""
    words = shlex.split(line, comments=True)
    if words[:2] == ["sudo", "-u"]:
        words = words[3:]
    return words[1:] if words and Path(words[0]).name == "coldproof" else None


def key_table(text: str, heading: str) -> list[Key]:
    """The rows of the table of keys below a heading."""
    _, found, rest = text.partition(f"\n### {heading}\n")
    assert found, f"there is no heading {heading!r}"
    section = re.split(r"^#{1,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in section.splitlines() if "|" in line]
    assert rows[0] == ["key", "type", "default", "meaning and limits"], heading
    return [Key(row[0].strip("`"), row[2].strip("`")) for row in rows[2:]]


def headings_with_keys(text: str) -> Iterator[str]:
    """The level-3 headings that a table of keys follows."""
    for found in re.finditer(r"^### (.+)\n(?:(?!^#).*\n)*?\| key \|", text, re.MULTILINE):
        yield found[1]


def _anchor(heading: str) -> str:
    plain = unicodedata.normalize("NFC", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
