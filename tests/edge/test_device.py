"""What a device's record counts."""

from __future__ import annotations

import logging
import random

from edge.clock import SteppedClock
from edge.device import RECENT, DeviceRecord
from edge.drivers.base import BadReply, DeviceUnavailable
from tests.edge.buffer.material import reading


def test_the_error_rate_looks_back_on_the_last_hundred_exchanges() -> None:
    record = DeviceRecord("room-1", SteppedClock(1_700_000_000_000), logging.getLogger("test"))
    assert record.snapshot(probing=False).error_rate is None
    rng, outcomes = random.Random(3), []
    for n in range(350):
        outcomes.append(rng.choice(["seen", "seen", "bad", "failed"]))
        if outcomes[-1] == "seen":
            record.seen([reading(n)])
        elif outcomes[-1] == "bad":
            record.bad_reply(BadReply("noise"))
        else:
            record.failed(DeviceUnavailable("gone"))
        recent = outcomes[-RECENT:]
        assert record.snapshot(probing=False).error_rate == sum(each != "seen" for each in recent) / len(recent)
