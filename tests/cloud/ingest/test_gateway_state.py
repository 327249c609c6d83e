"""What gateways say about themselves is kept as last heard; what is not theirs to say is not."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.ingest import gateway_state
from cloud.ingest.gateway_state import GatewayState, Heard
from wire.status import STATUS_MAX_BYTES, Status, encode
from wire.topics import up_status

ONLINE = Status("gw-1", online=True, head_seq=7)
OFFLINE = Status("gw-1", online=False)


def _hear(engine: Engine, *heard: Heard) -> int:
    with writing(engine) as conn:
        return gateway_state.record(conn, heard)


def _heard(status: Status, at_ms: int, *, retained: bool = False) -> Heard:
    return Heard(up_status("gw-1"), encode(status), at_ms, retained)


def _states(engine: Engine) -> list[GatewayState]:
    with reading(engine) as conn:
        return gateway_state.states(conn)


def test_last_word_counts(engine: Engine):
    assert _hear(engine, _heard(ONLINE, 1), _heard(OFFLINE, 2)) == 0
    assert _states(engine) == [GatewayState(OFFLINE, 2)]


def test_repeated_retained_word_is_not_news(engine: Engine):
    _hear(engine, _heard(ONLINE, 1))
    _hear(engine, _heard(ONLINE, 5, retained=True))
    assert _states(engine) == [GatewayState(ONLINE, 1)]
    _hear(engine, _heard(OFFLINE, 6, retained=True))
    assert _states(engine) == [GatewayState(OFFLINE, 6)]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (up_status("gw-2"), encode(ONLINE)),  # another gateway's topic
        ("coldproof/v1/gw-1/up/pack", encode(ONLINE)),
        ("nonsense", encode(ONLINE)),
        (up_status("gw-1"), b"not json"),
        (up_status("gw-1"), b"\xff\xfe"),
        (up_status("gw-1"), b"{}"),
        (up_status("gw-1"), b" " * (STATUS_MAX_BYTES + 1)),
    ],
)
def test_unusable_status_is_counted_and_changes_nothing(engine: Engine, topic: str, payload: bytes):
    assert _hear(engine, Heard(topic, payload, 1, retained=False)) == 1
    assert _states(engine) == []


def test_strangers_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway_state, "ROWS_MAX", 3)
    names = [f"gw-{at}" for at in range(9)]
    _hear(engine, *(Heard(up_status(name), encode(Status(name, online=True)), 1, retained=False) for name in names))
    assert [one.status.gateway for one in _states(engine)] == names[:3]
