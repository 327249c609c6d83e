"""How numbers, instants and spans are written for a reader, in Vietnamese or English. Pure.

Vietnamese: 1.234,5 and dd/mm/yyyy HH:MM. Local time is Asia/Ho_Chi_Minh, which has been UTC+7 without daylight saving
since 1975; the fixed offset needs no time zone database on the server.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from babel.dates import format_datetime
from babel.numbers import format_decimal

Language = Literal["vi", "en"]
LOCAL_ZONE = timezone(timedelta(hours=7), "ICT")
MINUS = "−"  # U+2212: a hyphen is too easily overlooked in front of a temperature
NARROW_SPACE = "\u202f"  # between number and unit (SI brochure §5.4.3), never broken across lines

_UNIT_SIGNS = {"CEL": "°C", "P1": "%", "FAH": "°F", "KEL": "K"}  # UN/ECE Recommendation 20 codes
_DAY = {"vi": "dd/MM/yyyy", "en": "d MMM y"}
_SHORT_DAY = {"vi": "dd/MM", "en": "d MMM"}


def number(value: float, language: Language, *, decimals: int = 1, exact: bool = False) -> str:
    """`value` with `decimals` places, or with up to two when `exact`, so that 8.04 is not shown as the limit 8."""
    pattern = "#,##0.0#" if exact else "#,##0" + ("." + "0" * decimals if decimals else "")
    return format_decimal(Decimal(str(value)), pattern, locale=language).replace("-", MINUS)


def unit_sign(unit: str) -> str:
    """The sign a reader knows for a Rec 20 code (°C for CEL), or the code itself."""
    return _UNIT_SIGNS.get(unit, unit)


def quantity(value: float, unit: str, language: Language) -> str:
    """A measured value with its unit: 9,6 °C."""
    return f"{number(value, language, exact=True)}{NARROW_SPACE}{unit_sign(unit)}"


def percent(share: float, language: Language) -> str:
    """A share of 0–1 as per cent with one decimal, rounded down: only what is complete is shown as 100 %."""
    tenths = (Decimal(str(share)) * 1000).to_integral_value(ROUND_FLOOR) / 10
    pattern = "0" if tenths == tenths.to_integral_value() else "0.0"
    return f"{format_decimal(tenths, pattern, locale=language)}{NARROW_SPACE}%"


def local(at_ms: int) -> datetime:
    """The instant in local time."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(LOCAL_ZONE)


def iso(at_ms: int) -> str:
    """ISO 8601 with offset and milliseconds, for machines."""
    return (datetime.fromtimestamp(at_ms // 1000, LOCAL_ZONE) + timedelta(milliseconds=at_ms % 1000)).isoformat(
        timespec="milliseconds"
    )


def day_and_time(at_ms: int, language: Language) -> str:
    """21/11/2026 14:05 · 21 Nov 2026 14:05."""
    return format_datetime(local(at_ms), f"{_DAY[language]} HH:mm", tzinfo=LOCAL_ZONE, locale=language)


def short_day(at_ms: int, language: Language) -> str:
    """21/11 · 21 Nov."""
    return format_datetime(local(at_ms), _SHORT_DAY[language], tzinfo=LOCAL_ZONE, locale=language)


def short_day_and_time(at_ms: int, language: Language) -> str:
    """21/11 14:05 · 21 Nov 14:05."""
    return format_datetime(local(at_ms), f"{_SHORT_DAY[language]} HH:mm", tzinfo=LOCAL_ZONE, locale=language)


def day(at_ms: int, language: Language) -> str:
    """21/11/2026 · 21 Nov 2026."""
    return format_datetime(local(at_ms), _DAY[language], tzinfo=LOCAL_ZONE, locale=language)


def clock_time(at_ms: int) -> str:
    """14:05."""
    return local(at_ms).strftime("%H:%M")


_SPAN_WORDS = {"vi": (" ngày", " giờ", " phút", " giây"), "en": (" d", " h", " min", " s")}


def span(duration_ms: int, language: Language) -> str:
    """A length of time in its two largest units that matter: 2 ngày 13 giờ, 24 phút, 40 giây."""
    seconds = max(0, round(duration_ms / 1000))
    if seconds >= 60:
        seconds = round(seconds / 60) * 60
    if seconds >= 2 * 86_400:
        seconds = round(seconds / 3600) * 3600
    sizes = (86_400, 3600, 60, 1) if seconds >= 2 * 86_400 else (0, 3600, 60, 1)
    words: list[str] = []
    for size, word in zip(sizes, _SPAN_WORDS[language], strict=True):
        amount, seconds = divmod(seconds, size) if size else (0, seconds)
        if amount:
            words.append(f"{amount}\u00a0{word.strip()}")
    return " ".join(words) or f"0\u00a0{_SPAN_WORDS[language][2].strip()}"


def whole_span(duration_s: float, language: Language) -> str:
    """A length of time to the second, whatever its sign: 1 d, 20,370 d 8 h 53 min 20 s; 1.5 s when below a minute."""
    if abs(duration_s) < 60:
        return seconds(abs(duration_s), language)
    left = round(abs(duration_s))
    words: list[str] = []
    for size, word in zip((86_400, 3600, 60, 1), _SPAN_WORDS[language], strict=True):
        amount, left = divmod(left, size)
        if amount:
            words.append(f"{number(amount, language, decimals=0)}\u00a0{word.strip()}")
    return " ".join(words)


def seconds(duration_s: float, language: Language) -> str:
    """Seconds with the decimals that matter: 0.02 s, 1.5 s, 90 s."""
    return f"{number(duration_s, language, exact=True)}\u00a0{_SPAN_WORDS[language][3].strip()}"


def folded(text: str) -> str:
    """`text` for searching: without accents, đ as d, lower case."""
    spread = unicodedata.normalize("NFD", text.casefold())
    return "".join(letter for letter in spread if not unicodedata.combining(letter)).replace("đ", "d")
