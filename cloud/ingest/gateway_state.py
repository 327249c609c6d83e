"""What gateways tell about themselves (retained status): kept as last heard. It is unsigned and steers nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from cloud.db.tables import gateway_state
from wire import status as wire_status
from wire.envelope import WireError
from wire.status import Status
from wire.topics import TopicError, gateway_of, up_status

ROWS_MAX = 10_000  # names nobody admitted are shown, too, so that an installer sees them: bounded


class Heard(msgspec.Struct, frozen=True):
    """A status as it came. retained: the broker repeated what was said before, perhaps long ago."""

    topic: str
    payload: bytes
    heard_ms: int
    retained: bool


class GatewayState(msgspec.Struct, frozen=True):
    """The last word of a gateway about itself, and when it was heard."""

    status: Status
    heard_ms: int


def record(conn: Connection, heard: Sequence[Heard]) -> int:
    """Keep the last status of each gateway, in the caller's write transaction; returns how many were unusable."""
    unusable = 0
    for one in heard:
        try:
            gateway = gateway_of(one.topic)
            status = wire_status.decode(one.payload)
        except (TopicError, WireError):
            unusable += 1
            continue
        if status.gateway != gateway or one.topic != up_status(gateway):
            unusable += 1
            continue
        _keep(conn, status, one)
    return unusable


def states(conn: Connection) -> list[GatewayState]:
    """Every gateway ever heard, by name."""
    rows = conn.execute(select(gateway_state).order_by(gateway_state.c.gateway))
    return [GatewayState(wire_status.decode(row.status.encode()), row.heard_ms) for row in rows]


def state(conn: Connection, gateway: str) -> GatewayState | None:
    """What a gateway last said, None if it was never heard."""
    row = conn.execute(select(gateway_state).where(gateway_state.c.gateway == gateway)).one_or_none()
    return None if row is None else GatewayState(wire_status.decode(row.status.encode()), row.heard_ms)


def _keep(conn: Connection, status: Status, one: Heard) -> None:
    text = wire_status.encode(status).decode()
    known = conn.execute(
        select(gateway_state.c.status).where(gateway_state.c.gateway == status.gateway)
    ).scalar_one_or_none()
    row = {"gateway": status.gateway, "online": status.online, "status": text, "heard_ms": one.heard_ms}
    if known is None:
        if (conn.scalar(select(func.count()).select_from(gateway_state)) or 0) < ROWS_MAX:
            conn.execute(insert(gateway_state).values(row))
    elif not (one.retained and known == text):  # a repetition is not a new word
        conn.execute(update(gateway_state).where(gateway_state.c.gateway == status.gateway).values(row))
