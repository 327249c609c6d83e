"""Every chore of the cloud: what is done beside ingest, one line each."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Engine

from cloud.chore import Chore
from cloud.clock import Now
from cloud.config import CloudConfig
from cloud.db.engine import is_one_file
from cloud.db.sqlite import shorten_log
from cloud.events.follower import ScanFollower
from cloud.ingest import second_look, shown
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.second_look import SecondLook
from cloud.ledger.checkpoint import Checkpointer
from cloud.ledger.stamp import Stamping
from cloud.ledger.tile import store_all
from cloud.ledger.witness import WitnessClient
from cloud.mirror.follower import mirror_chore
from cloud.review import worklist
from cloud.review.worklist import WorklistKeeper
from cloud.telemetry.compactor import Compactor

LOOK_EVERY_S = 0.2  # how soon a scan becomes an event
VOUCH_EVERY_S = 1.0  # how soon a new checkpoint is shown to witnesses
COMPACT_EVERY_S = 20.0
SHORTEN_EVERY_S = 1.0  # a busy ingest fills ten megabytes in that time
GAPS_EVERY_S = 2.0  # how soon a missing number is known


def chores_of(config: CloudConfig, engine: Engine, now: Now) -> list[Chore]:
    """The chores that the configuration asks for. Raises Fatal when one cannot be set up."""
    witnesses = [WitnessClient(engine, one) for one in config.ledger.witness]
    signing = Checkpointer(
        engine,
        config.data_dir,
        origin=config.ledger_origin,
        now=now,
        config=config.ledger,
        shown=shown.shown,
        witnessed=lambda: [known for one in witnesses for known in one.knows()],
    )
    chores = [
        Chore("scans", ScanFollower(engine, now).run_once, rest_s=LOOK_EVERY_S),
        Chore("quarantine", SecondLook(engine).run_once, rest_s=second_look.REST_S),
        Chore("gaps", GapFollower(engine).run_once, rest_s=GAPS_EVERY_S),
        Chore("compactor", Compactor(engine, now).run_once, rest_s=COMPACT_EVERY_S),
        Chore("worklist", WorklistKeeper(engine, now).step, rest_s=worklist.REST_S),
        Chore("tiles", partial(store_all, engine), rest_s=LOOK_EVERY_S),
        Chore("checkpoints", signing.step, rest_s=LOOK_EVERY_S),
        Chore("ledger as shown", shown.ShownWatch(engine, now).step, rest_s=shown.REST_S),
        *_vouching(config, witnesses, engine, now),
    ]
    if is_one_file(engine):
        chores.append(Chore("database log", lambda _stop: shorten_log(engine), rest_s=SHORTEN_EVERY_S))
    if config.mirror is not None:
        chores.append(mirror_chore(config.mirror, engine, now))
    return chores


def _vouching(config: CloudConfig, witnesses: list[WitnessClient], engine: Engine, now: Now) -> list[Chore]:
    """Those who vouch for checkpoints, each on its own: nothing waits for them."""
    chores = [Chore(f"witness {one.name}", one.step, rest_s=VOUCH_EVERY_S) for one in witnesses]
    if config.ledger.timestamp is not None:
        chores.append(Chore("time stamps", Stamping(engine, config.ledger.timestamp, now).step, rest_s=VOUCH_EVERY_S))
    return chores
