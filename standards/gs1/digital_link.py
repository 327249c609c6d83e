"""GS1 Digital Link URIs: build the canonical form, parse any host's. GS1 Digital Link URI Syntax §4–§5.

Canonical is `https://id.gs1.org/{primary key}/{value}{/qualifier/value}…`, all AIs as numbers, GTINs with 14
digits, everything but unreserved characters percent-encoded. Uncompressed URIs only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from standards.gs1.application_identifier import QUALIFIERS, Gs1Error
from standards.gs1.element_string import check_elements

CANONICAL_STEM = "https://id.gs1.org"
URI_MAX_CHARACTERS = 8192

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 §2.3
# Scheme, host with optional port, path, query, fragment; only characters RFC 3986 allows at all.
_URI = re.compile(
    r"(?:https?|HTTPS?)://(?P<host>[A-Za-z0-9._~-]+(?::\d{1,5})?)(?P<path>/[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#@!$&'()*+,;=%]*")
_TRIPLET = re.compile(r"%([0-9A-Fa-f]{2})")


class DigitalLink(msgspec.Struct, frozen=True):
    """A parsed Digital Link: the path's (AI, value) pairs, primary key first, and then those of the query."""

    path: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def values(self) -> tuple[tuple[str, str], ...]:
        """All pairs, as an element string holds them."""
        return self.path + self.attributes

    def get(self, ai: str) -> str | None:
        """The value of an AI, or None."""
        return dict(self.values).get(ai)

    @property
    def identifier(self) -> str:
        """The canonical URI of what is named: key and qualifiers, without the attributes of the query."""
        return build(self.path)


def build(path: Iterable[tuple[str, str]]) -> str:
    """The canonical URI of a primary key and its qualifiers, given in any order. Raises Gs1Error."""
    pairs = tuple(path)
    check_elements(pairs)
    return CANONICAL_STEM + "".join(f"/{ai}/{escape(value)}" for ai, value in _in_path_order(pairs))


def parse(uri: str) -> DigitalLink:
    """Read a Digital Link of any host. Raises Gs1Error naming the AI and the reason."""
    if len(uri) > URI_MAX_CHARACTERS:
        raise Gs1Error("", f"URI of {len(uri)} characters, the limit is {URI_MAX_CHARACTERS}")
    match = _URI.fullmatch(uri)
    if match is None or not _ALLOWED.fullmatch(uri):
        raise Gs1Error("", f"{uri[:80]!r} is not an http(s) URI with host and path")
    path = _path_pairs(match["path"])
    attributes = tuple(_query_pairs(match["query"] or ""))
    check_elements(path + attributes)
    if _in_path_order(path) != path:
        raise Gs1Error(path[0][0], "qualifiers stand in the wrong order")
    allowed = {ai for group in QUALIFIERS[path[0][0]] for ai in group}
    for ai, _ in attributes:
        if ai in allowed:
            raise Gs1Error(ai, "belongs into the path behind its key, not into the query")
    return DigitalLink(path, attributes)


def gtin(gtin: str) -> str:
    """The URI of a trade item (a class), from a GTIN of 8, 12, 13 or 14 digits. Raises Gs1Error."""
    return build([("01", gtin.zfill(14))])


def lot(gtin: str, lot: str) -> str:
    """The URI of a lot. Raises Gs1Error."""
    return build([("01", gtin.zfill(14)), ("10", lot)])


def item(gtin: str, serial: str) -> str:
    """The URI of one serialised item. Raises Gs1Error."""
    return build([("01", gtin.zfill(14)), ("21", serial)])


def sscc(sscc: str) -> str:
    """The URI of a logistic unit. Raises Gs1Error."""
    return build([("00", sscc)])


def place(gln: str, extension: str | None = None) -> str:
    """The URI of a physical location, (414), with its extension (254) if it has one. Raises Gs1Error."""
    return build([("414", gln)] + ([("254", extension)] if extension is not None else []))


def party(gln: str) -> str:
    """The URI of a party, (417). Raises Gs1Error."""
    return build([("417", gln)])


def escape(value: str) -> str:
    """Percent-encode everything but unreserved characters, hex in upper case. RFC 3986 §2.1–2.3."""
    return "".join(c if c in _UNRESERVED else "".join(f"%{byte:02X}" for byte in c.encode()) for c in value)


def unescape(text: str, ai: str = "") -> str:
    """Undo percent-encoding. Raises Gs1Error for a `%` that no two hex digits follow, and beyond ASCII."""
    if text.count("%") != len(_TRIPLET.findall(text)):
        raise Gs1Error(ai, f"{text[:40]!r}: a % without two hex digits")
    plain = _TRIPLET.sub(lambda triplet: chr(int(triplet[1], 16)), text)
    if not plain.isascii():
        raise Gs1Error(ai, f"{text[:40]!r}: no GS1 value holds characters beyond ASCII")
    return plain


def _path_pairs(path: str) -> tuple[tuple[str, str], ...]:
    """The last run of key, value, qualifier, value … in the path; what stands before it is the host's own."""
    parts = path[1:].split("/")
    for start in range(len(parts) % 2, len(parts), 2):
        names = parts[start::2]
        if names[0] in QUALIFIERS and all(_is_qualifier(names[0], name) for name in names[1:]):
            texts = parts[start + 1 :: 2]
            return tuple((ai, unescape(text, ai)) for ai, text in zip(names, texts, strict=True))
    raise Gs1Error("", f"no GS1 key with its value at the end of the path {path[:80]!r}")


def _is_qualifier(key: str, name: str) -> bool:
    return any(name in group for group in QUALIFIERS[key])


def _query_pairs(query: str) -> Iterable[tuple[str, str]]:
    for parameter in query.replace(";", "&").split("&"):
        name, found, text = parameter.partition("=")
        if found and name.isdigit():  # other names are the host's own
            yield name, unescape(text.replace("+", " "), name)


def _in_path_order(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The pairs as they must stand in a path. Raises Gs1Error when they are not one key and its qualifiers."""
    keys = [ai for ai, _ in pairs if ai in QUALIFIERS]
    if len(keys) != 1:
        raise Gs1Error(keys[0] if keys else "", "exactly one primary key (01, 00, 414, 417 …) is needed")
    others = {ai: value for ai, value in pairs if ai != keys[0]}
    for group in QUALIFIERS[keys[0]]:
        if set(others) <= set(group):
            return ((keys[0], dict(pairs)[keys[0]]), *((ai, others[ai]) for ai in group if ai in others))
    raise Gs1Error(keys[0], f"cannot be qualified by {', '.join(f'({ai})' for ai in others)} together")
