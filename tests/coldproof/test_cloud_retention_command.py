"""`coldproof cloud prune` and `hold`: what is typed, and what is said back."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.clock import system_now_ms
from coldproof.cloud_command import app
from coldproof.cloud_options import time_text


def _run(folder: Path, *words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--data-dir", str(folder / "data")])
    assert result.exit_code == status, result.output
    return result.output


def test_hold_is_added_listed_and_released(tmp_path: Path) -> None:
    _run(tmp_path, "migrate")
    said = _run(tmp_path, "hold", "add", "--lot", "8930000010018/TOM26-0417", "--reason", "complaint 12", "--by", "lan")
    assert said == "hold 1: lot 08930000010018/TOM26-0417\n"
    words = ("--place", "8930000000125", "--since", "2026-01-01", "--until", "2026-02-01T00:00:00+07:00")
    assert "since 2026-01-01T00:00:00+00:00 until 2026-01-31T17:00:00+00:00" in _run(
        tmp_path, "hold", "add", *words, "--reason", "inspection"
    )
    assert _run(tmp_path, "hold", "release", "1", "--reason", "settled", "--by", "minh") == "released: hold 1\n"
    first, second = _run(tmp_path, "hold", "list").splitlines()
    assert first.endswith("by minh: settled")
    assert second.endswith("\tholds")
    assert "released before" in _run(tmp_path, "hold", "release", "1", "--reason", "again", status=1)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("hold", "add", "--reason", "r"), "needs a beginning or an end"),
        (("hold", "add", "--reason", "r", "--lot", "1/2", "--place", "3"), "one of them"),
        (("hold", "add", "--reason", "r", "--lot", "12"), "GTIN/LOT"),
        (("hold", "add", "--reason", "r", "--since", "yesterday"), "write YYYY-MM-DD"),
        (("hold", "add", "--reason", "r", "--since", "2026-01-01T00:00:00"), "needs its offset"),
        (("hold", "add", "--reason", " ", "--place", "1"), "needs a reason"),
        (("prune", "--before", "2999-01-01"), "never removed"),
        (("prune", "--before", "then"), "write YYYY-MM-DD"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    _run(tmp_path, "migrate")
    assert why in _run(tmp_path, *words, status=1)


def test_what_just_came_is_never_removed(tmp_path: Path) -> None:
    _run(tmp_path, "migrate")
    assert "less than a day ago" in _run(tmp_path, "prune", "--before", time_text(system_now_ms()), status=1)


def test_prune_of_nothing_says_so(tmp_path: Path) -> None:
    _run(tmp_path, "migrate")
    assert _run(tmp_path, "prune", "--before", "2020-01-01", "--dry-run").count("would be removed: 0 packs") == 1
    assert _run(tmp_path, "prune", "--before", "2020-01-01").count("\nremoved: 0 packs") == 1
