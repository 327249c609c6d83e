"""How long room and card last: nothing is claimed early, and the tighter of two bounds counts."""

from __future__ import annotations

import msgspec
import pytest

from edge.budget import SURE_AFTER_S, card_life_s, room_bytes, room_s, written_per_observation
from edge.host import HostState
from edge.intake import IntakeState
from tests.edge.test_health import HEALTH

DAY_S = 86_400
BUFFER = msgspec.structs.replace(
    HEALTH.buffer,
    head_seq=1500,
    unsent_packs=100,
    unsent_bytes=200_000,
    archive_packs=900,
    archive_bytes=1_800_000,
    bytes=3_000_000,
    max_bytes=1_000_000_000,
)
MEASURED = msgspec.structs.replace(
    HEALTH,
    buffer=BUFFER,
    head_seq_at_start=500,
    intake=IntakeState(500_000, 0, ""),
    host=HostState(DAY_S, 10, 40_000_000, 100_000_000, 50_000_000_000),
    min_free_bytes=100_000_000,
    card_endurance_bytes=30e12,
)


def test_room_is_the_bound_or_what_the_disk_has() -> None:
    assert room_bytes(MEASURED) == 1_000_000_000 - 200_000
    crowded = msgspec.structs.replace(MEASURED, host=HostState(DAY_S, 10, 1, 1, 150_000_000))
    assert room_bytes(crowded) == 3_000_000 + 50_000_000 - 200_000
    full = msgspec.structs.replace(MEASURED, host=HostState(DAY_S, 10, 1, 1, 90_000_000))
    assert room_bytes(full) == 3_000_000 - 200_000


def test_days_follow_the_rate_since_the_start() -> None:
    per_day = 1000 * 2000 * 1.1
    assert room_s(MEASURED) == pytest.approx(DAY_S * room_bytes(MEASURED) / per_day)
    assert card_life_s(MEASURED) == pytest.approx(DAY_S * 30e12 / 100_000_000)
    assert written_per_observation(MEASURED) == 200


def test_nothing_is_claimed_before_it_is_known() -> None:
    young = msgspec.structs.replace(MEASURED, host=HostState(SURE_AFTER_S - 1, 10, 1, 5, 10**12))
    assert (room_s(young), card_life_s(young)) == (None, None)
    idle = msgspec.structs.replace(MEASURED, head_seq_at_start=1500, intake=IntakeState(0, 0, ""))
    assert (room_s(idle), written_per_observation(idle)) == (None, None)
    untold = msgspec.structs.replace(MEASURED, host=HostState(DAY_S))
    assert (card_life_s(untold), written_per_observation(untold)) == (None, None)
