"""What did not fit is shown to people, and nothing in it can hurt the page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.events.follower import ScanFollower
from cloud.ingest import gateway_state
from cloud.ingest.gateway_state import Heard
from cloud.ingest.record import Arrival, record
from cloud.ingest.settled import ranges
from tests.cloud.field import Gateway, scan
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor
from wire import status as wire_status
from wire.status import Status
from wire.topics import up_status

STORE = "gw-kho-01"
STRANGE = "<b>8930000000012</b>\x1d10A"


@pytest.fixture
def troubled(engine: Engine) -> Engine:
    """The story, plus a strange code, a flipped bit, a stranger, and two gateways that tell about themselves."""
    store, stranger = Gateway(STORE), Gateway("gw-la")
    with reading(engine) as conn:
        [(_, through)] = ranges(conn, STORE, store.stream, 2)
    strange = scan(STRANGE, at_s=46 * world.HOUR_S, channel="packing/scan")
    world.deliver(engine, store, [strange], first_seq=through + 1)
    ScanFollower(engine, lambda: world.NOW_MS).run_once()
    flipped = bytearray(store.envelope(through + 2))
    flipped[-1] ^= 1
    arrivals = [
        Arrival(store.topic, bytes(flipped), world.NOW_MS),
        Arrival(stranger.topic, stranger.envelope(1), world.NOW_MS),
    ]
    assert record(engine, arrivals).quarantined == 2
    with writing(engine) as conn:
        for name, online in ((STORE, False), ("gw-la", True)):
            said = Status(name, online, unsent_packs=3, devices={"room-1": "silent"})
            gateway_state.record(conn, [Heard(up_status(name), wire_status.encode(said), world.NOW_MS, False)])
    return engine


async def test_strangers_refused_messages_and_silent_devices_are_named(
    troubled: Engine, visit: Callable[..., Visitor]
) -> None:
    page = (await (await visit().sign_in("operator")).get("/checks?lang=en")).text
    assert "Wrong signature" in page
    assert "The gateway has not been added" in page
    assert "not added here" in page
    assert "not connected" in page
    assert "room-1: silent" in page
    assert "3 packs" in page


async def test_a_code_that_is_no_event_is_shown_with_its_reason_and_escaped(
    troubled: Engine, visit: Callable[..., Visitor]
) -> None:
    visitor = await visit().sign_in("official")
    page = (await visitor.get("/checks")).text
    assert "Không phải mã GS1" in page
    assert "&lt;b&gt;8930000000012&lt;/b&gt;␝10A" in page
    assert "<b>8930000000012" not in page
    told = (await visitor.get("/api/v1/checks")).json()
    assert told["findings"][0]["finding"]["code"] == STRANGE
    assert {row["name"] for row in told["gateways"]} >= {STORE, "gw-la"}


async def test_only_who_is_signed_in_sees_it(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    assert "/sign-in" in str((await visitor.get("/checks")).url)
    assert (await visitor.get("/api/v1/checks")).status_code == 401
