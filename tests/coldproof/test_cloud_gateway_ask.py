"""`coldproof cloud gateway ask`: what is missing is asked for, and the broker gets the commands later."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest import command
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from coldproof.cloud_command import app
from tests.cloud.field import START_MS, Gateway
from wire import command as wire_command
from wire.command import SendAgain

STORE = Gateway("gw-kho-01")
OLDER = Gateway("gw-kho-01")
OLDER.stream = b"\x0a" * 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cloud that lacks 2–3 and 5 of one stream and 1–6 of another."""
    (tmp_path / "data").mkdir()
    engine = open_engine(sqlite_url(tmp_path / "data/cloud.db"))
    migrate(engine)
    with writing(engine) as conn:
        add_gateway(conn, STORE.public_half, START_MS)
    letters = [STORE.envelope(seq) for seq in (1, 4, 6)] + [OLDER.envelope(7)]
    assert record(engine, [Arrival(STORE.topic, one, START_MS) for one in letters]).accepted == 4
    engine.dispose()
    return tmp_path


def ask(folder: Path, *words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["gateway", "ask", *words, "--data-dir", str(folder / "data")])
    assert result.exit_code == status, result.output
    return result.output


def orders(folder: Path) -> list[SendAgain]:
    """The orders that wait for the broker, as gateways will read them."""
    engine = open_engine(sqlite_url(folder / "data/cloud.db"))
    with reading(engine) as conn:
        waiting = command.waiting(conn, START_MS, 10)
    engine.dispose()
    found = [wire_command.unseal(one.envelope)[1].order for one in waiting]
    return sorted((one for one in found if isinstance(one, SendAgain)), key=lambda one: one.stream)


def test_everything_that_is_missing_is_asked_for(folder: Path) -> None:
    said = ask(folder, "gw-kho-01")
    assert f"{STORE.stream.hex()}\t2-3,5\tasked" in said
    assert orders(folder) == sorted(
        [SendAgain(OLDER.stream, [(1, 6)]), SendAgain(STORE.stream, [(2, 3), (5, 5)])], key=lambda one: one.stream
    )


def test_a_part_of_a_stream_is_asked_for(folder: Path) -> None:
    ask(folder, "gw-kho-01", "--stream", STORE.stream.hex()[:8], "--from", "3", "--to", "8")
    assert orders(folder) == [SendAgain(STORE.stream, [(3, 3), (5, 5), (7, 8)])]


def test_what_is_here_is_not_asked_for(folder: Path) -> None:
    said = ask(folder, "gw-kho-01", "--stream", STORE.stream.hex(), "--from", "4", "--to", "4")
    assert "nothing of that is missing here" in said
    assert orders(folder) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("gw-la",), "not in the registry"),
        (("gw-kho-01", "--from", "3"), "name it with --stream"),
        (("gw-kho-01", "--stream", "ff"), "no stream of gateway gw-kho-01 begins so; there are: 0a0a0a0a"),
        (("gw-kho-01", "--stream", ""), "2 streams of gateway gw-kho-01 begin so"),
        (("gw-kho-01", "--stream", "0a", "--from", "3", "--to", "2"), "ends before it begins"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, words: tuple[str, ...], why: str) -> None:
    assert why in ask(folder, *words, status=1)
    assert orders(folder) == []
