"""Power cuts over a recorded trace of writes, and proof that the harness would see a missing sync."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.crash.cut import run_power_cuts
from bench.crash.result import complaint
from bench.crash.vfs import TracedFiles, Unreachable
from edge import durable
from edge.buffer import file as buffer_file
from edge.buffer.head import HeadFile

SEED = 20261126


@pytest.fixture(autouse=True)
def traceable() -> None:
    try:
        TracedFiles(lambda *_: None)
    except Unreachable as error:
        pytest.skip(f"power cuts cannot be tried here: {error}")


@pytest.mark.timeout(300)
def test_accepted_survives_power_cut() -> None:
    results = run_power_cuts(80, SEED)
    assert not complaint(results)
    assert sum(result.accepted for result in results) > 1_000, "the cuts hit no work: the test would prove nothing"


def test_a_point_is_the_same_cut_when_it_is_done_again() -> None:
    (before,) = run_power_cuts(1, SEED, first=3)
    (after,) = run_power_cuts(1, SEED, first=3)
    assert (before.plan, before.accepted, before.delivered) == (after.plan, after.accepted, after.delivered)


def commit_without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    real = buffer_file._configure

    def configure(connection: sqlite3.Connection) -> None:
        real(connection)
        connection.execute("PRAGMA synchronous = NORMAL")

    monkeypatch.setattr(buffer_file, "_configure", configure)


def replace_without_folder_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "sync_folder", lambda _: None)


def hand_out_before_the_head_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeadFile, "write", lambda *_, **__: None)


def make_the_folder_without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.buffer.keeper.make_folder", lambda folder: Path(folder).mkdir(exist_ok=True))


@pytest.mark.parametrize(
    "defect",
    [
        commit_without_sync,
        replace_without_folder_sync,
        hand_out_before_the_head_is_written,
        make_the_folder_without_sync,
    ],
)
def test_the_harness_sees_a_missing_sync(
    defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    assert complaint(run_power_cuts(40, SEED))
