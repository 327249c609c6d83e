"""Which characters a line for people may have: a fixed list, so that every version of Python says the same."""

from __future__ import annotations

import re

#: Control characters (C0, C1), separators of lines, marks that turn the direction of text, and lone surrogates.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def is_plain(text: str) -> bool:
    """Whether nothing in `text` would be obeyed by a terminal or hide from a reader."""
    return _OBEYED.search(text) is None


def plain(text: str, instead: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """`text` with something else in the place of such characters."""
    return _OBEYED.sub(instead, text)
