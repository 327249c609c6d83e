"""What the pages and the API tell of clocks that were wrong: corrections, readings from the future, bounds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import Engine

from cloud.evidence.model import SeriesEvidence, TimeShift
from cloud.ingest.record import Arrival, record
from cloud.web import phrase
from cloud.web.wording import wording
from tests.cloud.field import BOOT, START_MS, Gateway, reading
from tests.cloud.site import GTIN
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor
from tests.cloud.web.test_phrase import plain
from wire.pack import Correction

VI, EN = wording("vi"), wording("en")
HOUR_MS = 3_600_000
SERIES = SeriesEvidence("gw", "room-1/air", "S1", "Temperature", "CEL", 60, 9, 2.1, 9.6, 5.0, 1.0, 0, [], [])


@pytest.fixture
def corrected(engine: Engine) -> Engine:
    """The truck's clock ran 90 s slow for two hours of the way, and said so when it knew."""
    truck = Gateway("gw-xe-01", simulated=True)
    told = [Correction(BOOT, 32 * HOUR_MS, 34 * HOUR_MS - 1, 90_000, 80, "gps")]
    envelope = truck.seal(truck.pack(90, corrections=told))
    assert record(engine, [Arrival(truck.topic, envelope, world.NOW_MS)]).accepted == 1
    return engine


async def test_the_lot_page_shows_that_times_were_corrected(corrected: Engine, visit: Callable[..., Visitor]) -> None:
    visitor = await visit().sign_in("official")
    path = f"/lots/01/{GTIN}/10/{world.FAILED}"
    page = plain((await visitor.get(f"{path}?lang=en")).text)
    assert "Times of 120 readings corrected: moved later by 1 min 30 s (by GPS time, ± 0.08 s)" in page
    page = plain((await visitor.get(path)).text)
    assert "Đã hiệu chỉnh thời điểm của 120 giá trị đo: dời muộn hơn 1 phút 30 giây (theo giờ GPS, ± 0,08 giây)" in page


async def test_the_api_gives_both_times_and_the_correction(corrected: Engine, visit: Callable[..., Visitor]) -> None:
    visitor = await visit().sign_in("official")
    told = (await visitor.get(f"/api/v1/lots/{GTIN}/{world.FAILED}")).json()
    (truck,) = [one for stay in told["stays"] for one in stay["series"] if one["channel"] == "truck/air"]
    assert truck["corrected"] == [{"offset_s": 90.0, "uncertainty_s": 0.08, "source": "gps", "count": 120}]
    query = "gateway=gw-xe-01&channel=truck/air&from=2025-10-10T16:50:00Z&to=2025-10-10T17:10:00Z"
    rows = (await visitor.get(f"/api/v1/readings?{query}")).json()
    assert [row["observed"] == row["believed"] for row in rows] == [row["offset_s"] is None for row in rows]
    moved = [row for row in rows if row["offset_s"] is not None]
    assert moved
    assert {(row["offset_s"], row["uncertainty_s"], row["time_source"]) for row in moved} == {(90.0, 0.08, "gps")}


async def test_readings_from_the_future_are_something_to_check(engine: Engine, visit: Callable[..., Visitor]) -> None:
    store = Gateway("gw-kho-01")
    ahead = [reading(channel="room-9/air", at_s=90 * world.HOUR_S)]
    arrival = Arrival(store.topic, store.seal(store.pack(900, ahead)), world.NOW_MS)
    assert record(engine, [arrival]).accepted == 1
    visitor = await visit().sign_in("official")
    page = (await visitor.get("/checks?lang=en")).text
    assert "Readings from the future" in page
    assert "gw-kho-01 room-9/air" in page
    told = (await visitor.get("/api/v1/checks")).json()
    assert [row["channel"] for row in told["future"]] == ["room-9/air"]


def notes(**changed: object) -> list[str]:
    return [plain(note) for note in phrase.clock_notes(msgspec.structs.replace(SERIES, **changed), EN)]


def test_a_right_clock_needs_no_words() -> None:
    assert notes() == []


def test_corrections_are_told_with_offset_source_and_uncertainty() -> None:
    shifts = [
        TimeShift(START_MS / 1000, 0.02, "ntp", 10),
        TimeShift(-86_400.0, 0.5, "gps", 30),
        TimeShift(0.0, 0.1, "ntp", 1),
        TimeShift(1.5, 0.1, "operator", 1),
        TimeShift(2.5, 0.1, "operator", 1),
    ]
    assert notes(corrected=shifts) == [
        "Times of 30 readings corrected: moved earlier by 1 d (by GPS time, ± 0.5 s)",
        "Times of 10 readings corrected: moved later by 20,370 d 8 h 53 min 20 s (by network time, ± 0.02 s)",
        "Time of 1 reading confirmed (by network time, ± 0.1 s)",
        "and 2 more corrections",
    ]


def test_the_times_of_an_unset_clock_are_told_with_their_bounds() -> None:
    assert notes(unsynced=3, not_after_ms=START_MS) == [
        "Times of an unset clock: really observed before 9 Oct 2025 15:53"
    ]
    assert notes(unsynced=3, not_before_ms=START_MS - HOUR_MS, not_after_ms=START_MS) == [
        "Times of an unset clock: really observed between 9 Oct 2025 14:53 and 9 Oct 2025 15:53"
    ]


def test_lateness_is_told() -> None:
    assert notes(late=2) == ["2 readings were received more than 15 minutes after they were observed"]
