"""The rules several letters share: how a broken one is reported, and the bounds of numbers, times and texts.

The bounds keep every accepted number inside what all databases on the way can hold.
"""

from __future__ import annotations

from wire.envelope import WireError
from wire.observation import BOOT_ID_BYTES, INT64_MAX, MAX_TIME_MS, Stamp

STREAM_BYTES = 16
TEXT_MAX = 200  # characters of a reason, a source, a name: a line to read, not a document


def require(claim: bool, where: str, why: str) -> None:
    """Raise WireError `invalid` unless `claim` holds; `where` is the path to the field."""
    if not claim:
        raise broken(where, why)


def broken(where: str, why: str) -> WireError:
    """The error of a broken rule, for checks that run so often that nobody may write down in vain why they fail."""
    return WireError("invalid", f"{where}: {why}")


def require_seq(seq: int, where: str) -> None:
    """A seq starts at 1 and fits 63 bits. Raises WireError `invalid`."""
    require(1 <= seq <= INT64_MAX, where, f"seq {seq} is out of range, it starts at 1")


def require_time(time_ms: int, where: str) -> None:
    """An instant lies between 1970 and the end of year 9999. Raises WireError `invalid`."""
    require(0 <= time_ms <= MAX_TIME_MS, where, f"time {time_ms} is out of range (0 to {MAX_TIME_MS} ms)")


def require_text(text: str, where: str) -> None:
    """A text for people: at most TEXT_MAX characters that are Unicode at all. Raises WireError `invalid`."""
    require(len(text) <= TEXT_MAX, where, f"text of {len(text)} characters, the limit is {TEXT_MAX}")
    require(utf8_bytes(text) is not None, where, "text with a lone surrogate cannot be written as UTF-8")


def require_stamp(stamp: Stamp, where: str) -> None:
    """A stamp has a whole boot id and both times in range. Raises WireError `invalid`."""
    require(len(stamp.boot_id) == BOOT_ID_BYTES, f"{where}.boot_id", f"must have {BOOT_ID_BYTES} bytes")
    require_time(stamp.observed_at_ms, f"{where}.observed_at_ms")
    require_time(stamp.monotonic_ms, f"{where}.monotonic_ms")


def utf8_bytes(text: str) -> int | None:
    """How many bytes `text` takes in UTF-8; None when it cannot be written so."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
