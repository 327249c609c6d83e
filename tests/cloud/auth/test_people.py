"""People: passwords are kept as hashes only, and nobody gets in with less than the right one."""

from __future__ import annotations

import time
import unicodedata

import pytest
from sqlalchemy import Engine, select

from cloud.auth import sessions
from cloud.auth.people import (
    LOGIN_PATTERN,
    Person,
    PersonRejected,
    add_person,
    change_password,
    find_person,
    listed,
    new_password,
    remove_person,
    verify,
)
from cloud.db.engine import reading, writing
from cloud.db.tables import person

PASSWORD = "mật khẩu đủ dài"


@pytest.fixture
def people(engine: Engine) -> Engine:
    """A database with one person."""
    with writing(engine) as conn:
        add_person(conn, "an", "Người dùng thử", "official", PASSWORD, 1)
    return engine


def test_right_password_gives_the_person(people: Engine) -> None:
    with reading(people) as conn:
        found = verify(conn, "an", PASSWORD)
    assert found is not None
    assert (found.login, found.name, found.role) == ("an", "Người dùng thử", "official")


def test_one_password_may_be_typed_in_either_unicode_spelling(people: Engine) -> None:
    with reading(people) as conn:
        assert verify(conn, "an", unicodedata.normalize("NFD", PASSWORD)) is not None


@pytest.mark.parametrize("wrong", ["", "mat khau du dai", PASSWORD + " ", PASSWORD * 100, "\x00", "' OR 1=1 --"])
def test_wrong_password_gives_nobody(people: Engine, wrong: str) -> None:
    with reading(people) as conn:
        assert verify(conn, "an", wrong) is None
        assert verify(conn, "nobody", wrong) is None


def test_unknown_login_takes_as_long_as_a_wrong_password(people: Engine) -> None:
    def best_of(login: str) -> float:
        times = []
        with reading(people) as conn:
            for _ in range(5):
                before = time.process_time()
                verify(conn, login, "wrong password")
                times.append(time.process_time() - before)
        return min(times)

    best_of("nobody")  # the first one makes the hash to compare with
    assert 0.4 < best_of("nobody") / best_of("an") < 2.5


def test_database_holds_no_password(people: Engine) -> None:
    with reading(people) as conn:
        row = conn.execute(select(person)).one()
    assert row.password_hash.startswith("$argon2id$")
    assert PASSWORD not in str(row)


@pytest.mark.parametrize(
    ("login", "name", "role", "password", "why"),
    [
        ("An", "An", "official", PASSWORD, "login"),
        ("", "An", "official", PASSWORD, "login"),
        ("x" * 65, "An", "official", PASSWORD, "login"),
        ("<b>", "An", "official", PASSWORD, "login"),
        ("binh", " ", "official", PASSWORD, "name"),
        ("binh", "B" * 121, "official", PASSWORD, "name"),
        ("binh", "Binh", "admin", PASSWORD, "operator, official"),
        ("binh", "Binh", "official", "short", "password"),
        ("binh", "Binh", "official", "x" * 257, "password"),
        ("an", "Another", "operator", PASSWORD, "somebody has it"),
    ],
)
def test_impossible_person_is_refused_with_the_reason(
    people: Engine, login: str, name: str, role: str, password: str, why: str
) -> None:
    with writing(people) as conn, pytest.raises(PersonRejected, match=why):
        add_person(conn, login, name, role, password, 1)


def test_refusal_never_shows_the_password(people: Engine) -> None:
    with writing(people) as conn, pytest.raises(PersonRejected) as refused:
        add_person(conn, "binh", "Binh", "official", "s3cr3t", 1)
    assert "s3cr3t" not in str(refused.value)


def test_unknown_login_is_nobody(people: Engine) -> None:
    with reading(people) as conn:
        assert find_person(conn, "nobody") is None


def test_new_passwords_differ_and_are_accepted(people: Engine) -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    with writing(people) as conn:
        add_person(conn, "binh", "Binh", "operator", made.pop(), 1)
    assert LOGIN_PATTERN.fullmatch("binh")


def test_new_password_ends_sessions_and_the_old_password(people: Engine) -> None:
    with writing(people) as conn:
        token = sessions.start(conn, "an", 1)
        change_password(conn, "an", "một mật khẩu khác")
    with reading(people) as conn:
        assert sessions.find(conn, token, 2) is None
        assert verify(conn, "an", PASSWORD) is None
        assert verify(conn, "an", "một mật khẩu khác") is not None


def test_removed_person_is_out_at_once_and_keeps_name_and_login(people: Engine) -> None:
    with writing(people) as conn:
        token = sessions.start(conn, "an", 1)
        remove_person(conn, "an", 5)
    with writing(people) as conn:
        late = sessions.start(conn, "an", 6)  # by a sign-in that was under way
        with pytest.raises(PersonRejected, match="somebody has it, or had it"):
            add_person(conn, "an", "Người khác", "operator", PASSWORD, 7)
        with pytest.raises(PersonRejected, match="was removed before"):
            change_password(conn, "an", PASSWORD)
        with pytest.raises(PersonRejected, match="was removed before"):
            remove_person(conn, "an", 8)
        with pytest.raises(PersonRejected, match="nobody has it"):
            remove_person(conn, "binh", 8)
    with reading(people) as conn:
        assert [sessions.find(conn, one, 7) for one in (token, late)] == [None, None]
        assert verify(conn, "an", PASSWORD) is None
        assert find_person(conn, "an") == Person("an", "Người dùng thử", "official")
        assert [(one.login, one.removed_ms) for one in listed(conn)] == [("an", 5)]
