"""The quarantine: raw, with reason, counted, and never larger than its bounds."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from sqlalchemy import Engine

from cloud.db.engine import open_engine, reading, writing
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


def test_whatever_may_have_been_a_pack_is_kept_whole(engine: Engine):
    (entry,) = _keep(engine, _refused(b"x" * quarantine.RAW_MAX_BYTES))
    assert len(entry.raw) == quarantine.RAW_MAX_BYTES
    assert entry.whole
    assert entry.detail == "detail"


def test_oversized_message_is_cut_and_says_so(engine: Engine):
    size = quarantine.RAW_MAX_BYTES + 1
    entries = _keep(engine, _refused(b"x" * size), _refused(b"x" * size), _refused(b"x" * (size - 1) + b"y"))
    assert [(one.raw, one.times) for one in entries] == [(b"x" * quarantine.HEAD_BYTES, times) for times in (1, 2)]
    for entry in entries:
        assert entry.detail == f"detail (kept: the first {quarantine.HEAD_BYTES} of {size} bytes)"
        assert not entry.whole


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


@pytest.mark.parametrize("bound", ["ROWS_MAX", "TOTAL_MAX_BYTES"])
def test_bounds_hold_whoever_else_writes_and_whatever_is_taken_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, bound: str
):
    """How much is held is seldom added up anew; a model that does so each time agrees at every step."""
    monkeypatch.setattr(quarantine, bound, BOUND)
    rng = random.Random(bound)
    other = open_engine(engine.url.render_as_string(hide_password=False))
    deeds = ["keep", "keep", "another keeps", "roll back", "release some", "release the newest"]
    for turn in range(150):
        held = _held(engine)
        flood = [_refused(rng.randbytes(rng.randrange(1, 4))) for _ in range(rng.randrange(1, 9))]
        deed = rng.choice(deeds)
        if deed == "roll back":
            with suppress(ZeroDivisionError), writing(engine) as conn:
                quarantine.keep(conn, flood)
                raise ZeroDivisionError
        elif deed.startswith("release"):
            some = [row_id for row_id, _ in held if rng.random() < 0.3] if deed == "release some" else _ids(held[-2:])
            held = [one for one in held if one[0] not in some]
            with writing(rng.choice([engine, other])) as conn:
                quarantine.release(conn, some)
        else:
            with reading(engine) as conn:
                counts = any(not one.topic for one in quarantine.headings(conn, 2 * BOUND))
            with writing(other if deed == "another keeps" else engine) as conn:
                quarantine.keep(conn, flood)
            assert _raws(_held(engine)) == _kept(_raws(held), counts, flood, bound), f"turn {turn}: {deed}"
            continue
        assert _held(engine) == held, f"turn {turn}: {deed}"
    other.dispose()


BOUND = 60
_Held = list[tuple[int, bytes]]


def _held(engine: Engine) -> _Held:
    """The messages that are kept, by id."""
    with reading(engine) as conn:
        return [(one.id, one.raw) for one in quarantine.entries(conn, quarantine.ids(conn))]


def _ids(held: _Held) -> list[int]:
    return [row_id for row_id, _ in held]


def _raws(held: _Held) -> list[bytes]:
    return [raw for _, raw in held]


def _kept(before: list[bytes], counts: bool, flood: list[Refused], bound: str) -> list[bytes]:
    """What must be kept after a flood of one reason. counts: whether its counter has a row already."""
    kept = list(before)
    for one in flood:
        rows, size_bytes = len(kept) + counts, sum(map(len, kept))
        full = rows >= BOUND if bound == "ROWS_MAX" else size_bytes + len(one.raw) > BOUND
        if one.raw not in kept and full:
            counts = True
        elif one.raw not in kept:
            kept.append(one.raw)
    return kept
