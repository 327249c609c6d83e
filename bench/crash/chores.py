"""The cloud's chores as it runs them, for benches that harm the record: made once per life."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud.chore import Chore
from cloud.clock import Now
from cloud.events.follower import ScanFollower
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.second_look import SecondLook

HURRIED_S = 0.01


def chores(engine: Engine, now: Now) -> list[Chore]:
    """Every chore that works on the record, without its rest."""
    return [
        Chore("scans", ScanFollower(engine, now).run_once, rest_s=HURRIED_S),
        Chore("quarantine", SecondLook(engine).run_once, rest_s=HURRIED_S),
        Chore("gaps", GapFollower(engine).run_once, rest_s=HURRIED_S),
    ]
