"""Envelopes and last values are what adding up every reading by hand gives, over tail, chunks and late data."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from cloud.db.engine import open_engine, sqlite_url, writing
from cloud.db.engine import reading as look
from cloud.db.tables import chunk
from cloud.registry.keys import add_gateway
from cloud.telemetry import envelope, fold, query
from cloud.telemetry.compactor import compact
from cloud.telemetry.envelope import BUCKETS_MAX, SHORT_MS, Envelope, grid
from cloud.telemetry.query import ReadingRow
from cloud.telemetry.rollup import HOUR_MS, Bucket
from tests.cloud.field import BOOT, START_MS, Gateway, reading
from tests.cloud.telemetry.test_fold import AIR, DAY_MS, DOOR, EVER, examples, keys, packs_of, some_packs, store
from wire.observation import INT64_MAX, ClockState, Quality
from wire.pack import Correction

WINDOWS = [
    (START_MS, START_MS + 3 * DAY_MS, 10),
    (START_MS + 1, START_MS + 5 * HOUR_MS, 7),
    (START_MS - 9 * DAY_MS, START_MS + 20 * DAY_MS, 500),
    (START_MS + DAY_MS, START_MS + DAY_MS + 7_000, 3),
    (0, START_MS + 400 * DAY_MS, 100),
]


def by_hand(rows: Iterable[ReadingRow], asked: tuple[int, int, int]) -> dict[tuple[str, int], list[ReadingRow]]:
    start, end, width_ms = grid(*asked)
    found: dict[tuple[str, int], list[ReadingRow]] = {}
    for row in rows:
        if start <= row.observed_ms < end:
            found.setdefault((row.unit, row.observed_ms // width_ms * width_ms), []).append(row)
    return found


def check(answer: list[Envelope], rows: Iterable[ReadingRow], asked: tuple[int, int, int]) -> None:
    expected = by_hand(rows, asked)
    seen = {(one.unit, bucket.from_ms): bucket for one in answer for bucket in one.buckets}
    assert seen.keys() == expected.keys()
    for name, rows_in in expected.items():
        numbers = [row.value for row in rows_in if row.value is not None and row.quality is Quality.OK]
        bucket = seen[name]
        assert (bucket.count, bucket.others) == (len(numbers), len(rows_in) - len(numbers))
        if not numbers:
            assert bucket.min is bucket.max is bucket.sum is None
            continue
        scaled = [Decimal(of or 0).scaleb(bucket.exponent) for of in (bucket.min, bucket.max, bucket.sum)]
        assert scaled == [min(numbers), max(numbers), sum(numbers)]
    for one in answer:
        assert (one.from_ms, one.to_ms, one.width_ms) == grid(*asked)
        assert [bucket.from_ms for bucket in one.buckets] == sorted(bucket.from_ms for bucket in one.buckets)


def check_all(engine: Engine, gateway: Gateway) -> None:
    with look(engine) as conn:
        for channel in (AIR, DOOR):
            rows = query.readings(conn, gateway.name, channel, -EVER, EVER)
            for asked in WINDOWS:
                answer = envelope.envelope(conn, gateway.name, channel, *asked[:2], buckets=asked[2])
                check(answer, rows, asked)
            known = [row for row in rows if not row.from_future]
            last = envelope.last(conn, gateway.name, channel)
            assert (last is None) == (not known)
            if last is not None:
                assert last.observed_ms == max(row.observed_ms for row in known)


@examples(4)
@some_packs
def test_every_bucket_is_what_its_readings_add_up_to(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
):
    _add_up_some(tmp_path, migrated_file, drawn, copied, random)


@pytest.mark.slow
@examples(100)
@some_packs
def test_every_bucket_is_what_it_adds_up_to_at_length(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
):
    _add_up_some(tmp_path, migrated_file, drawn, copied, random)


def _add_up_some(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
) -> None:
    gateway = Gateway("gw-kho-01")
    engine = open_engine(sqlite_url(Path(shutil.copy(migrated_file, Path(tempfile.mkdtemp(dir=tmp_path)) / "c.db"))))
    packs = packs_of(gateway, drawn, copied)
    dense = [reading(at_s=60 * at, mantissa=at % 97 - 40, exponent=-2) for at in range(300)]
    packs.append(gateway.pack(len(packs) + 1, dense))
    random.shuffle(packs)
    try:
        with writing(engine) as conn:
            add_gateway(conn, gateway.public_half, START_MS)
        for pack in packs:
            store(engine, gateway, pack)
            waiting = keys(engine)
            for key in random.sample(waiting, random.randint(0, len(waiting))):
                fold.fold(engine, [key])
            check_all(engine, gateway)
        compact(engine, lambda _done, _of: None)
        check_all(engine, gateway)
    finally:
        engine.dispose()


@pytest.mark.parametrize("mantissas", [[1, -7], [INT64_MAX, 2]], ids=["small", "beyond 64 bits"])
def test_several_exponents_in_one_chunk_are_added_up(engine: Engine, gateway: Gateway, mantissas: list[int]):
    rows = [reading(at_s=60 * at, mantissa=mantissas[at % 2], exponent=-2 - at % 3) for at in range(600)]
    store(engine, gateway, gateway.pack(1, [*rows, reading(at_s=7, mantissa=None, exponent=-9)]))
    for _ in range(2):
        check_all(engine, gateway)
        compact(engine, lambda _done, _of: None)


def fill(engine: Engine, gateway: Gateway, seq: int = 1, **of: Any) -> None:
    store(engine, gateway, gateway.pack(seq, [reading(at_s=60 * at, mantissa=at, **of) for at in range(600)]))
    compact(engine, lambda _done, _of: None)


def hours(engine: Engine) -> list[int | None]:
    with look(engine) as conn:
        return list(conn.scalars(select(func.length(chunk.c.hours))))


def test_hours_are_used_and_follow_a_correction(engine: Engine, gateway: Gateway):
    fill(engine, gateway)
    assert hours(engine) == [11 * 37], "ten hours that begin at 8:53"
    store(engine, gateway, gateway.pack(2, corrections=[Correction(BOOT, 0, DAY_MS, 90_000, 1, "ntp")]))
    assert hours(engine) == [None]
    check_all(engine, gateway)
    compact(engine, lambda _done, _of: None)
    assert hours(engine) == [11 * 37]
    check_all(engine, gateway)


def test_an_envelope_by_hours_reads_no_bodies(engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch):
    fill(engine, gateway)
    monkeypatch.setattr(envelope, "decode", None)
    with look(engine) as conn:
        (one,) = envelope.envelope(conn, gateway.name, AIR, START_MS, START_MS + DAY_MS, buckets=24)
    assert sum(bucket.count for bucket in one.buckets) == 600


@pytest.mark.parametrize("mantissa", [INT64_MAX, -INT64_MAX])
def test_sums_beyond_64_bits_are_exact(engine: Engine, gateway: Gateway, mantissa: int):
    rows = [reading(at_s=at, mantissa=mantissa) for at in range(60)]
    store(engine, gateway, gateway.pack(1, rows))
    compact(engine, lambda _done, _of: None)
    assert hours(engine) == [None]
    with look(engine) as conn:
        (one,) = envelope.envelope(conn, gateway.name, AIR, START_MS, START_MS + DAY_MS, buckets=24)
    assert one.buckets == [Bucket(START_MS // HOUR_MS * HOUR_MS, 60, 0, -2, mantissa, mantissa, 60 * mantissa)]


def test_each_unit_has_an_envelope_of_its_own(engine: Engine, gateway: Gateway):
    store(engine, gateway, gateway.pack(1, [reading(at_s=1), reading(at_s=2, unit="FAH")]))
    with look(engine) as conn:
        found = envelope.envelope(conn, gateway.name, AIR, START_MS, START_MS + DAY_MS, buckets=24)
        assert [one.unit for one in found] == ["CEL", "FAH"]
        assert envelope.envelope(conn, gateway.name, "no/thing", START_MS, START_MS + DAY_MS, buckets=24) == []


def test_the_last_reading_is_not_one_from_the_future(engine: Engine, gateway: Gateway):
    wrong = reading(at_s=90, mantissa=9, wrong_ms=400 * DAY_MS, clock=ClockState.UNSYNCED)
    store(engine, gateway, gateway.pack(1, [reading(at_s=60, mantissa=7), wrong]))
    for _ in range(2):
        with look(engine) as conn:
            found = envelope.last(conn, gateway.name, AIR)
            assert found is not None
            assert found.mantissa == 7
            assert envelope.last(conn, gateway.name, "no/thing") is None
        compact(engine, lambda _done, _of: None)


@given(st.integers(0, 2**43), st.integers(1, 2**38), st.integers(1, BUCKETS_MAX))
def test_the_grid_holds_what_was_asked_for_and_stands_still(from_ms: int, length_ms: int, buckets: int):
    start, end, width_ms = grid(from_ms, from_ms + length_ms, buckets)
    assert start <= from_ms < from_ms + length_ms <= end
    assert start % width_ms == end % width_ms == 0
    assert (end - start) // width_ms <= buckets + 1
    assert width_ms % HOUR_MS == 0 or width_ms in SHORT_MS
    assert all(HOUR_MS % one == 0 for one in SHORT_MS)
