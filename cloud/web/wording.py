"""What the pages say, in Vietnamese and English: one TOML file per language, the same keys and placeholders in both.

A message is plain text with named placeholders, `{lot}`; a table with `one` and `other` is a message that counts, its
number is `{n}`. Messages hold no markup: the templates escape whatever comes out.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from cloud.web.formats import Language, number

FOLDER = Path(__file__).parent / "catalogue"
LANGUAGES: tuple[Language, ...] = ("vi", "en")


class Wording:
    """The messages of one language; calling it gives a message with its placeholders filled in."""

    def __init__(self, language: Language, messages: dict[str, str]) -> None:
        self.language = language
        self._messages = messages

    def __call__(self, key: str, /, **values: object) -> str:
        """The message `key`; a missing key is a defect, so it raises KeyError."""
        return self._messages[key].format(**values)

    def counted(self, key: str, n: int, /, **values: object) -> str:
        """The message `key` for `n` things: 1 gap, 2 gaps."""
        form = "one" if n == 1 else "other"
        return self._messages[f"{key}.{form}"].format(n=number(n, self.language, decimals=0), **values)

    def __contains__(self, key: str) -> bool:
        return key in self._messages

    @property
    def keys(self) -> set[str]:
        """All keys there are."""
        return set(self._messages)

    def message(self, key: str) -> str:
        """The message as it is written in the file, placeholders and all."""
        return self._messages[key]


@cache
def wording(language: Language) -> Wording:
    """The messages of a language, read once."""
    document = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    return Wording(language, _flat(document, ""))


def _flat(table: dict[str, Any], prefix: str) -> dict[str, str]:
    messages: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            messages |= _flat(value, f"{prefix}{key}.")
        else:
            messages[f"{prefix}{key}"] = value
    return messages
