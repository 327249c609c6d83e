"""The text a bundle begins with: what it holds and what follows from it, in Vietnamese and English. Pure.

Derived from the records alone, the same on every machine: no clock, no locale, times in UTC. A reader writes it again
and compares, so that nobody is shown words that the records don't say.

Invariant: what is written for the records of a version of the format never changes, by no letter and no sentence
(`finding.py` included): bundles that were handed out must stay intact. Other words need another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from wire.bundle import subject
from wire.bundle.anchor import Ledger, root_text
from wire.bundle.examine import Content
from wire.bundle.finding import Finding, instant
from wire.bundle.series import Measured
from wire.bundle.subject import Window
from wire.bundle.text import plain
from wire.observation import MAX_TIME_MS

LINES_MAX = 200  # of one kind; what is more is counted
LINE_MAX = 400  # characters

_WORDS = {
    "title": ("HỒ SƠ BẰNG CHỨNG CHUỖI LẠNH", "COLD CHAIN EVIDENCE BUNDLE"),
    "check": (
        "Trang này do máy viết từ các bản ghi phía sau. Nó chỉ có giá trị khi `coldproof verify` xác nhận tệp.",
        "A machine wrote this page from the records behind it. It counts only if `coldproof verify` confirms the file.",
    ),
    "lot": ("Lô {lot} · GTIN {gtin} · {product}", "Lot {lot} · GTIN {gtin} · {product}"),
    "period": ("Các cổng {gateways}, từ {begin} đến {end}", "Gateways {gateways}, from {begin} to {end}"),
    "simulated": ("DỮ LIỆU MÔ PHỎNG: không phải hàng thật", "SIMULATED DATA: not real goods"),
    "ledger": ("Sổ cái: {origin}, {size} lá", "Ledger: {origin}, {size} leaves"),
    "root": ("  gốc {root}", "  root {root}"),
    "vkey": ("  khóa {vkey}", "  key {vkey}"),
    "witness": ("  nhân chứng {vkey}, ký lúc {at}", "  witness {vkey}, signed at {at}"),
    "holds": (
        (
            "Trong hồ sơ: {packs} gói đã ký ({readings} số đo, {scans} lần quét), {events} sự kiện ({signed} từ lần"
            " quét trong hồ sơ), {versions} bản bằng chứng đã chốt, {decisions} quyết định,"
            " {revocations} lần thu hồi khóa"
        ),
        (
            "In the bundle: {packs} signed packs ({readings} readings, {scans} scans), {events} events ({signed} from"
            " scans in the bundle), {versions} frozen versions of evidence, {decisions} decisions,"
            " {revocations} revocations"
        ),
    ),
    "key": ("Khóa của cổng {gateway}: {kid}", "Key of gateway {gateway}: {kid}"),
    "stay": ("Lưu tại {place} ({gln}): {begin} – {end}", "Stay at {place} ({gln}): {begin} – {end}"),
    "open": ("còn ở đó lúc {until}", "still there at {until}"),
    "series": (
        "  {gateway}/{channel} {sensor} {measurement}: {count} số đo, {low} … {high} {unit}, {first} – {last}",
        "  {gateway}/{channel} {sensor} {measurement}: {count} readings, {low} … {high} {unit}, {first} – {last}",
    ),
    "series_empty": (
        "  {gateway}/{channel} {sensor} {measurement}: không có số đo",
        "  {gateway}/{channel} {sensor} {measurement}: no reading",
    ),
    "event": ("Sự kiện {time} {type} {action} {step} {id}", "Event {time} {type} {action} {step} {id}"),
    "version": (
        "Bản bằng chứng ở lá {leaf}: {verdict}, {stays} lần lưu",
        "Evidence version at leaf {leaf}: {verdict}, {stays} stays",
    ),
    "decision": (
        "Quyết định {at}: {kind}, {person}, bằng chứng bản {version} ({sha256}) {reason}",
        "Decision {at}: {kind}, {person}, on evidence version {version} ({sha256}) {reason}",
    ),
    "wrong": ("SAI:", "WRONG:"),
    "nothing_wrong": ("Không thấy gì sai.", "Nothing was found wrong."),
    "missing": ("THIẾU:", "MISSING:"),
    "nothing_missing": ("Không thấy thiếu gì.", "Nothing was found missing."),
    "more": ("… và {count} dòng nữa", "… and {count} more lines"),
    "claims": (
        "Tên, nơi lưu, thời gian lưu và cảm biến là lời của hệ thống đám mây; chữ ký và sổ cái không chứng minh chúng.",
        "Names, places, times of stays and sensors are the cloud's word; signatures and ledger don't prove them.",
    ),
    "statement": ("  mã băm của lời khai {sha256}", "  hash of that word {sha256}"),
}


def write(content: Content) -> bytes:
    """The summary of what a bundle holds."""
    parts = ["\n".join(_lines(content, language)) for language in ("vi", "en")]
    return ("\n\n" + "\n\n---\n\n".join(parts) + "\n\n").encode()


def _lines(content: Content, language: str) -> Iterator[str]:
    def say(code: str, **params: object) -> str:
        return _printable(_WORDS[code][language == "en"].format(**params)).rstrip()

    yield say("title")
    yield say("check")
    yield ""
    yield _about(content, language)
    if content.simulated:
        yield say("simulated")
    yield from _ledger(content.ledger, language)
    yield say("claims")
    yield say("statement", sha256=hashlib.sha256(subject.encode(content.subject)).hexdigest())
    yield ""
    counts = content.counts
    yield say(
        "holds",
        packs=counts["pack"],
        readings=content.readings,
        scans=content.scans,
        events=counts["event"],
        signed=content.signed_events,
        versions=counts["evidence version"],
        decisions=counts["decision"],
        revocations=counts["revocation"],
    )
    yield from _some([say("key", gateway=gateway, kid=kid) for gateway, kid in content.keys], language)
    yield ""
    yield from _some(_stays(content, language), language)
    events = [
        say("event", time=one.event_time, type=one.type, action=one.action, step=one.biz_step, id=one.event_id)
        for one in sorted(content.events, key=lambda one: (one.event_time, one.event_id))
    ]
    yield from _some(events, language)
    versions = [say("version", leaf=leaf, verdict=one.verdict, stays=len(one.stays)) for leaf, one in content.frozen]
    yield from _some(versions, language)
    decisions = [
        say(
            "decision",
            at=instant(made.decided_ms),
            kind=made.kind,
            person=made.person,
            version=made.evidence_version,
            sha256=made.evidence_sha256[:16],
            reason=made.reason,
        )
        for made in content.decisions
    ]
    yield from _some(decisions, language)
    yield ""
    yield from _findings(content.wrong, "wrong", language)
    yield from _findings(content.missing, "missing", language)


def _about(content: Content, language: str) -> str:
    about, english = content.subject, language == "en"
    if about.is_lot:
        product = about.product_en if english and about.product_en else about.product
        told = _WORDS["lot"][english].format(lot=about.lot, gtin=about.gtin, product=product or "–")
    else:
        begin, end = instant(about.from_ms), instant(about.to_ms)
        told = _WORDS["period"][english].format(gateways=", ".join(about.gateways), begin=begin, end=end)
    return _printable(told)


def _ledger(ledger: Ledger, language: str) -> Iterator[str]:
    english = language == "en"
    yield _WORDS["ledger"][english].format(origin=_printable(ledger.origin), size=ledger.size)
    yield _WORDS["root"][english].format(root=root_text(ledger.root))
    for vkey in ledger.vkeys:
        yield _WORDS["vkey"][english].format(vkey=_printable(vkey))
    for one in ledger.witnesses:
        yield _WORDS["witness"][english].format(vkey=_printable(one.vkey), at=_posix(one.at_s))


def _stays(content: Content, language: str) -> list[str]:
    english = language == "en"
    by_stay: dict[int, list[tuple[Window, Measured]]] = {}
    for window, one in content.windows:
        by_stay.setdefault(window.stay, []).append((window, one))
    lines: list[str] = []
    for number, stay in enumerate(content.subject.stays):
        if stay.place:
            end = instant(stay.to_ms) if stay.to_ms is not None else ""
            end = end or _WORDS["open"][english].format(until=instant(stay.until_ms))
            place = (stay.name_en if english and stay.name_en else stay.name) or "–"
            begin = instant(stay.from_ms)
            lines.append(_WORDS["stay"][english].format(place=place, gln=stay.place, begin=begin, end=end))
        lines += [_series(content, window, one, english=english) for window, one in by_stay.get(number, [])]
    return [_printable(line) for line in lines]


def _series(content: Content, window: Window, one: Measured, *, english: bool) -> str:
    series = content.subject.series[window.series]
    code = "series" if one.count else "series_empty"
    told = _WORDS[code][english].format(
        gateway=series.gateway,
        channel=series.channel,
        sensor=series.sensor or "–",
        measurement=series.measurement or "–",
        unit=series.unit,
        count=one.count,
        low=number(one.min),
        high=number(one.max),
        first="" if one.first_ms is None else instant(one.first_ms),
        last="" if one.last_ms is None else instant(one.last_ms),
    )
    return told.rstrip()


def _findings(findings: Sequence[Finding], code: str, language: str) -> Iterator[str]:
    if not findings:
        yield _WORDS[f"nothing_{code}"][language == "en"]
        return
    yield _WORDS[code][language == "en"]
    yield from _some([_printable(f"  - {one.said(language)}") for one in findings], language)


def _some(lines: Sequence[str], language: str) -> Iterator[str]:
    yield from lines[:LINES_MAX]
    if len(lines) > LINES_MAX:
        yield _WORDS["more"][language == "en"].format(count=len(lines) - LINES_MAX)


def number(value: float | None) -> str:
    """A number to three decimals, rounded from its exact value, half to even."""
    return "–" if value is None else f"{value:.3f}"


def _posix(at_s: int) -> str:
    """A witness may state any time; beyond the year 9999 there is no way to write it."""
    return instant(at_s * 1000) if at_s * 1000 <= MAX_TIME_MS else str(at_s)


def _printable(text: str) -> str:
    """One line without what a terminal would obey, and not longer than anybody reads."""
    shown = text if len(text) <= LINE_MAX else text[: LINE_MAX - 1] + "…"
    return plain(shown)
