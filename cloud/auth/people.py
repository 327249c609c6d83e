"""People who may sign in: a login, a name, a role and an argon2id hash of the password; the password is never kept."""

from __future__ import annotations

import re
import secrets
import threading
import unicodedata
from functools import cache
from typing import Literal, get_args

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, insert, select, update

from cloud.db.tables import former_person, person, session
from cloud.errors import Rejected

Role = Literal["operator", "official"]
ROLES: tuple[str, ...] = get_args(Role)

LOGIN_PATTERN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
NAME_MAX = 120
PASSWORD_MIN, PASSWORD_MAX = 10, 256  # NIST SP 800-63B asks for at least 8; the upper bound keeps hashing cheap

# argon2id as the OWASP password storage sheet has it; four at once take 76 MiB, so a flood of sign-ins can't take more.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_AT_ONCE = threading.BoundedSemaphore(4)


class PersonRejected(Rejected):
    """A person cannot be added like this; `str()` says why."""


class Person(msgspec.Struct, frozen=True):
    """Somebody who may sign in. role: operator (packs, submits) or official (approves, returns)."""

    login: str
    name: str
    role: str


class Listed(Person, frozen=True):
    """A person as an administrator sees it. removed_ms: since when they may no longer sign in, None while they may."""

    added_ms: int
    removed_ms: int | None


def add_person(  # noqa: PLR0917 — the order a person is introduced in
    conn: Connection, login: str, name: str, role: str, password: str, now_ms: int
) -> Person:
    """Add a person in the caller's write transaction. Raises PersonRejected, also for a login that is taken."""
    if LOGIN_PATTERN.fullmatch(login) is None:
        raise PersonRejected(f"login {login!r}: 1–64 of a–z, 0–9, and . _ @ - after the first")
    if role not in ROLES:
        raise PersonRejected(f"role {role!r} of {login}: use one of {', '.join(ROLES)}")
    if not name.strip() or len(name) > NAME_MAX:
        raise PersonRejected(f"name of {login}: 1–{NAME_MAX} characters, this has {len(name.strip())}")
    _check_password(login, password)
    if find_person(conn, login) is not None:
        raise PersonRejected(f"login {login}: somebody has it, or had it; choose another")
    row = {"login": login, "name": name.strip(), "role": role, "added_ms": now_ms}
    conn.execute(insert(person).values(row | {"password_hash": _HASHER.hash(_spelled(password))}))
    return Person(login, name.strip(), role)


def change_password(conn: Connection, login: str, password: str) -> None:
    """Give a person another password and end all their sessions, in the caller's write transaction.

    Raises PersonRejected.
    """
    _require_present(conn, login)
    _check_password(login, password)
    conn.execute(update(person).where(person.c.login == login).values(password_hash=_HASHER.hash(_spelled(password))))
    conn.execute(delete(session).where(session.c.login == login))


def remove_person(conn: Connection, login: str, now_ms: int) -> None:
    """Let a person sign in no more and end all their sessions, in the caller's write transaction.

    Name and login stay: decisions name them, and nobody else may get the login. Raises PersonRejected.
    """
    _require_present(conn, login)
    conn.execute(delete(session).where(session.c.login == login))
    conn.execute(insert(former_person).values(login=login, removed_ms=now_ms))


def listed(conn: Connection) -> list[Listed]:
    """Everybody who ever could sign in, by login."""
    query = (
        select(person.c.login, person.c.name, person.c.role, person.c.added_ms, former_person.c.removed_ms)
        .join_from(person, former_person, former_person.c.login == person.c.login, isouter=True)
        .order_by(person.c.login)
    )
    return [Listed(**row) for row in conn.execute(query).mappings()]


def find_person(conn: Connection, login: str) -> Person | None:
    """The person who has or had this login."""
    row = conn.execute(select(person).where(person.c.login == login)).one_or_none()
    return None if row is None else Person(row.login, row.name, row.role)


def verify(conn: Connection, login: str, password: str) -> Person | None:
    """The person, if login and password fit; None otherwise, after the same work whether or not the login exists."""
    query = select(person).where(person.c.login == login, person.c.login.not_in(select(former_person.c.login)))
    row = conn.execute(query).one_or_none()
    kept = _nobody() if row is None else row.password_hash
    offered = _spelled(password[: PASSWORD_MAX + 1])  # one more than is allowed can't fit, and costs no more
    with _AT_ONCE:
        try:
            _HASHER.verify(kept, offered)
        except (VerificationError, InvalidHashError):
            return None
    return None if row is None else Person(row.login, row.name, row.role)


def new_password() -> str:
    """A random password that is easy to type: four groups of four, 79 bits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"  # no i, l, o, 0, 1: nothing is mistaken for another
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


def _check_password(login: str, password: str) -> None:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise PersonRejected(f"password of {login}: {PASSWORD_MIN}–{PASSWORD_MAX} characters, this has {len(password)}")


def _require_present(conn: Connection, login: str) -> None:
    known = {one.login: one for one in listed(conn)}
    if login not in known:
        raise PersonRejected(f"login {login!r}: nobody has it; `coldproof cloud person list` shows who has one")
    if known[login].removed_ms is not None:
        raise PersonRejected(f"login {login}: was removed before, and cannot be used again")


def _spelled(password: str) -> str:
    """One spelling for the same letters: Vietnamese keyboards send ế as one code point or as three."""
    return unicodedata.normalize("NFC", password)


@cache
def _nobody() -> str:
    """A hash nobody has the password of, so that an unknown login takes as long as a wrong password."""
    return _HASHER.hash(secrets.token_urlsafe(32))
