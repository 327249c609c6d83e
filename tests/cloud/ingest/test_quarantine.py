"""The quarantine: raw, with reason, counted, and never larger than its bounds."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.ingest import quarantine
from cloud.ingest.quarantine import Refused


def _keep(engine: Engine, *refused: Refused) -> list[quarantine.Entry]:
    with writing(engine) as conn:
        quarantine.keep(conn, refused)
    with reading(engine) as conn:
        found = [quarantine.entry(conn, one.id) for one in quarantine.headings(conn)]
    return [one for one in found if one is not None]


def _refused(raw: bytes, topic: str = "t", reason: str = "malformed") -> Refused:
    return Refused(topic, raw, reason, "detail", 1)


def test_same_bytes_on_the_same_topic_are_counted(engine: Engine):
    entries = _keep(engine, _refused(b"a"), _refused(b"a"), _refused(b"a", topic="u"))
    assert [(one.topic, one.times) for one in entries] == [("u", 1), ("t", 2)]


def test_oversized_message_is_cut_and_says_so(engine: Engine):
    (entry,) = _keep(engine, _refused(b"x" * (quarantine.RAW_MAX_BYTES + 10)))
    assert len(entry.raw) == quarantine.RAW_MAX_BYTES
    assert f"of {quarantine.RAW_MAX_BYTES + 10} bytes" in entry.detail


def test_long_topic_and_detail_are_cut(engine: Engine):
    (entry,) = _keep(engine, Refused("t" * 60_000, b"", "foreign_topic", "d" * 60_000, 1))
    assert (len(entry.topic), len(entry.detail)) == (quarantine.TOPIC_MAX, quarantine.DETAIL_MAX)


@pytest.mark.parametrize(("bound", "value"), [("ROWS_MAX", 3), ("TOTAL_MAX_BYTES", 3)])
def test_full_quarantine_keeps_the_oldest_and_counts_the_rest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
):
    monkeypatch.setattr(quarantine, bound, value)
    flood = [_refused(bytes([at])) for at in range(10)]
    _keep(engine, *flood[:5])
    entries = _keep(engine, *flood[5:], _refused(b"z", reason="too_large"), flood[0])
    assert [(one.raw, one.times) for one in entries if one.topic] == [(b"\x02", 1), (b"\x01", 1), (b"\x00", 2)]
    assert {one.reason: one.times for one in entries if not one.topic} == {"malformed": 7, "too_large": 1}
    with reading(engine) as conn:
        assert quarantine.total(conn) == 12


def test_entry_is_found_by_id(engine: Engine):
    (kept,) = _keep(engine, _refused(b"a"))
    with reading(engine) as conn:
        assert quarantine.entry(conn, kept.id) == kept
        assert quarantine.entry(conn, kept.id + 1) is None
