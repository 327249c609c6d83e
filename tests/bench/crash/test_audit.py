"""The audit of a harmed record: what fsck knows is said in fsck's words, what it can't know beside it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from bench.crash.audit import Found, audit
from bench.crash.life import START_MS
from bench.crash.post import READINGS, SCANS, Post, admit, post
from bench.fsck import SHOWN
from cloud.db.engine import migrate, open_engine, sqlite_file, sqlite_url, writing
from cloud.ingest.record import Arrival, record
from cloud.keys import load_or_create
from cloud.ledger import checkpoint

PACKS = 20
SHOWN_WRONG = "readings and scans are not those of the packs"


@pytest.fixture
def posted() -> Post:
    return post(random.Random(3), PACKS)


@pytest.fixture
def engine(tmp_path: Path, posted: Post) -> Iterator[Engine]:
    """A record that has taken in a post, with conflicts and refusals, and has signed its root."""
    load_or_create(tmp_path / "keys")
    opened = open_engine(sqlite_url(tmp_path / "cloud.db"))
    migrate(opened)
    with writing(opened) as conn:
        admit(conn, posted.gateways, START_MS)
    record(opened, [Arrival(one.topic, one.payload, START_MS) for one in posted.letters])
    with writing(opened) as conn:
        checkpoint.sign(conn, tmp_path / "keys", origin="cold.example/ledger", now_ms=START_MS)
    yield opened
    opened.dispose()


def harmed(engine: Engine, *statements: str) -> Found:
    with writing(engine) as conn:
        for statement in statements:
            assert conn.exec_driver_sql(statement).rowcount != 0
    return audit(engine)


def test_sound_record_has_no_problem(engine: Engine, posted: Post) -> None:
    found = audit(engine)
    assert found == Found(posted.sealed, lost=0, doubled=0, problems=[])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("UPDATE pack SET sealed_ms = sealed_ms + 1 WHERE seq = 3", "fsck: pack gw-"),
        ("UPDATE leaf SET hash = zeroblob(32) WHERE leaf_index = 5", "fsck: leaf 5 (pack "),
        ("DELETE FROM leaf WHERE leaf_index = 5", "fsck: leaf 5: expected a leaf (it recorded pack "),
        ("UPDATE checkpoint SET root = zeroblob(32)", "fsck: checkpoint of "),
        ("UPDATE settled SET last_seq = last_seq + 1", "fsck: settled numbers of stream "),
    ],
)
def test_what_fsck_knows_is_in_its_words(engine: Engine, harm: str, said: str) -> None:
    found = harmed(engine, harm)
    assert found.problems[0].startswith(said)
    assert all(one.startswith("fsck: ") for one in found.problems), "nothing is said twice"
    assert (found.lost, found.doubled) == (0, 0)


def test_bytes_that_are_no_pack_are_named_and_not_counted(engine: Engine) -> None:
    found = harmed(engine, "UPDATE pack SET envelope = x'00' WHERE leaf_index = 5")
    assert found.problems[0].startswith("fsck: pack gw-")
    assert (found.lost, found.doubled) == (0, READINGS + SCANS), "its readings are shown, and in no pack"


def test_many_divergences_are_told_by_their_number(engine: Engine) -> None:
    found = harmed(engine, "UPDATE pack SET sealed_ms = sealed_ms + 1")
    assert len(found.problems) == SHOWN + 1
    assert found.problems[-1] == f"fsck: {PACKS - SHOWN} more"


@pytest.mark.parametrize(
    ("harm", "lost", "doubled"),
    [
        ("DELETE FROM tail WHERE pack_id = 4", READINGS, 0),
        ("DELETE FROM scan WHERE pack_id = 4", SCANS, 0),
        ("INSERT INTO tail SELECT pack_id, first_ordinal + 100, {} FROM tail WHERE pack_id = 4", 0, READINGS),
    ],
)
def test_what_is_shown_is_counted_where_fsck_does_not_look(engine: Engine, harm: str, lost: int, doubled: int) -> None:
    found = harmed(engine, harm.format(_columns_of_tail(engine)))
    assert (found.problems, found.lost, found.doubled) == ([SHOWN_WRONG], lost, doubled)


def _columns_of_tail(engine: Engine) -> str:
    """All but the key."""
    with engine.connect() as conn:
        return ", ".join(row[1] for row in conn.exec_driver_sql("PRAGMA table_info(tail)") if not row[5])


def _closed(engine: Engine) -> Path:
    """The file, with its log folded in and nobody in it."""
    file = sqlite_file(engine.url)
    assert file is not None
    engine.dispose()
    conn = sqlite3.connect(file)
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    return file


def test_a_file_whose_structure_is_wrong_is_damaged_though_every_row_is_sound(engine: Engine, posted: Post) -> None:
    file = _closed(engine)
    content = bytearray(file.read_bytes())
    content[36:40] = (7).to_bytes(4, "big")  # the header's count of free pages
    file.write_bytes(content)
    found = audit(engine)
    assert found.packs == posted.sealed
    assert [one.startswith("fsck: database file: expected SQLite's check") for one in found.problems] == [True]


def _whole_file(file: Path) -> None:
    file.write_bytes(b"no database at all" * 1000)


def _pages(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))


@pytest.mark.parametrize("harm", [_whole_file, _pages])
def test_a_file_that_cannot_be_read_is_a_problem_and_no_end_of_the_bench(
    engine: Engine, harm: Callable[[Path], None]
) -> None:
    harm(_closed(engine))
    found = audit(engine)
    assert found.packs == {}
    assert found.problems[0].startswith("the record cannot be read: ")
