"""The parts of the page that need no server: password, sessions, guesses, words, curves."""

from __future__ import annotations

import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge.limits import Limit
from edge.local import password
from edge.local.chart import WIDTH, Chart, svg
from edge.local.session import FREE_GUESSES, LIFETIME_S, LONGEST_WAIT_S, SESSIONS_MAX, Guesses, Sessions
from edge.local.wording import blanks, catalogue

SVG = "{http://www.w3.org/2000/svg}"


def test_password_is_kept_as_scrypt_for_us_only(tmp_path: Path) -> None:
    password.set_password(tmp_path, "kho lạnh số 1")
    path = tmp_path / password.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"kho" not in path.read_bytes()
    kept = password.read(tmp_path)
    assert password.fits(kept, "kho lạnh số 1")
    assert not password.fits(kept, "kho lạnh số 2")
    assert not password.fits(kept, "")


@pytest.mark.parametrize("chosen", ["", "123456789", "x" * 201])
def test_short_or_endless_passwords_are_refused(tmp_path: Path, chosen: str) -> None:
    with pytest.raises(password.PasswordError, match="10 to 200 characters"):
        password.set_password(tmp_path, chosen)
    with pytest.raises(password.PasswordError, match="no password yet"):
        password.read(tmp_path)


def test_damaged_or_greedy_password_files_are_told(tmp_path: Path) -> None:
    for content in (b"{}", b"\xff", b'{"salt":"","hash":"","n":1073741824,"r":8,"p":1}'):
        (tmp_path / password.NAME).write_bytes(content)
        with pytest.raises(password.PasswordError, match="set the password again"):
            password.read(tmp_path)


def test_suggested_passwords_are_long_enough_and_differ() -> None:
    found = {password.suggestion() for _ in range(50)}
    assert len(found) == 50
    assert all(len(one) >= password.MIN_CHARS for one in found)


def test_sessions_end_by_time_and_number() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    first = sessions.start()
    session = sessions.find(first)
    assert session is not None
    assert session.accepts(session.csrf)
    assert not session.accepts("")
    tokens = [sessions.start() for _ in range(SESSIONS_MAX)]
    assert sessions.find(first) is None
    now[0] = LIFETIME_S
    assert all(sessions.find(token) is None for token in tokens)


def test_guesses_cost_more_and_more_time_and_the_password_forgives() -> None:
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    waits = []
    for _ in range(FREE_GUESSES + 4):
        now[0] += guesses.wait_s("a")
        guesses.failed("a")
        waits.append(guesses.wait_s("a"))
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480]
    assert guesses.wait_s("b") == 0
    guesses.succeeded("a")
    assert guesses.wait_s("a") == 0


def test_many_addresses_do_not_help() -> None:
    guesses = Guesses(lambda: 0.0)
    for number in range(400):
        if guesses.wait_s(f"10.0.0.{number}") == 0:
            guesses.failed(f"10.0.0.{number}")
    assert guesses.wait_s("10.1.1.1") > 0
    assert guesses.wait_s("10.1.1.1") <= LONGEST_WAIT_S


def test_both_languages_say_the_same_things() -> None:
    vi, en = catalogue("vi"), catalogue("en")
    assert vi.keys() == en.keys()
    assert {key: blanks(text) for key, text in vi.items()} == {key: blanks(text) for key, text in en.items()}


def test_curve_leaves_gaps_open_and_keeps_extremes() -> None:
    points = [(60_000 * at, -20.0) for at in range(60)] + [(60_000 * at, -19.0) for at in range(90, 120)]
    points[30] = (points[30][0], -3.0)
    picture = ElementTree.fromstring(svg(Chart(points, 'a < b & "c"', Limit("a/b", above=-18.0))))
    (line,) = [path.get("d") or "" for path in picture.iter(f"{SVG}path") if path.get("fill") == "none"]
    assert line.count("M") == 2
    tops = [float(pair.split()[1]) for piece in line.split("M")[1:] for pair in piece.split(" L")]
    assert min(tops) < 20
    assert picture.get("aria-label") == 'a < b & "c"'


def test_long_curve_is_bounded_and_keeps_its_peak() -> None:
    points = [(1000 * at, 0.0) for at in range(50_000)]
    points[31_415] = (points[31_415][0], 9.0)
    picture = svg(Chart(points, "x"))
    assert len(picture) < 40 * WIDTH
    assert min(float(pair.split()[1]) for pair in picture.split('d="M')[-1].split('"')[0].split(" L")) < 20
