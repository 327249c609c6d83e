"""Who is signed in: a random token in the browser, its SHA-256 in the database, gone when it expires or is ended.

A session's clock is the real one, never simulated time. Its CSRF token comes with every form and is checked on every
POST. A token is only ever made here, at sign-in: one that a browser brings along is never taken over.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import msgspec
from sqlalchemy import Connection, delete, insert, select

from cloud.auth.people import Person
from cloud.db.tables import former_person, person, session

LIFETIME_MS = 12 * 3_600_000  # a working day
TOKEN_MAX = 64  # a token we made has 43 letters


class Session(msgspec.Struct, frozen=True):
    """A signed-in person and the secret their forms carry."""

    person: Person
    csrf: str
    expires_ms: int

    def accepts(self, csrf: str) -> bool:
        """Whether a form came from one of this session's own pages; constant time."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


def start(conn: Connection, login: str, now_ms: int) -> str:
    """Sign a person in, in the caller's write transaction; returns the token for the browser. Clears what expired."""
    token = secrets.token_urlsafe(32)
    conn.execute(delete(session).where(session.c.expires_ms <= now_ms))
    row = {"token_hash": _hash(token), "login": login, "csrf": secrets.token_urlsafe(32)}
    conn.execute(insert(session).values(row | {"expires_ms": now_ms + LIFETIME_MS}))
    return token


def find(conn: Connection, token: str, now_ms: int) -> Session | None:
    """The session a browser's token stands for, None when there is none or it has expired."""
    if not token or len(token) > TOKEN_MAX:
        return None
    query = (
        select(session.c.csrf, session.c.expires_ms, person.c.login, person.c.name, person.c.role)
        .join(person, person.c.login == session.c.login)
        .where(session.c.token_hash == _hash(token), session.c.expires_ms > now_ms)
        .where(session.c.login.not_in(select(former_person.c.login)))
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else Session(Person(row.login, row.name, row.role), row.csrf, row.expires_ms)


def end(conn: Connection, token: str) -> None:
    """Sign out: the token stands for nothing any more."""
    conn.execute(delete(session).where(session.c.token_hash == _hash(token)))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
