"""What a bundle lacks: numbers of streams, readings of series (docs/bundle.md §6, §7). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from wire.bundle.finding import FINDINGS_MAX, Finding, instant, lasting
from wire.bundle.series import Measured
from wire.bundle.stream import StreamName, Streams
from wire.bundle.subject import Subject, Window
from wire.bundle.text import plain
from wire.observation import INT64_MAX

Windows = Sequence[tuple[Window, Measured]]


def numbers(streams: Streams, windows: Windows) -> list[Finding]:
    """Numbers between packs with readings of one series at one stay: neither here nor declared, and those declared."""
    found: dict[tuple[StreamName, int, int], Finding] = {}
    told: dict[tuple[StreamName, int, int, str], Finding] = {}
    for name, spans in sorted(_spans(windows).items()):
        for span in spans:
            holes = list(streams.holes(name, *span))
            if not holes or len(found) > FINDINGS_MAX:
                continue
            for first, last in streams.missing(name, *span):
                what = f"{name[0]}/{name[1].hex()[:8]}"
                found[name, first, last] = Finding("numbers", what, {"first": first, "last": last})
            for one in streams.losses[name]:
                end = INT64_MAX if one.last_seq is None else one.last_seq
                if any(first <= end and one.first_seq <= last for first, last in holes[:FINDINGS_MAX]):
                    params: dict[str, str | int] = {"first": one.first_seq, "last": _or_open(one.last_seq)}
                    params |= {"kind": one.kind, "reason": plain(one.reason)}
                    key = (name, one.first_seq, end, one.kind)
                    told[key] = Finding("declared_lost", f"{name[0]}/{name[1].hex()[:8]}", params)
    return [*found.values(), *(told[key] for key in sorted(told))][:FINDINGS_MAX]


def _spans(windows: Windows) -> dict[StreamName, list[tuple[int, int]]]:
    """Per stream the runs of numbers that windows need, those that overlap made one."""
    spans: dict[StreamName, list[tuple[int, int]]] = {}
    for _, one in windows:
        for name, span in one.spans.items():
            spans.setdefault(name, []).append(span)
    return {name: _merged(some) for name, some in spans.items()}


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def readings(subject: Subject, windows: Windows) -> list[Finding]:
    """Series without readings, silences, and stays without a series."""
    return list(islice(_readings(subject, windows), FINDINGS_MAX))


def _readings(subject: Subject, windows: Windows) -> Iterator[Finding]:
    measured = {window.stay for window, _ in windows}
    for number, stay in enumerate(subject.stays):
        if stay.custody and number not in measured and stay.until_ms > stay.from_ms:
            yield Finding("no_series", f"{stay.name or stay.place}", {"place": stay.name or stay.place})
    for window, one in windows:
        series, stay = subject.series[window.series], subject.stays[window.stay]
        what = f"{series.gateway}/{series.channel}" + (f", {stay.name or stay.place}" if stay.place else "")
        if not one.count:
            span: dict[str, str | int] = {"begin": instant(window.from_ms), "end": instant(window.until_ms)}
            yield Finding("no_readings", what, span)
            continue
        if not series.log_interval_ms:
            yield Finding("no_interval", what)
        for begin, end in one.silences():
            told: dict[str, str | int] = {"begin": instant(begin), "end": instant(end), "lasted": lasting(end - begin)}
            yield Finding("silence", what, told)


def _or_open(last_seq: int | None) -> str | int:
    return "…" if last_seq is None else last_seq
