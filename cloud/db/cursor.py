"""How far followers have read: a position per follower and part, moved in the transaction of the work it stands for."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from cloud.db.tables import cursor


def stream_part(gateway: str, stream: bytes) -> str:
    """The part of a follower that reads a stream by seq."""
    return f"{gateway}/{stream.hex()}"


def position(conn: Connection, follower: str, part: str) -> int | None:
    """Where a follower stands, None before it began."""
    return conn.scalar(select(cursor.c.position).where(cursor.c.follower == follower, cursor.c.part == part))


def positions(conn: Connection, follower: str) -> dict[str, int]:
    """Where a follower stands, by part."""
    query = select(cursor.c.part, cursor.c.position).where(cursor.c.follower == follower)
    return {row.part: row.position for row in conn.execute(query)}


def advance(conn: Connection, follower: str, part: str, position: int) -> None:
    """Set where a follower stands."""
    where = (cursor.c.follower == follower, cursor.c.part == part)
    if conn.execute(update(cursor).where(*where).values(position=position)).rowcount == 0:
        conn.execute(insert(cursor).values(follower=follower, part=part, position=position))


def send_back(conn: Connection, gateway: str, stream: bytes, seq: int) -> None:
    """Have every follower of a stream that is at `seq` or beyond read it again from there."""
    beyond = (cursor.c.part == stream_part(gateway, stream), cursor.c.position >= seq)
    conn.execute(update(cursor).where(*beyond).values(position=seq - 1))
