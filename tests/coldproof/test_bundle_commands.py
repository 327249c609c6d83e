"""`coldproof lot bundle` and `cloud bundle`: a file that verifies, whole or not there, and errors that help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cloud.db.engine import migrate, open_engine, sqlite_url
from coldproof import cloud_command, lot_command, verify_command
from tests.cloud.journey import travel

SPAN = ("--from", "2025-10-09T00:00+07:00", "--to", "2025-10-10T00:00+07:00")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cloud's data folder with one lot."""
    path = tmp_path_factory.mktemp("cloud")
    engine = open_engine(sqlite_url(path / "cloud.db"))
    migrate(engine)
    travel(engine)
    yield path
    engine.dispose()


def lot(*words: str | Path) -> Result:
    return CliRunner().invoke(lot_command.app, ["bundle", *map(str, words)])


def period(*words: str | Path) -> Result:
    return CliRunner().invoke(cloud_command.app, ["bundle", *map(str, words)])


def test_a_lots_bundle_is_written_and_verifies(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "lot.coldproof"
    outcome = lot("L1", "-o", file, "--data-dir", folder)
    assert outcome.exit_code == 0, outcome.output
    assert "2 × pack" in outcome.stdout
    assert f"check it with: coldproof verify {file}" in outcome.stdout
    assert CliRunner().invoke(verify_command.app, [str(file)]).exit_code == 0
    assert [one.name for one in tmp_path.iterdir()] == [file.name], "nothing half-made is left"


def test_a_period_of_one_gateway_is_written_and_verifies(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "day.coldproof"
    outcome = period(*SPAN, "--gateway", "gw-xe-01", "-o", file, "--data-dir", folder)
    assert outcome.exit_code == 0, outcome.output
    assert "1 × pack" in outcome.stdout
    assert CliRunner().invoke(verify_command.app, [str(file)]).exit_code == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--from", "yesterday", "--to", "2025-10-10T00:00+07:00"), "not an instant"),
        (("--from", "2025-10-09T00:00", "--to", "2025-10-10T00:00+07:00"), "has no offset"),
        ((*SPAN, "--gateway", "gw-9"), "no gateway gw-9; known: gw-kho-01, gw-xe-01"),
        (("--from", "2025-10-10T00:00Z", "--to", "2025-10-09T00:00Z"), "ends before it begins"),
        (("--from", "2001-01-01T00:00Z", "--to", "2001-01-02T00:00Z"), "nothing was observed"),
    ],
)
def test_a_period_that_cannot_be_is_refused_with_a_hint(
    folder: Path, tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    outcome = period(*words, "-o", tmp_path / "x", "--data-dir", folder)
    assert outcome.exit_code == 1
    assert hint in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_a_lot_that_is_unknown_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    assert lot("L9", "-o", tmp_path / "x", "--data-dir", folder).exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    outcome = lot("L1", "-o", tmp_path / "no" / "x", "--data-dir", folder)
    assert outcome.exit_code == 1
    assert "cannot be written" in outcome.stderr
