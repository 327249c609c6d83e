"""What the fault bench leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from bench.account import Account
from bench.faults import report
from bench.faults.row import OURS, PEER, Bench, Result, Row, run
from bench.faults.rows import ROWS
from bench.report import replace_between


def bench(folder: Path, system: str = OURS) -> Bench:
    return Bench(fault="plug pulled", system=system, seed=7, quick=True, folder=folder, say=lambda _: None)


ROW = Row("plug pulled", "0 lost", lambda one: one.result(Account(produced=10, stored=9, lost=1)), peer=True)


def test_a_result_is_one_object_with_the_promised_fields(tmp_path: Path) -> None:
    report.store([run(ROW, bench(tmp_path))], tmp_path / "faults.json")
    (row,) = json.loads((tmp_path / "faults.json").read_text())
    assert {"fault", "seed", "produced", "stored", "lost", "doubled", "out_of_order", "resume_s", "pass"} <= row.keys()
    assert (row["seed"], row["lost"], row["pass"], row["details"]["why"]) == (7, 1, False, "1 lost")


def test_a_row_that_breaks_is_a_failed_row(tmp_path: Path) -> None:
    def broken(_bench: Bench) -> Result:
        raise OSError("no such broker")

    found = run(ROW._replace(run=broken), bench(tmp_path))
    assert (found.passed, found.details["why"]) == (False, "OSError: no such broker")


def test_resuming_late_fails_a_row(tmp_path: Path) -> None:
    assert bench(tmp_path).result(Account(produced=1, stored=1), resume_s=2.0).passed
    assert not bench(tmp_path).result(Account(produced=1, stored=1), resume_s=2.1).passed


def test_a_new_result_takes_the_place_of_the_old_one_of_its_system(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    ours, peer = run(ROW, bench(tmp_path)), run(ROW, bench(tmp_path, PEER))
    report.store([ours, peer], path)
    report.store([msgspec.structs.replace(ours, lost=0, passed=True)], path)
    assert [(one.system, one.lost) for one in report.load(path)] == [(OURS, 0), (PEER, 1)]


def test_a_missed_row_is_shown_as_missed_with_its_reason(tmp_path: Path) -> None:
    results = [run(ROW, bench(tmp_path)), run(ROW, bench(tmp_path, PEER))]
    (line,) = [text for text in report.table([ROW], results).splitlines() if "plug pulled" in text]
    assert "**missed**" in line
    assert line.count("|") == report.table([ROW], []).splitlines()[-1].count("|") == len(report.HEAD) + 1
    assert report.notes([ROW], results) == "- plug pulled: 1 lost\n"


def test_the_table_replaces_what_stood_between_the_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    replace_between("<!-- a -->\n", "<!-- b -->\n", "new\n", path)
    assert path.read_text() == "before\n<!-- a -->\nnew\n<!-- b -->\nafter\n"
    with pytest.raises(SystemExit, match="are not there"):
        replace_between("<!-- c -->\n", "<!-- b -->\n", "new\n", path)


def test_every_row_has_a_name_of_its_own_and_says_what_must_hold() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(row.must for row in ROWS)
