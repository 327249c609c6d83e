"""What a reader of bundles has to say, in plain words of two languages: what is wrong, and what is missing.

The words are part of the format: they stand in summaries, see summary.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from wire.observation import MAX_TIME_MS

_SENTENCES = {
    # what is wrong
    "chain": (
        "không nối tiếp gói số {before}: mã băm ghi trong gói không phải mã băm của gói trước",
        "does not go on from number {before}: the hash it names is not that of the pack before it",
    ),
    "other_hash": (
        "cổng khai mất hoặc nêu tên gói này với mã băm khác",
        "the gateway named this pack with another hash",
    ),
    "key_too_late": (
        "khóa {kid} đã ký gói này được ghi vào sổ sau chính gói này",
        "the ledger learnt of the key {kid} that signed it only after it",
    ),
    "key_ended": (
        "khóa {kid} đã ký gói này chỉ được ký đến số {last} của dòng {stream}",
        "the key {kid} that signed it ended with number {last} of stream {stream}",
    ),
    "key_revoked": (
        "khóa {kid} đã ký gói này bị thu hồi trước khi gói vào sổ",
        "the key {kid} that signed it had been revoked when it came into the ledger",
    ),
    "key_revoked_from": (
        "khóa {kid} đã ký gói này bị thu hồi từ số {first}",
        "the key {kid} that signed it was revoked from number {first} on",
    ),
    "other_numbers": (
        "{series} tại {place}: bản chốt ghi {frozen}, tính lại từ các gói được {found}",
        "{series} at {place}: it says {frozen}, the packs here give {found}",
    ),
    "other_lot": ("nói về lô {lot}, không phải lô của hồ sơ này", "is about lot {lot}, which is not this bundle's"),
    "no_evidence": (
        "quyết định dựa trên bằng chứng {sha256}, không có trong hồ sơ",
        "was made on evidence {sha256}, which is not in this bundle",
    ),
    # what is missing
    "numbers": (
        "thiếu gói số {first}–{last}: không có ở đây và cổng không khai mất",
        "numbers {first}–{last} are missing: neither here nor declared by the gateway",
    ),
    "declared_lost": (
        "cổng khai {kind} gói số {first}–{last}: {reason}",
        "the gateway declared numbers {first}–{last} {kind}: {reason}",
    ),
    "no_readings": (
        "không có số đo nào từ {begin} đến {end}",
        "no reading from {begin} to {end}",
    ),
    "silence": (
        "không có số đo từ {begin} đến {end} ({lasted}), lâu hơn hai lần chu kỳ đo",
        "no reading from {begin} to {end} ({lasted}), longer than two log intervals",
    ),
    "no_interval": (
        "không biết chu kỳ đo, nên không xét được những lúc không có số đo",
        "how often it is read is not known, so times without a reading cannot be told",
    ),
    "no_series": ("không có cảm biến nào gắn với {place}", "no sensor was bound to {place}"),
    "not_recomputed": (
        "{series} tại {place}: không tính lại được, vì bản chốt đã loại số đo có thời gian không tin được",
        "{series} at {place}: cannot be computed again, because readings with wrong times were left out of it",
    ),
    "no_frozen": (
        "chưa có bản bằng chứng nào được chốt trong sổ",
        "no version of the lot's evidence stands in the ledger",
    ),
    "no_scan": (
        "không có lần quét đã ký nào trong hồ sơ làm ra sự kiện này",
        "no signed scan in this bundle made it",
    ),
}


FINDINGS_MAX = 10_000  # of one kind, told one by one; what has more is not worth more words


class Finding(msgspec.Struct, frozen=True):
    """One thing to say about a record or a series. code: for machines; params: what its sentence needs."""

    code: str
    what: str
    params: dict[str, str | int] = {}

    def said(self, language: str) -> str:
        """The whole sentence, in `vi` or `en`."""
        return f"{self.what}: {self.why(language)}"

    def why(self, language: str = "en") -> str:
        """The sentence without what it is about."""
        return _SENTENCES[self.code][language == "en"].format(**self.params)


def pack_name(gateway: str, stream: bytes, seq: int) -> str:
    """What people call a pack."""
    return f"{gateway}/{stream.hex()[:8]}/{seq}"


def instant(at_ms: int) -> str:
    """An instant in UTC, to the second; the milliseconds only where there are any. Beyond the year 9999 a number."""
    if not 0 <= at_ms <= MAX_TIME_MS:
        return str(at_ms)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{at_ms % 1000:03}" if at_ms % 1000 else "") + "Z"


def lasting(span_ms: int) -> str:
    """A span of time, as days, hours, minutes and seconds."""
    seconds, parts = span_ms // 1000, []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        many, seconds = divmod(seconds, length)
        parts += [f"{many} {unit}"] if many else []
    return " ".join(parts) or "0 s"
