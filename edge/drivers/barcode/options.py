"""The keys that every scanner has, whichever way it is connected; config.py of each driver adds its own."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Annotated

import msgspec

from standards.gs1.application_identifier import CHARACTERS
from wire.observation import is_channel

POINT = Annotated[
    str,
    msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}\\Z", description="a name of a-z, 0-9, '.', '_' and '-'"),
]
REPEATS = "repeats"  # `POINT.repeats` is the channel of what a double-scan window made one scan of
REFUSED = "refused"  # `POINT.refused` is the channel of codes that the verdict refuses
POINT_MAX_CHARS = 63
LITERAL_MIN_CHARS = 3  # of a card before its first wildcard, so that no pattern takes everything for a command
CARD_MAX_CHARS = 200
WORD_CHARS = 3  # a substitute as long as this (`<GS>`) does not stand in a code by chance


class CommandCard(msgspec.Struct, frozen=True):
    """`[[device.card]]`: a code that is no goods but an instruction; its scans have the channel NAME/POINT.COMMAND.

    code: as printed on the card (without AIM identifier); `*` stands for anything, for example a lot number.
    """

    command: POINT
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=CARD_MAX_CHARS)]

    def matches(self, text: str) -> bool:
        """Whether this is the card's code."""
        return len(text) <= CARD_MAX_CHARS and fnmatch.fnmatchcase(text, self.code)


class ScanOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is made of the codes of a scanner.

    aim: whether AIM identifiers stand before codes. require_aim: a code without one was damaged. fnc1: what comes in
    place of GS. double_scan_s: the same code again within this time is the same scan. gs1_only: what is not GS1 data
    is rejected, too.
    """

    point: POINT = "scan"
    aim: bool = True
    require_aim: bool = False
    fnc1: Annotated[str, msgspec.Meta(max_length=8)] = ""
    double_scan_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    gs1_only: bool = False
    card: Annotated[list[CommandCard], msgspec.Meta(max_length=100)] = []

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""
        if 0 < len(self.fnc1) < WORD_CHARS and CHARACTERS.issuperset(self.fnc1):
            yield (
                "fnc1",
                f'"{self.fnc1}" could stand in a code itself: take one that no GS1 value holds, such as # | ^ ~',
            )
        if self.require_aim and not self.aim:
            yield "require_aim", "asks for the identifiers that aim = false says the scanner does not send"
        for point in {REPEATS, REFUSED, *(card.command for card in self.card)}:
            if not is_channel(f"x/{self.point}.{point}"):
                yield "point", f"{self.point}.{point} is longer than {POINT_MAX_CHARS} characters"
        for at, card in enumerate(self.card):
            literal = card.code.replace("?", "*").replace("[", "*").partition("*")[0]
            if card.command in {REPEATS, REFUSED}:
                yield f"card[{at}].command", f'"{card.command}" is no command: double scans and refused codes have it'
            if len(literal) < LITERAL_MIN_CHARS:
                what = f"begin it with {LITERAL_MIN_CHARS} characters or more before the first of * ? ["
                yield f"card[{at}].code", f'"{card.code}" would take other codes for this card: {what}'
