"""deploy/restore-drill.sh: run as an operator runs it, with the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from cloud.backup import writing
from cloud.clock import system_now_ms
from cloud.ingest.record import Arrival, record
from coldproof.cloud_command import app
from tests.cloud.field import START_MS, Gateway

SCRIPT = Path(__file__).parents[3] / "deploy" / "restore-drill.sh"
HOUR_MS = 3_600_000


@pytest.fixture
def backups(engine: Engine, gateway: Gateway, tmp_path: Path) -> Path:
    """A folder with an old backup of nothing, and a new one of three packs."""
    folder = tmp_path / "backups"
    folder.mkdir()
    old_ms = system_now_ms() - 30 * HOUR_MS
    old = folder / "coldproof-20200101T000000Z.backup"
    writing.write(engine, tmp_path, old, now_ms=old_ms, keys=True, tell=lambda _share: None)
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in gateway.chain(3)])
    result = CliRunner().invoke(app, ["backup", str(folder), "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    return folder


def _drill(folder: Path, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = tmp_path / "coldproof"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m coldproof.main "$@"\n')
    command.chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = os.environ | {"COLDPROOF": str(command), "TMPDIR": str(scratch)}
    ended = subprocess.run(
        ["/bin/sh", str(SCRIPT), str(folder), *words],
        check=False, capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert list(scratch.iterdir()) == [], "the scratch folder is gone"
    return ended


def test_drill_restores_the_newest_and_says_what_is_in_it(backups: Path, tmp_path: Path) -> None:
    before = sorted((path.name, path.read_bytes()) for path in backups.iterdir())
    ended = _drill(backups, tmp_path)
    assert ended.returncode == 0, ended.stderr
    for claim in ("(0.0 h ago)", "packs: 3 of 1 gateways", "checked: 4 leaves of the ledger, 3 packs", "drill: passed"):
        assert claim in ended.stdout
    assert sorted((path.name, path.read_bytes()) for path in backups.iterdir()) == before


def test_drill_fails_on_a_damaged_backup(backups: Path, tmp_path: Path) -> None:
    newest = max(backups.iterdir())
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    ended = _drill(backups, tmp_path)
    assert ended.returncode == 1
    assert "other bytes than when it was made" in ended.stderr
    assert "FAILED" in ended.stderr


def test_drill_fails_when_no_backups_are_made_any_more(backups: Path, tmp_path: Path) -> None:
    max(backups.iterdir()).unlink()
    ended = _drill(backups, tmp_path)
    assert ended.returncode == 1
    assert "the newest backup is 30.0 h old" in ended.stderr
    assert _drill(backups, tmp_path, "48").returncode == 0
    (tmp_path / "empty").mkdir()
    assert "no coldproof-*.backup" in _drill(tmp_path / "empty", tmp_path).stderr


def test_keep_removes_the_oldest_and_nothing_else(backups: Path, tmp_path: Path) -> None:
    (backups / "precious.backup").write_text("named by a person")
    max(backups.glob("coldproof-*")).rename(backups / "coldproof-20200102T000000Z.backup")
    result = CliRunner().invoke(app, ["backup", str(backups), "--keep", "1", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in backups.iterdir())
    assert len(names) == 2
    assert names[1] == "precious.backup"
