"""The page's words in Vietnamese and English: one catalogue each, with the same keys and the same blanks."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any, Literal

Language = Literal["vi", "en"]
LANGUAGES: tuple[Language, ...] = ("vi", "en")


class Wording:
    """The words of one language: `words("device.seen", when="08:15")`."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._texts = catalogue(language)

    def __call__(self, key: str, **blanks: object) -> str:
        """The text of a key with its blanks filled in. Raises KeyError for an unknown key."""
        return self._texts[key].format(**blanks)

    def __contains__(self, key: str) -> bool:
        return key in self._texts


@cache
def catalogue(language: Language) -> dict[str, str]:
    """Every text of a language by its dotted key."""
    text = (resources.files("edge.local") / "catalogue" / f"{language}.toml").read_text("utf-8")
    return _flat(tomllib.loads(text), "")


def blanks(text: str) -> set[str]:
    """The names of the blanks in a text."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def language_of(wanted: str) -> Language:
    """English when it is asked for, else Vietnamese."""
    return "en" if wanted == "en" else "vi"


def _flat(table: dict[str, Any], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
