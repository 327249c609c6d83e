"""Who may sign in."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, LargeBinary, Table, Text

from cloud.db.tables.base import metadata

person = Table(
    "person",
    metadata,
    Column("login", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    CheckConstraint("role IN ('operator', 'official')", name="known_role"),
)

session = Table(
    "session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("login", ForeignKey("person.login"), nullable=False),
    Column("csrf", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

#: Who may no longer sign in, and since when. The person stays: decisions name the login, which nobody else gets.
former_person = Table(
    "former_person",
    metadata,
    Column("login", ForeignKey("person.login"), primary_key=True),
    Column("removed_ms", BigInteger, nullable=False),
)
