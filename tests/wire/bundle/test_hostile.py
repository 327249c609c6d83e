"""Bundles made up by somebody with a ledger of his own: whatever stands in them, a reader ends, tells or refuses."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.bundle import maker
from wire.bundle import anchor, form, subject, summary, tree
from wire.bundle.form import Broken
from wire.bundle.subject import Series, Stay
from wire.observation import INT64_MAX, MAX_TIME_MS
from wire.pack import Correction, Loss

words = st.text(max_size=8) | st.sampled_from(["\ud800", "\x1b[2J", "x" * 10_000, "\u202e", "{0}", "{kid.__class__}"])
numbers = st.integers(-(10**30), 10**30) | st.floats() | st.sampled_from([INT64_MAX, -INT64_MAX - 1, 10**400])
anything = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def made_up(book: maker.Book, body: bytes) -> bytes:
    """A bundle over a book with this subject record, without a summary that fits."""
    items = maker.items(book)
    leaves = sorted(one.leaf for one in items)
    records = [(form.SUMMARY, b""), (form.SUBJECT, body), (form.CHECKPOINT, book.checkpoint(maker.LOG))]
    records += [(form.VKEY, str(maker.LOG.verifier).encode()), (form.INDICES, anchor.encode_indices(leaves))]
    records.append((form.NODES, tree.make(book.root, leaves, len(book.items))))
    records += [(one.letter, form.with_leaf(one.leaf, one.payload)) for one in items]
    return maker.joined(records)


def judged(book: maker.Book, body: bytes | None = None) -> None:
    """Read it; where it can be read to its end, its summary is written, too."""
    report = maker.judged(made_up(book, subject.encode(maker.subject(2)) if body is None else body))
    assert not report.intact, "an empty summary is none"
    if report.content is not None:
        summary.write(report.content).decode()
        msgspec.json.encode([one.said("vi") for one in (*report.content.wrong, *report.content.missing)])


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def book_with_packs() -> maker.Book:
    book = maker.Book()
    gateway = maker.Gateway(book)
    gateway.admit()
    gateway.send([maker.reading(0), maker.reading(1)])
    book.record(form.EVENT, maker.event("urn:uuid:0"))
    return book


DOCUMENTS = {
    form.EVENT: msgspec.json.decode(maker.event("urn:uuid:1")),
    form.EVIDENCE: msgspec.json.decode(maker.evidence(2, count=2, low=-18.0, high=-18.0)),
    form.DECISION: msgspec.json.decode(maker.decision(b"")),
    form.REVOCATION: {"gateway": maker.GATEWAY, "kind": "key", "subject": "00" * 8, "from_seq": 1, "reason": ""},
}


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document something can be put."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, one in inside for path in paths(one, (*at, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = replaced(value[path[0]], path[1:], by)
    return copied


@given(st.data(), anything)
@settings(max_examples=300, deadline=None)
def test_documents_of_any_content_are_read_or_refused(data: st.DataObject, value: Any) -> None:
    letter = data.draw(st.sampled_from(sorted(DOCUMENTS)))
    document = DOCUMENTS[letter]
    path = data.draw(st.sampled_from(paths(document)))
    book = book_with_packs()
    book.record(letter, dumped(replaced(document, path, value)))
    judged(book)


@given(st.data(), anything | st.binary(max_size=20))
@settings(max_examples=300, deadline=None)
def test_subjects_of_any_content_are_read_or_refused(data: st.DataObject, value: Any) -> None:
    document = msgspec.msgpack.decode(subject.encode(maker.subject(2)))
    path = data.draw(st.sampled_from(paths(document)))
    try:
        body = msgspec.msgpack.encode(replaced(document, path, value))
    except (OverflowError, UnicodeEncodeError):
        return
    judged(book_with_packs(), body)


@given(st.binary(max_size=100))
def test_keys_of_any_content_are_read_or_refused(payload: bytes) -> None:
    book = book_with_packs()
    book.record(form.KEY, maker.GATEWAY.encode() + b"\x00" + payload)
    judged(book)


def test_a_key_that_is_no_point_of_the_curve_is_refused_or_signs_nothing() -> None:
    for raw in (b"\x00" * 32, b"\xff" * 32, b"\x01" + b"\x00" * 31):
        book = book_with_packs()
        book.record(form.KEY, maker.GATEWAY.encode() + b"\x00" + raw)
        judged(book)


@given(st.integers(0, MAX_TIME_MS), st.integers(-MAX_TIME_MS, MAX_TIME_MS))
def test_corrections_out_of_this_world_are_borne(at_ms: int, offset_ms: int) -> None:
    book = book_with_packs()
    gateway = maker.Gateway(book)
    gateway.prev, gateway.seq = b"x" * 32, 1
    told = Correction(maker.BOOT, 0, at_ms, offset_ms, 0, "ntp")
    lost = Loss(b"t" * 16, 1, None, None, "lost", "\x1b[2J")
    gateway.send([maker.reading(5)], corrections=[told], losses=[lost])
    judged(book)


def test_more_windows_than_anybody_measures_are_refused() -> None:
    about = maker.subject(2)
    stays = [Stay(maker.PLACE, "", "", True, at, at + 10, at + 10) for at in range(1_000)]
    series = [Series(maker.PLACE, maker.GATEWAY, f"room/p{at}", "", "", "CEL", 1, 0, None) for at in range(1_000)]
    with pytest.raises(Broken, match="more than"):
        subject.windows_of(msgspec.structs.replace(about, stays=stays, series=series))


def test_evidence_with_more_series_than_anybody_measures_is_refused() -> None:
    version = msgspec.json.decode(maker.evidence(2, count=2, low=-18.0, high=-18.0))
    version["stays"][0]["series"] *= 30_000
    book = book_with_packs()
    book.record(form.EVIDENCE, dumped(version))
    report = maker.judged(made_up(book, subject.encode(maker.subject(2))))
    assert report.bad is not None
    assert "more than" in report.bad.why


def test_a_thousand_lists_of_leaves_are_one_too_many() -> None:
    records = [(form.SUMMARY, b""), (form.SUBJECT, subject.encode(maker.subject(2)))]
    assert "where the verifier key must stand" in _why([*records, (form.CHECKPOINT, b"x"), (form.INDICES, b"")])
    many = [(form.VKEY, str(maker.LOG.verifier).encode())] * 101
    assert "more than 100 verifier keys" in _why([*records, (form.CHECKPOINT, b"x"), *many])
    assert "a second subject" in _why([*records, records[1]])


def _why(records: list[tuple[int, bytes]]) -> str:
    bad = maker.judged(maker.joined(records)).bad
    assert bad is not None
    return bad.why
