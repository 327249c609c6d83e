"""Sessions: a token is random, kept as a hash, and good for a working day."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from cloud.auth import sessions
from cloud.auth.people import add_person
from cloud.auth.sessions import LIFETIME_MS
from cloud.db.engine import reading, writing
from cloud.db.tables import session

NOW_MS = 1_760_000_000_000


@pytest.fixture
def token(engine: Engine) -> str:
    """The token of somebody who has just signed in."""
    with writing(engine) as conn:
        add_person(conn, "an", "Người dùng thử", "official", "a long enough password", NOW_MS)
        return sessions.start(conn, "an", NOW_MS)


def test_token_finds_its_person_until_it_expires(engine: Engine, token: str) -> None:
    with reading(engine) as conn:
        found = sessions.find(conn, token, NOW_MS + LIFETIME_MS - 1)
        assert found is not None
        assert found.person.login == "an"
        assert sessions.find(conn, token, NOW_MS + LIFETIME_MS) is None


@pytest.mark.parametrize("made_up", ["", "x", "x" * 10_000, "ế", "\x00"])
def test_made_up_token_finds_nobody(engine: Engine, token: str, made_up: str) -> None:
    with reading(engine) as conn:
        assert sessions.find(conn, made_up, NOW_MS) is None
        assert sessions.find(conn, token[:-1], NOW_MS) is None


def test_database_does_not_hold_the_token(engine: Engine, token: str) -> None:
    with reading(engine) as conn:
        row = conn.execute(select(session)).one()
    assert token.encode() not in row.token_hash
    assert token not in str(row)


def test_ended_session_is_over(engine: Engine, token: str) -> None:
    with writing(engine) as conn:
        sessions.end(conn, token)
    with reading(engine) as conn:
        assert sessions.find(conn, token, NOW_MS) is None


def test_expired_sessions_are_cleared_at_the_next_sign_in(engine: Engine, token: str) -> None:
    with writing(engine) as conn:
        sessions.start(conn, "an", NOW_MS + LIFETIME_MS)
        assert conn.scalar(select(func.count()).select_from(session)) == 1


def test_every_session_has_its_own_form_secret(engine: Engine, token: str) -> None:
    with writing(engine) as conn:
        other = sessions.start(conn, "an", NOW_MS)
        first, second = sessions.find(conn, token, NOW_MS), sessions.find(conn, other, NOW_MS)
    assert first is not None
    assert second is not None
    assert first.accepts(first.csrf)
    assert not first.accepts(second.csrf)
    assert not first.accepts("")
    assert not first.accepts("ế")
