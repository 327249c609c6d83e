"""What a bundle says it is about: a lot with its stays and sensors, or gateways over a period (docs/bundle.md §3).

This is the word of the cloud that made the bundle. Nothing in the ledger holds it; what is proven is judged by it.
"""

from __future__ import annotations

import msgspec

from wire.bundle.form import Broken
from wire.bundle.text import is_plain
from wire.observation import INT64_MAX, MAX_TIME_MS, is_channel
from wire.topics import is_gateway_name

TEXT_MAX = 500  # characters of a name
GATEWAYS_MAX = 1_000
STAYS_MAX = 1_000
SERIES_MAX = 10_000
WINDOWS_MAX = 20_000  # a series at a stay: what a reader measures


class Stay(msgspec.Struct, frozen=True, array_like=True):
    """The lot at a place for [from_ms, to_ms), None: still there. until_ms: where evidence ended when this was made.

    custody: whether evidence is asked for there.
    """

    place: str
    name: str
    name_en: str
    custody: bool
    from_ms: int
    to_ms: int | None
    until_ms: int


class Series(msgspec.Struct, frozen=True, array_like=True):
    """A measuring point bound to a place for [valid_from_ms, valid_to_ms), None: until further notice.

    unit: what its readings are told in. log_interval_ms: how often it is read, 0: not known.
    """

    place: str
    gateway: str
    channel: str
    measurement: str
    sensor: str
    unit: str
    log_interval_ms: int
    valid_from_ms: int
    valid_to_ms: int | None


class Subject(msgspec.Struct, frozen=True, array_like=True):
    """gtin and lot are empty for a period; [from_ms, to_ms) is then what was asked for, and the only stay."""

    gtin: str
    lot: str
    product: str
    product_en: str
    from_ms: int
    to_ms: int
    gateways: list[str]
    stays: list[Stay]
    series: list[Series]

    @property
    def is_lot(self) -> bool:
        """Whether it is about a lot."""
        return bool(self.gtin)


class Window(msgspec.Struct, frozen=True):
    """A series at a stay: readings in [from_ms, until_ms). stay, series: places in the subject's lists."""

    stay: int
    series: int
    from_ms: int
    until_ms: int


def encode(subject: Subject) -> bytes:
    """The body of the subject's record. Raises Broken for what no reader would take."""
    _check(subject, "subject")
    return msgspec.msgpack.encode(subject)


def decode(body: bytes, where: str) -> Subject:
    """Read the body of the subject's record. Raises Broken."""
    try:
        subject = msgspec.msgpack.decode(body, type=Subject)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(where, f"cannot be read: {error}") from error
    _check(subject, where)
    if msgspec.msgpack.encode(subject) != body:
        raise Broken(where, "is not written in the one form it must have")
    return subject


def windows_of(subject: Subject) -> list[Window]:
    """Every series at every stay it was bound for, in order. Raises Broken for more than WINDOWS_MAX."""
    by_place: dict[str, list[int]] = {}
    for at, one in enumerate(subject.series):
        by_place.setdefault(one.place, []).append(at)
    found: list[Window] = []
    for number, stay in enumerate(subject.stays):
        for at in by_place.get(stay.place, ()):
            window = cut(subject.series[at], stay.from_ms, stay.until_ms)
            if window is not None:
                found.append(Window(number, at, *window))
        if len(found) > WINDOWS_MAX:
            raise Broken("subject", f"more than {WINDOWS_MAX} series at stays")
    return found


def cut(series: Series, from_ms: int, until_ms: int) -> tuple[int, int] | None:
    """The part of [from_ms, until_ms) in which a series was bound, None when it was not."""
    begin = max(from_ms, series.valid_from_ms)
    end = until_ms if series.valid_to_ms is None else min(until_ms, series.valid_to_ms)
    return (begin, end) if begin < end else None


def _check(subject: Subject, where: str) -> None:
    texts = [subject.gtin, subject.lot, subject.product, subject.product_en]
    texts += [text for one in subject.stays for text in (one.place, one.name, one.name_en)]
    texts += [text for one in subject.series for text in (one.place, one.measurement, one.sensor, one.unit)]
    _require(all(len(text) <= TEXT_MAX and is_plain(text) for text in texts), where, "a text no name can have")
    _require(bool(subject.gtin) == bool(subject.lot), where, "a GTIN without a lot number, or the other way round")
    _require(len(subject.gateways) <= GATEWAYS_MAX, where, f"more than {GATEWAYS_MAX} gateways")
    _require(len(subject.stays) <= STAYS_MAX, where, f"more than {STAYS_MAX} stays")
    _require(len(subject.series) <= SERIES_MAX, where, f"more than {SERIES_MAX} series")
    _require(subject.gateways == sorted(set(subject.gateways)), where, "its gateways are not in order, each once")
    _require(all(map(is_gateway_name, subject.gateways)), where, "what is no gateway's name")
    spans = [(subject.from_ms, subject.to_ms)]
    for stay in subject.stays:
        spans += [(stay.from_ms, stay.until_ms), (stay.from_ms, stay.from_ms if stay.to_ms is None else stay.to_ms)]
    for one in subject.series:
        _require(is_gateway_name(one.gateway) and is_channel(one.channel), where, "a series of no gateway's channel")
        _require(0 <= one.log_interval_ms <= MAX_TIME_MS, where, "a log interval that cannot be")
        for at_ms in (one.valid_from_ms, one.valid_to_ms or 0):
            _require(abs(at_ms) <= INT64_MAX, where, "a time that cannot be")
    ordered = all(0 <= begin <= end <= MAX_TIME_MS for begin, end in spans)
    _require(ordered, where, "a stay or period that ends before it begins")


def _require(claim: bool, where: str, why: str) -> None:
    if not claim:
        raise Broken(where, f"says {why}")
