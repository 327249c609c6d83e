"""GS1 element strings → application identifiers and values, by strict rules. GS1 General Specifications §7.8.

Behind it stands biip, whose AI table is complete but whose judgement is lenient: check digits, dates, repeated
and contradicting AIs, and values that run into the next AI are judged here. Not judged (no list of ours would
stay true): whether a country, currency, IBAN or company prefix was ever issued, and coupon codes (8110, 8112).
A scan of any symbol comes in through `scan.parse`; this is the part of it that knows element strings.
biip is imported on first use, because the base install doesn't have it, and because it costs: 0.5 MB of disk, 16 MB of
memory and 0.07 s of processor time (biip 5.2 on a desktop machine; reckon with several times that on a Raspberry Pi).
"""

from __future__ import annotations

import calendar
import datetime as dt
import functools
import re
from collections.abc import Iterator

import msgspec

from standards.gs1.application_identifier import CHARACTERS, Gs1Error, TooLong, check_together, check_value

SEPARATOR = "\x1d"  # what a scanner sends for FNC1 inside a message
MESSAGE_MAX_CHARACTERS = 8192  # a GS1 DotCode or QR Code holds less; a guard against runaway lines


class ElementString(msgspec.Struct, frozen=True):
    """One parsed message: (AI, value) in the order they were read, and the AIM identifier (without `]`)."""

    values: tuple[tuple[str, str], ...]
    symbology: str = ""

    def get(self, ai: str) -> str | None:
        """The value of an AI, or None when the message doesn't hold it."""
        return dict(self.values).get(ai)

    @property
    def gtin(self) -> str | None:
        """(01), 14 digits."""
        return self.get("01")

    @property
    def lot(self) -> str | None:
        """(10), the batch or lot number."""
        return self.get("10")

    @property
    def serial(self) -> str | None:
        """(21), the serial number."""
        return self.get("21")

    @property
    def sscc(self) -> str | None:
        """(00), 18 digits."""
        return self.get("00")

    @property
    def gln(self) -> str | None:
        """(414), the location number, 13 digits."""
        return self.get("414")

    @property
    def party(self) -> str | None:
        """(417), the party's GLN, 13 digits."""
        return self.get("417")

    def expiry(self, *, in_year: int) -> dt.date | None:
        """(17), else (15) best before: the last good day, as understood in the year `in_year`."""
        text = self.get("17") or self.get("15")
        return None if text is None else date_of(text, in_year=in_year)


def parse(text: str) -> ElementString:
    """Read one message of element strings, without AIM identifier. Raises Gs1Error.

    One leading separator is skipped: some scanners send the FNC1 that opens a message, some do not.
    """
    if len(text) > MESSAGE_MAX_CHARACTERS:
        raise Gs1Error("", f"{len(text)} characters, the limit is {MESSAGE_MAX_CHARACTERS}")
    body = text.removeprefix(SEPARATOR)
    if not body:
        raise Gs1Error("", "the message is empty")
    for at, character in enumerate(body):
        if character not in CHARACTERS and character != SEPARATOR:
            raise Gs1Error("", f"{character!r} at position {at} is not a GS1 character")
    values = tuple(_elements(body))
    check_together(tuple(ai for ai, _ in values))
    return ElementString(values)


def check_elements(values: tuple[tuple[str, str], ...]) -> None:
    """Hold already separated (AI, value) pairs against the same rules as `parse`. Raises Gs1Error."""
    check_together(tuple(ai for ai, _ in values))
    for ai, value in values:
        if not CHARACTERS.issuperset(value):
            raise Gs1Error(ai, f"{value[:40]!r} holds a character that is not GS1's")
        read, length = _extract(ai + value, at=0)
        if read != (ai, value) or length != len(ai + value):
            raise Gs1Error(ai, f"{value[:40]!r} does not fit its format")


def date_of(text: str, *, in_year: int) -> dt.date:
    """YYMMDD as a date; day 00 is the last of the month, the century is the nearest one to `in_year`.

    GS1 General Specifications §7.12 (51 years back to 50 ahead). Raises Gs1Error.
    """
    if re.fullmatch(r"[0-9]{6}", text) is None:
        raise Gs1Error("", f"{text[:20]!r} is not a date (YYMMDD)")
    try:
        year, month, day = int(text[:2]), int(text[2:4]), int(text[4:6])
        offset = (year - in_year) % 100
        full = in_year + (offset if offset <= 50 else offset - 100)
        return dt.date(full, month, day or calendar.monthrange(full, month)[1])
    except ValueError as error:
        raise Gs1Error("", f"{text[:20]!r} is not a date (YYMMDD)") from error


def _elements(body: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(body):
        element, length = _extract(body, at)
        yield element
        at += length
        if body.startswith(SEPARATOR, at):
            at += 1


def _extract(body: str, at: int) -> tuple[tuple[str, str], int]:
    """The element at `at` and its length with the AI, judged by itself."""
    import biip
    from biip.gs1_application_identifiers import GS1ApplicationIdentifier

    rest = body[at:].split(SEPARATOR, 1)[0]
    try:
        ai = GS1ApplicationIdentifier.extract(rest)
    except biip.ParseError as error:
        raise Gs1Error("", f"no application identifier at position {at}: {rest[:8]!r}") from error
    match = _pattern(ai.pattern).match(rest)
    if match is None:
        raise Gs1Error(ai.ai, f"{rest[len(ai.ai) :][:90]!r} does not fit its format {ai.format}")
    if ai.separator_required and match.end() != len(rest):
        raise TooLong(ai.ai, f"{rest[len(ai.ai) :][:90]!r} is too long for its format {ai.format}")
    value = rest[len(ai.ai) : match.end()]
    check_value(ai.ai, value)
    return (ai.ai, value), match.end()


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removesuffix("$"), re.ASCII)
