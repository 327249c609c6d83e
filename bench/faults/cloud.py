"""The cloud fails: killed under load, and put back from an older backup."""

from __future__ import annotations

import random
import shutil

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial


def killed_under_load(bench: Bench) -> Result:
    """SIGKILL of the whole cloud at seeded moments, and started again each time."""
    rng = random.Random(bench.seed)
    kills = int(bench.pick(20, 3))
    with Trial(bench, interval_s=0.2) as trial:
        for turn in range(kills):
            trial.run_for(rng.uniform(1.0, 4.0))
            trial.say(f"cloud killed, {turn + 1} of {kills}")
            trial.house.stage.kill("cloud")
            trial.house.start_cloud()
        return trial.end(kills=kills)


def restored(bench: Bench) -> Result:
    """The cloud's data folder is put back from a copy that is an hour old (here: seconds), and it goes on."""
    with Trial(bench) as trial:
        house = trial.house
        house.stage.stop("cloud")
        shutil.copytree(house.folder / "cloud", house.folder / "backup")
        house.start_cloud()
        trial.say("backup taken; an hour goes by")
        trial.run_for(bench.pick(60.0, 15.0))
        trial.wait_until_receipted()
        house.stage.stop("cloud")
        before = house.count()
        house.restore_cloud(house.folder / "backup")
        missing = before - house.count()
        trial.say(f"restored: {missing} readings are missing, and receipted")
        house.start_cloud()
        trial.run_for(bench.pick(30.0, 10.0))
        return trial.end(missing_after_restore=missing)
