"""`coldproof lot show` over a real database: people's text in both languages, JSON, and errors that help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cloud.db.engine import migrate, open_engine, sqlite_url
from cloud.ingest.record import Arrival, record
from coldproof.lot_command import app
from standards.gs1 import digital_link
from tests.cloud.field import BOOT, reading
from tests.cloud.journey import NOW_MS, calm, travel
from tests.cloud.site import GTIN, STRANGE_GTIN
from wire.observation import Reading
from wire.pack import Correction


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cloud's data folder with one lot that was too warm in the truck."""

    def warm(channel: str, minute: int) -> Reading | None:
        hot = channel == "truck/air" and 80 <= minute < 100
        return reading(channel=channel, at_s=60 * minute, mantissa=-1234) if hot else calm(channel, minute)

    path = tmp_path_factory.mktemp("cloud")
    engine = open_engine(sqlite_url(path / "cloud.db"))
    migrate(engine)
    store, _ = travel(engine, warm)
    told = store.pack(2, corrections=[Correction(BOOT, 60_000 * 20, 60_000 * 25 - 1, 5000, 80, "gps")])
    assert record(engine, [Arrival(store.topic, store.seal(told), NOW_MS)]).accepted == 1
    yield path
    engine.dispose()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["show", *arguments])


@pytest.mark.parametrize("name", ["L1", f"{GTIN}/L1", f"{GTIN[1:]}/L1", digital_link.lot(GTIN, "L1")])
def test_a_lot_is_found_by_any_of_its_names(folder: Path, name: str) -> None:
    outcome = run(name, "--data-dir", str(folder))
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.startswith("Lô L1 · Tôm đông lạnh")


def test_people_read_it_in_both_languages(folder: Path) -> None:
    vietnamese = run("L1", "--data-dir", str(folder)).stdout
    english = run("L1", "--data-dir", str(folder), "--lang", "en").stdout
    assert "Không đạt" in vietnamese
    assert "−12,34" in vietnamese
    assert "Kho lạnh 1" in vietnamese
    assert "−12.34" in english
    assert "Cold room 1" in english
    assert "Times of 5 readings corrected: moved later by 5" in english
    assert vietnamese.count("\n") == english.count("\n")


def test_programs_read_json(folder: Path) -> None:
    told = json.loads(run("L1", "--data-dir", str(folder), "--json").stdout)
    assert (told["gtin"], told["lot"], told["verdict"], len(told["stays"])) == (GTIN, "L1", "fail", 4)
    assert told["stays"][0]["from"].startswith("2025-10-09T")
    assert told["stays"][3]["to"] is None


def test_the_database_can_be_named_by_its_url(folder: Path) -> None:
    assert run("L1", "--database", sqlite_url(folder / "cloud.db")).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["L9"], "write GTIN/LOT"),
        ([f"{STRANGE_GTIN}/L1"], "no event speaks of it"),
        (["https://id.gs1.org/01/123/10/L1"], "01"),
        (["https://id.gs1.org/01/" + GTIN], "names no lot"),
        (["L1", "--lang", "fr"], "vi, en"),
        (["L1", "--database", "nonsense"], "not a URL"),
    ],
)
def test_errors_say_what_to_do(folder: Path, arguments: list[str], hint: str) -> None:
    outcome = run(*arguments, *([] if "--database" in arguments else ["--data-dir", str(folder)]))
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error: ")
    assert hint in outcome.stderr


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    outcome = run("L1", "--data-dir", str(tmp_path / "nothing"))
    assert outcome.exit_code == 1
    assert "no such file" in outcome.stderr
    assert not (tmp_path / "nothing").exists()
