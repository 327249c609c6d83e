"""Bytes of a satellite receiver ↔ NMEA 0183 sentences, and the time that may be believed of them. Pure.

What they say of the place is put together in navigation.py.

A sentence is `$` talker (2) type (3) `,` fields `*` checksum CR LF; the checksum, XOR of what stands between `$` and
`*`, is mandatory here although the standard lets a talker leave it out: a flipped bit would be another date. Known
types: RMC (time, date, validity, position, speed), GGA (time of day, quality of the fix, position, satellites), ZDA
(time, date). Others are passed over. A field that a receiver leaves empty, or fills with what cannot be, is None; a
sentence whose fix is not a real one has no position at all. Source: NMEA 0183 v4.11 as gpsd documents it
(gpsd.gitlab.io/gpsd/NMEA.html); pinned by real captures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

LINE_MAX = 128  # the standard says 82; receivers with centimetres in their positions exceed it
DAY_MS = 86_400_000
_SENTENCE = re.compile(rb"\$([\x20-\x23\x25-\x29\x2b-\x7e]+)\*([0-9A-Fa-f]{2})")
_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})(?:\.(\d{1,6}))?")
_DATE = re.compile(r"(\d{2})(\d{2})(\d{2})")
_MINUTES = re.compile(r"(\d{2,3})(\d{2})(?:\.(\d{1,9}))?", re.ASCII)  # dddmm.mmmm
_PLAIN = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_HEMISPHERES = {"N": (90, 1), "S": (90, -1), "E": (180, 1), "W": (180, -1)}  # furthest degrees, sign
DEGREE = 10**7  # positions are whole 1e-7 degrees: 1.1 cm, finer than any receiver that sends NMEA means
_FIX_MODES = frozenset(
    "ADFPR"
)  # autonomous, differential, float and fixed RTK, precise; not estimated, manual, simulated
_FIX_QUALITIES = frozenset({1, 2, 3, 4, 5})  # of GGA; 0 none, 6 estimated, 7 manual, 8 simulated
_YEAR_PIVOT = 80  # GPS began in 1980


class Position(msgspec.Struct, frozen=True):
    """A place on WGS 84, in whole 1e-7 degrees; north and east are positive."""

    latitude: int
    longitude: int


class Rmc(msgspec.Struct, frozen=True):
    """Recommended minimum: when, where, and whether the receiver stands by it. time_ms: of the day."""

    time_ms: int | None
    date: tuple[int, int, int] | None  # year, month, day
    valid: bool
    position: Position | None = None
    speed_knots: Decimal | None = None


class Gga(msgspec.Struct, frozen=True):
    """The fix: time of day, whether it is a real one, where, from how many satellites and how well they stand."""

    time_ms: int | None
    valid: bool
    satellites: int | None
    position: Position | None = None
    hdop: Decimal | None = None


class Zda(msgspec.Struct, frozen=True):
    """Time and date; a receiver tells it without a fix, too."""

    time_ms: int | None
    date: tuple[int, int, int] | None


class Damaged(msgspec.Struct, frozen=True):
    """A line that is no sentence: wrong checksum, cut off, or not NMEA 0183 at all."""

    size_bytes: int


Sentence = Rmc | Gga | Zda


class Decoder:
    """Cuts a byte stream into sentences, however the bytes arrive. Never holds more than one line's worth."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._joined = False  # whether we have seen the beginning of a line

    def feed(self, data: bytes) -> list[Sentence | Damaged]:
        """Take what arrived; give what became complete, in order. What the first line lacks is no damage."""
        self._held += data
        *lines, rest = bytes(self._held).split(b"\n")
        self._held = bytearray(rest)
        found: list[Sentence | Damaged] = []
        for line in lines:
            read = read_line(line.rstrip(b"\r"))
            if read is not None and (self._joined or not isinstance(read, Damaged)):
                found.append(read)
            self._joined = True
        if len(self._held) > LINE_MAX:
            found.append(Damaged(len(self._held)))  # no sentence began that long ago
            self._held.clear()
            self._joined = False
        return found

    def discard(self) -> None:
        """Forget an unfinished line."""
        self._held.clear()
        self._joined = False


class FixTime:
    """Gives the time of a receiver's day and date, once per fix, only while it has a fix."""

    def __init__(self) -> None:
        self._fixed_ms: int | None = None  # time of day of the last GGA with a fix
        self._told_ms: int | None = None

    def take(self, sentence: Sentence) -> int | None:
        """UTC ms that this sentence proves, None when it proves nothing new."""
        if isinstance(sentence, Gga):
            self._fixed_ms = sentence.time_ms if sentence.valid else None
            return None
        valid = sentence.valid if isinstance(sentence, Rmc) else sentence.time_ms == self._fixed_ms
        if not valid or sentence.time_ms is None or sentence.date is None:
            return None
        at_ms = _midnight_ms(sentence.date) + sentence.time_ms
        if at_ms == self._told_ms:
            return None
        self._told_ms = at_ms
        return at_ms


def read_line(line: bytes) -> Sentence | Damaged | None:
    """A line of a receiver without its end; None for an empty one, and for sentences that say nothing here."""
    if not line:
        return None
    match = _SENTENCE.fullmatch(line)
    if match is None or _checksum(match[1]) != int(match[2], 16) or len(line) > LINE_MAX:
        return Damaged(len(line))
    kind, *fields = match[1].decode("ascii").split(",")
    parse = _PARSERS.get(kind[2:]) if len(kind) == 5 else None
    return None if parse is None else parse(fields)


def encode_rmc(
    at_ms: int, *, valid: bool = True, position: Position | None = None, speed_knots: Decimal | None = None
) -> bytes:
    """An RMC sentence, as a receiver sends it that knows the time."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    status, mode = ("A", "A") if valid else ("V", "N")
    speed = "" if speed_knots is None else f"{speed_knots:f}"
    return _encode(f"GPRMC,{at:%H%M%S}.{at_ms % 1000:03d},{status},{_encoded(position)},{speed},,{at:%d%m%y},,,{mode}")


def encode_gga(at_ms: int, *, satellites: int, valid: bool = True, position: Position | None = None) -> bytes:
    """A GGA sentence."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    fix = 1 if valid else 0
    place = _encoded(position)
    return _encode(f"GPGGA,{at:%H%M%S}.{at_ms % 1000:03d},{place},{fix},{satellites:02d},1.0,,M,,M,,")


def _encoded(position: Position | None) -> str:
    """Degrees and minutes; the seventh decimal of the minutes is finer than the eighth of the degrees."""
    if position is None:
        return ",,,"
    texts: list[str] = []
    for value, width, letters in ((position.latitude, 2, "NS"), (position.longitude, 3, "EW")):
        degrees, rest = divmod(abs(value), DEGREE)
        minutes = Decimal(rest * 60) / DEGREE
        texts.append(f"{degrees:0{width}d}{minutes:010.7f},{letters[value < 0]}")
    return ",".join(texts)


def _encode(body: str) -> bytes:
    return f"${body}*{_checksum(body.encode()):02X}\r\n".encode()


def _checksum(body: bytes) -> int:
    total = 0
    for byte in body:
        total ^= byte
    return total


def _rmc(fields: Sequence[str]) -> Sentence:
    date = _DATE.fullmatch(_field(fields, 8))
    mode = _field(fields, 11)
    valid = _field(fields, 1) == "A" and (not mode or mode in _FIX_MODES)
    found = None
    if date is not None:
        year = int(date[3])
        found = (1900 + year if year >= _YEAR_PIVOT else 2000 + year, int(date[2]), int(date[1]))
    place, speed = (_position(fields, 2), _decimal(_field(fields, 6))) if valid else (None, None)
    return Rmc(_time_ms(_field(fields, 0)), _real(found), valid, place, speed)


def _gga(fields: Sequence[str]) -> Sentence:
    quality, satellites = _number(_field(fields, 5)), _number(_field(fields, 6))
    valid = quality in _FIX_QUALITIES
    place = _position(fields, 1) if valid else None
    return Gga(_time_ms(_field(fields, 0)), valid, satellites, place, _decimal(_field(fields, 7)))


def _zda(fields: Sequence[str]) -> Sentence:
    day, month, year = (_number(_field(fields, at)) for at in (1, 2, 3))
    found = None if day is None or month is None or year is None else (year, month, day)
    return Zda(_time_ms(_field(fields, 0)), _real(found))


_PARSERS: dict[str, Callable[[Sequence[str]], Sentence]] = {"RMC": _rmc, "GGA": _gga, "ZDA": _zda}


def _field(fields: Sequence[str], at: int) -> str:
    return fields[at].strip() if at < len(fields) else ""


def _position(fields: Sequence[str], at: int) -> Position | None:
    """Four fields: latitude, N or S, longitude, E or W. 0/0 is where receivers are that do not know, not a place."""
    latitude = _degrees(_field(fields, at), _field(fields, at + 1), "NS")
    longitude = _degrees(_field(fields, at + 2), _field(fields, at + 3), "EW")
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return Position(latitude, longitude)


def _degrees(text: str, letter: str, letters: str) -> int | None:
    """`4404.1306`, `N` in 1e-7 degrees, rounded half to even."""
    match = _MINUTES.fullmatch(text)
    if match is None or letter not in letters or len(letter) != 1 or len(match[1]) != (2 if letter in "NS" else 3):
        return None
    furthest, sign = _HEMISPHERES[letter]
    minutes = Decimal(f"{match[2]}.{match[3] or 0}")
    value = int(match[1]) * DEGREE + round(minutes * DEGREE / 60)
    return sign * value if minutes < 60 and value <= furthest * DEGREE else None


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if _PLAIN.fullmatch(text) else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _time_ms(text: str) -> int | None:
    """Milliseconds of the day; None for a time that no day has. A leap second is nothing to set a clock by."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    if hour > 23 or minute > 59 or second > 59:
        return None
    return ((hour * 60 + minute) * 60 + second) * 1000 + int((match[4] or "0").ljust(3, "0")[:3])


def _real(date: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """A date that the calendar has."""
    if date is None:
        return None
    try:
        datetime(*date, tzinfo=UTC)
    except (ValueError, OverflowError):  # a year of 20 digits fits no machine integer
        return None
    return date


def _midnight_ms(date: tuple[int, int, int]) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1000
