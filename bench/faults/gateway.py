"""The whole gateway process is killed: under load, and again and again while there is no link."""

from __future__ import annotations

import random

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial

RESTARTS = 5


def killed_under_load(bench: Bench) -> Result:
    """SIGKILL at seeded moments of full work, and started again each time."""
    rng = random.Random(bench.seed)
    kills = int(bench.pick(20, 4))
    with Trial(bench) as trial:
        for turn in range(kills):
            trial.run_for(rng.uniform(1.0, 6.0))
            trial.say(f"gateway killed, {turn + 1} of {kills}")
            trial.kill_gateway()
            trial.system.start_gateway()
        trial.run_for(STARTING_S)
        return trial.end(kills=kills)


def killed_offline(bench: Bench) -> Result:
    """No link; killed, started, killed again, five times; then the link comes back."""
    rng = random.Random(bench.seed)
    with Trial(bench) as trial:
        trial.say("link gone")
        trial.line.refuse()
        for turn in range(RESTARTS):
            trial.run_for(STARTING_S + rng.uniform(3.0, 6.0) * bench.pick(1.0, 0.5))
            trial.say(f"gateway killed offline, {turn + 1} of {RESTARTS}")
            trial.kill_gateway()
            trial.system.start_gateway()
        trial.run_for(STARTING_S)
        trial.line.admit()
        trial.run_for(bench.pick(30.0, 5.0))
        return trial.end(kills=RESTARTS)


STARTING_S = 5.0  # until a started gateway polls: 1 s for ours, 4 s for the peer
