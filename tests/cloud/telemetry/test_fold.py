"""Whatever is folded when, and killed where: every reading is there once, as it was before."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Event
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, func, select, update

from cloud.db.engine import open_engine, sqlite_url, writing
from cloud.db.engine import reading as look
from cloud.db.tables import chunk, chunk_body, tail
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.telemetry import declared, fold, query
from cloud.telemetry.body import BodyDamaged
from cloud.telemetry.chunk import DAY_MS, ChunkKey
from cloud.telemetry.compactor import WAIT_MS, Compactor, compact, stale
from cloud.telemetry.waiting import waiting
from tests.cloud.field import BOOT, START_MS, Gateway, reading, scan
from wire.envelope import envelope_hash
from wire.observation import ClockState, Observation, Quality
from wire.pack import CarriedFrom, Correction, Loss, Pack

AIR, DOOR = "room-1/air", "room-1/door"
EVER = 2**62
OTHER_BOOT = b"o" * 16
RECEIVED_MS = START_MS + 5 * DAY_MS


def store(engine: Engine, gateway: Gateway, *packs: Pack, received_ms: int = RECEIVED_MS) -> None:
    arrivals = [Arrival(gateway.topic, gateway.seal(pack), received_ms) for pack in packs]
    assert record(engine, arrivals).accepted == len(packs)


def keys(engine: Engine) -> list[ChunkKey]:
    with look(engine) as conn:
        found = dict.fromkeys(one.key for one in waiting(conn, 0, 100_000))
        return list(dict.fromkeys([*found, *stale(conn)]))


def dumped(engine: Engine) -> list[list[tuple[Any, ...]]]:
    with look(engine) as conn:
        return [sorted(map(tuple, conn.execute(select(table)))) for table in (chunk, chunk_body, tail)]


def told(conn: Connection, gateway: Gateway) -> object:
    """All that anybody is told of readings."""
    windows = [(0, EVER), (START_MS, START_MS + DAY_MS), (START_MS + DAY_MS, START_MS + 3 * DAY_MS)]
    return (
        [query.readings(conn, gateway.name, channel, *window) for channel in (AIR, DOOR) for window in windows],
        query.list_series(conn),
        query.future_series(conn),
        query.count(conn),
        [declared.spans(conn, gateway.name, channel, 0, EVER) for channel in (AIR, DOOR)],
    )


HOUR = 3_600_000
rows = st.builds(
    lambda at, channel, mantissa, exponent, quality, boot, wrong: reading(
        at_s=at * 1800,
        channel=channel,
        mantissa=mantissa,
        exponent=exponent,
        quality=quality,
        boot=boot,
        wrong_ms=wrong,
        clock=ClockState.UNSYNCED if wrong else ClockState.SYNCED,
    ),
    st.integers(0, 150),
    st.sampled_from([AIR, AIR, DOOR]),
    st.one_of(st.none(), st.integers(-2500, 500)),
    st.sampled_from([-2, -2, -1]),
    st.sampled_from([Quality.OK, Quality.OK, Quality.STALE, Quality.TEST]),
    st.sampled_from([BOOT, BOOT, OTHER_BOOT]),
    st.sampled_from([0, 0, 9 * DAY_MS, -START_MS]),
)
mended = st.builds(
    lambda boot, begin, length, offset_ms: Correction(boot, begin * HOUR, (begin + length) * HOUR, offset_ms, 9, "ntp"),
    st.sampled_from([BOOT, OTHER_BOOT]),
    st.integers(0, 80),
    st.integers(0, 60),
    st.sampled_from([-9 * DAY_MS, START_MS, DAY_MS, 90_000, -HOUR]),
)
lost = st.builds(
    lambda stream, first, count: Loss(stream, first, first + count, None, "lost", "damage", [], None, None),
    st.just(Gateway("gw-kho-01").stream),
    st.integers(1, 2),
    st.integers(0, 1),
)
contents = st.tuples(st.lists(rows, min_size=1, max_size=6), st.lists(mended, max_size=2), st.lists(lost, max_size=1))


def packs_of(gateway: Gateway, drawn: list[Any], copied: list[tuple[int, int]]) -> list[Pack]:
    """Packs of one stream; copied: which pack carries rows of which other one over."""
    packs = [
        gateway.pack(
            seq,
            [*observed, *([scan("A", at_s=9)] if seq % 3 == 0 else [])],
            corrections=some,
            losses=losses if seq > 3 else [],
        )
        for seq, (observed, some, losses) in enumerate(drawn, start=1)
    ]
    for copy, original in copied:
        copy, original = copy % len(packs), original % len(packs)
        if copy <= original:
            continue
        known = packs[original]
        count = sum(len(block.values) for block in known.blocks)
        origin = CarriedFrom(known.stream, known.seq, envelope_hash(gateway.seal(known)), 0, count)
        packs[copy] = msgspec.structs.replace(packs[copy], blocks=known.blocks, carried_from=[origin])
    return packs


class _KilledError(Exception):
    pass


def examples(count: int) -> settings:
    """Of a property that takes half a second for each."""
    return settings(
        max_examples=count,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


some_packs = given(
    st.lists(contents, min_size=2, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=2),
    st.randoms(use_true_random=False),
)


@examples(5)
@some_packs
def test_folding_changes_nothing_anybody_is_told(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
):
    _fold_some(tmp_path, migrated_file, drawn, copied, random)


@pytest.mark.slow
@examples(100)
@some_packs
def test_folding_changes_nothing_at_length(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
):
    _fold_some(tmp_path, migrated_file, drawn, copied, random)


def _fold_some(
    tmp_path: Path, migrated_file: Path, drawn: list[Any], copied: list[tuple[int, int]], random: Random
) -> None:
    gateway = Gateway("gw-kho-01")
    packs = packs_of(gateway, drawn, copied)
    random.shuffle(packs)
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    plain, folded = (
        open_engine(sqlite_url(Path(shutil.copy(migrated_file, folder / name)))) for name in ("plain.db", "folded.db")
    )
    try:
        with mock.patch.object(fold, "FOLD_MAX", random.choice([2, 5, fold.FOLD_MAX])):
            _fold_at_random(gateway, packs, plain, folded, random)
    finally:
        plain.dispose()
        folded.dispose()


def _fold_at_random(gateway: Gateway, packs: list[Pack], plain: Engine, folded: Engine, random: Random) -> None:
    for engine in (plain, folded):
        with writing(engine) as conn:
            add_gateway(conn, gateway.public_half, START_MS)
    for pack in packs:
        store(plain, gateway, pack)
        store(folded, gateway, pack)
        waiting = keys(folded)
        for key in random.sample(waiting, random.randint(0, len(waiting))):
            if random.random() < 0.3:
                _killed(folded, key)
            else:
                assert fold.fold(folded, [key])[0] > 0
        with look(plain) as one, look(folded) as other:
            assert told(one, gateway) == told(other, gateway)
    for engine in (plain, folded):
        compact(engine, lambda _done, _of: None)
    assert dumped(plain) == dumped(folded)
    assert dumped(plain)[2] == []
    with look(plain) as one, look(folded) as other:
        assert told(one, gateway) == told(other, gateway)


def _killed(engine: Engine, key: ChunkKey) -> None:
    """Everything of a fold but its commit."""
    with look(engine) as conn:
        prepared, _ = fold._prepare(conn, [key], fold.FOLD_MAX)
    assert prepared
    with suppress(_KilledError), writing(engine) as conn:
        fold._store(conn, prepared)
        raise _KilledError


def minutes(first: int, count: int) -> list[Observation]:
    return [reading(at_s=60 * at, mantissa=at) for at in range(first, first + count)]


@pytest.mark.parametrize("meanwhile", ["a late pack", "a correction", "another folding"])
def test_what_changed_while_it_was_encoded_is_left_for_the_next_round(engine: Engine, gateway: Gateway, meanwhile: str):
    store(engine, gateway, gateway.pack(1, minutes(0, 5)))
    (key,) = keys(engine)
    assert fold.fold(engine, [key]) == (1, [])
    store(engine, gateway, gateway.pack(2, minutes(5, 5)))
    with look(engine) as conn:
        prepared, _ = fold._prepare(conn, [key], fold.FOLD_MAX)
    assert prepared
    match meanwhile:
        case "a late pack":
            store(engine, gateway, gateway.pack(3, minutes(10, 5)))
        case "a correction":
            store(engine, gateway, gateway.pack(3, corrections=[Correction(BOOT, 0, DAY_MS, 5, 1, "ntp")]))
        case _:
            assert fold.fold(engine, [key]) == (1, [])
    if meanwhile == "a late pack":
        with writing(engine) as conn:
            fold._store(conn, prepared)
    else:
        with pytest.raises(fold._Changed), writing(engine) as conn:
            fold._store(conn, prepared)
    with look(engine) as conn:
        expected = 15 if meanwhile == "a late pack" else 10
        assert [row.mantissa for row in query.readings(conn, gateway.name, AIR, 0, EVER)] == list(range(expected))


def test_one_transaction_folds_no_more_than_its_share(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fold, "FOLD_MAX", 4)
    store(engine, gateway, *(gateway.pack(seq, minutes(seq, 1)) for seq in range(1, 11)))
    (key,) = keys(engine)
    assert [fold.fold(engine, [key]) for _ in range(3)] == [(4, [key]), (4, [key]), (2, [])]
    with look(engine) as conn:
        assert conn.execute(select(chunk.c.count, func.length(chunk.c.hours))).one() == (10, None)
        assert len(query.readings(conn, gateway.name, AIR, 0, EVER)) == 10


def test_what_one_transaction_has_no_room_for_is_left_whole_and_in_order(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """Four channels with three rows each: one pack of all four fits."""
    monkeypatch.setattr(fold, "FOLD_MAX", 4)
    channels = [f"room-1/{name}" for name in "abcd"]
    for seq in range(1, 4):
        store(engine, gateway, gateway.pack(seq, [reading(at_s=seq, channel=channel) for channel in channels]))
    all_of_them = keys(engine)
    for left in ([2, 3], [3], []):
        assert fold.fold(engine, all_of_them) == (4, all_of_them)
        with look(engine) as conn:
            assert conn.scalars(select(tail.c.pack_id).distinct().order_by(tail.c.pack_id)).all() == left
    assert fold.fold(engine, all_of_them) == (0, [])
    with look(engine) as conn:
        for channel in channels:
            assert len(query.readings(conn, gateway.name, channel, 0, EVER)) == 3


def test_rows_of_a_pack_go_by_runs_and_what_lies_between_stays():
    rows = [(1, 0, 5), (1, 5, 2), (1, 9, 1), (2, 10, 3), (2, 13, 1), (3, 14, 1)]
    assert fold._runs(rows) == [(1, 0, 5), (1, 9, 9), (2, 10, 13), (3, 14, 14)]


def test_one_transaction_writes_few_chunks_however_little_they_hold(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fold, "CHUNKS_MAX", 8)
    store(engine, gateway, *(gateway.pack(day, [reading(at_s=86_400 * day)]) for day in range(1, 13)))
    each = keys(engine)
    assert fold.fold(engine, each[::-1]) == (8, each[8:])
    assert fold.fold(engine, each[8:]) == (4, [])


def test_more_rows_than_a_chunk_may_hold_stay_in_the_tail(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fold, "ROWS_MAX", 6)
    store(engine, gateway, gateway.pack(1, minutes(0, 5)))
    compact(engine, lambda _done, _of: None)
    told_later = Correction(BOOT, 0, DAY_MS, 5, 1, "ntp")
    store(engine, gateway, gateway.pack(2, minutes(5, 5), corrections=[told_later]))
    compact(engine, lambda _done, _of: None)
    with look(engine) as conn:
        assert conn.scalar(select(func.sum(tail.c.count))) == 5
        assert stale(conn) == []
        assert [row.mantissa for row in query.readings(conn, gateway.name, AIR, 0, EVER)] == list(range(10))


def test_a_full_chunk_beside_others_keeps_none_of_them_in_the_tail(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """Its rows are looked at, and left: the room they would have taken must not be given to rows taken already."""
    monkeypatch.setattr(fold, "ROWS_MAX", 6)
    monkeypatch.setattr(fold, "FOLD_MAX", 6)
    full = [[reading(at_s=60 * minute + at, channel="room-1/b") for at in range(5)] for minute in range(2)]
    others = [[reading(at_s=600 + at, channel="room-1/c")] for at in range(5)]
    before = [reading(at_s=5, channel="room-1/a", boot=bytes(16))]
    contents = enumerate([before, *full, *others], start=1)
    store(engine, gateway, *(gateway.pack(seq, observed) for seq, observed in contents))
    assert compact(engine, lambda _done, _of: None) == 6
    with look(engine) as conn:
        assert conn.scalars(select(tail.c.pack_id).order_by(tail.c.pack_id)).all() == [2, 3], "the full ones"


def test_what_is_rare_is_found_by_indexes_of_its_own(engine: Engine):
    """Asked every few seconds, of tables of millions."""
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    with look(engine) as conn:
        if conn.dialect.name != "sqlite":
            return
        stale(conn)
        query.future_series(conn)
        plans = [conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}") for one in list(seen) if one.startswith("SELECT")]
        told = {name for plan in plans for row in plan for name in row[3].split() if name.startswith("ix_")}
    assert told >= {"ix_chunk_stale", "ix_chunk_future", "ix_tail_future"}


def test_a_correction_marks_a_whole_boot_in_one_statement_and_is_seen_at_once(engine: Engine, gateway: Gateway):
    days = [reading(at_s=86_400 * day + 60 * at, mantissa=day) for day in range(3) for at in range(40)]
    store(engine, gateway, gateway.pack(1, days))
    store(engine, gateway, gateway.pack(2, [reading(at_s=86_400, mantissa=-7)]))
    compact(engine, lambda _done, _of: None)
    before = dumped(engine)
    store(engine, gateway, gateway.pack(3, corrections=[Correction(BOOT, 0, 9 * DAY_MS, 10 * DAY_MS, 1, "ntp")]))
    with look(engine) as conn:
        assert len(stale(conn)) == conn.scalar(select(func.count()).select_from(chunk))
        moved = query.readings(conn, gateway.name, AIR, START_MS + 10 * DAY_MS, EVER)
        assert len(moved) == len(days) + 1
        assert query.readings(conn, gateway.name, AIR, 0, START_MS + 10 * DAY_MS) == []
        (span,) = query.list_series(conn)
        assert span.first_ms == START_MS + 10 * DAY_MS
        (future,) = query.future_series(conn)
        assert future.count == len(days) + 1
    compact(engine, lambda _done, _of: None)
    assert [one[1] for one in (before, dumped(engine))] == [before[1]] * 2, "bodies know believed times only"
    with look(engine) as conn:
        assert stale(conn) == []


@pytest.fixture
def compactor(engine: Engine) -> tuple[Compactor, list[int]]:
    now = [START_MS]
    return Compactor(engine, lambda: now[0]), now


def test_a_day_is_folded_once_it_is_over_and_whole_and_else_a_day_later(
    engine: Engine, gateway: Gateway, compactor: tuple[Compactor, list[int]]
):
    chore, now = compactor
    now[0] = START_MS
    today = [reading(at_s=60 * at) for at in range(3)]
    store(engine, gateway, gateway.pack(1, today), received_ms=START_MS)
    store(engine, gateway, gateway.pack(3, [reading(at_s=86_460)]), received_ms=START_MS)
    assert chore.run_once(Event()) == 0, "pack 2 is missing"
    store(engine, gateway, gateway.pack(2, [reading(at_s=300)]), received_ms=START_MS)
    assert chore.run_once(Event()) == 2, "the first day is whole, the second goes on"
    now[0] = START_MS + WAIT_MS
    assert chore.run_once(Event()) == 1
    store(engine, gateway, gateway.pack(4, corrections=[Correction(BOOT, 0, DAY_MS, 5, 1, "ntp")]))
    assert chore.run_once(Event()) == 1, "the chunk that it covers is described anew"
    assert chore.run_once(Event()) == 0


def test_a_damaged_chunk_is_told_once_and_stops_nothing_else(
    engine: Engine, gateway: Gateway, compactor: tuple[Compactor, list[int]], caplog: pytest.LogCaptureFixture
):
    chore, now = compactor
    now[0] = START_MS + 9 * DAY_MS
    store(engine, gateway, gateway.pack(1, minutes(0, 5)), received_ms=START_MS)
    compact(engine, lambda _done, _of: None)
    with writing(engine) as conn:
        conn.execute(update(chunk_body).values(body=b"damaged"))
    others = [*minutes(5, 5), reading(at_s=3, channel=DOOR)]
    store(engine, gateway, gateway.pack(2, others), received_ms=START_MS)
    assert [chore.run_once(Event()) for _ in range(2)] == [1, 0]
    assert [record.getMessage() for record in caplog.records if "rebuild" in record.getMessage()][1:] == []
    with look(engine) as conn, pytest.raises(BodyDamaged, match="cloud rebuild"):
        query.readings(conn, gateway.name, AIR, 0, EVER)


def test_a_stop_ends_a_long_round(engine: Engine, gateway: Gateway, compactor: tuple[Compactor, list[int]]):
    chore, now = compactor
    now[0] = START_MS + 9 * DAY_MS
    store(engine, gateway, gateway.pack(1))
    stop = Event()
    stop.set()
    assert chore.run_once(stop) == 0


def test_a_killed_compactor_loses_and_doubles_nothing(tmp_path: Path, engine: Engine, gateway: Gateway):
    """SIGKILL in the midst of real work, again and again: every reading is there once, and in the end all is folded."""
    many = [gateway.pack(seq, [reading(at_s=600 * seq + at, mantissa=at) for at in range(5)]) for seq in range(1, 401)]
    store(engine, gateway, *many, received_ms=START_MS)
    with look(engine) as conn:
        expected = query.readings(conn, gateway.name, AIR, 0, EVER)
    engine.dispose()
    kills = 0
    while kills < 3:
        work = subprocess.Popen([sys.executable, "-c", _COMPACT, str(engine.url)], stdout=subprocess.PIPE)
        assert work.stdout is not None
        work.stdout.readline()  # it has begun
        try:
            assert work.wait(timeout=0.05 * kills) == 0
            break
        except subprocess.TimeoutExpired:
            work.kill()
            work.wait()
            kills += 1
        finally:
            work.stdout.close()
        with look(engine) as conn:
            assert query.readings(conn, gateway.name, AIR, 0, EVER) == expected
            assert query.count(conn) == len(expected)
    assert kills > 0
    compact(engine, lambda _done, _of: None)
    with look(engine) as conn:
        assert query.readings(conn, gateway.name, AIR, 0, EVER) == expected
        assert conn.scalar(select(func.count()).select_from(tail)) == 0


_COMPACT = """
import sys
from cloud.db.engine import open_engine
from cloud.telemetry import fold
from cloud.telemetry.compactor import compact
fold.FOLD_MAX = 5
print("go", flush=True)
compact(open_engine(sys.argv[1]), lambda done, of: None)
"""
