"""The cloud's chores, hurried, for benches that harm the record."""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Engine

from cloud.chore import Chore
from cloud.chores import chores_of
from cloud.clock import Now
from cloud.config import defaults

HURRIED_S = 0.04
LATER_MS = 2 * 86_400_000
LEAVES_SIGNED = 7  # a checkpoint for every few leaves


def chores(engine: Engine, now: Now, data_dir: Path) -> list[Chore]:
    """Every chore that the cloud runs, without its rest. data_dir: with the cloud's key.

    By their clock it is LATER_MS later than by that of ingest: readings are old enough to be folded into chunks.
    """
    config = defaults(data_dir)
    often = msgspec.structs.replace(config.ledger, checkpoint_every_leaves=LEAVES_SIGNED)
    made = chores_of(msgspec.structs.replace(config, ledger=often), engine, lambda: now() + LATER_MS)
    return [Chore(one.name, one.step, rest_s=HURRIED_S) for one in made]
