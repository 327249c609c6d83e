"""The gateway's card is copied: run twice, or put back from an older image."""

from __future__ import annotations

import shutil
from typing import Any

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial


def cloned(bench: Bench) -> Result:
    """Two gateways run from copies of one card: by turns, then both at once (and push each other off the broker)."""
    with Trial(bench) as trial:
        house = trial.house
        house.stop_gateway()
        shutil.copytree(house.data, house.folder / "clone")
        trial.say("card cloned; the two run by turns")
        for turn in range(int(bench.pick(6, 2))):
            name = ("gateway", "clone")[turn % 2]
            house.start_gateway_on(name)
            trial.run_for(bench.pick(8.0, 6.0))
            house.stage.stop(name)
        trial.say("both at once")
        house.start_gateway_on("gateway")
        house.start_gateway_on("clone")
        trial.run_for(bench.pick(30.0, 12.0))
        trial.say("each alone, to bring its rest away")
        for name in ("clone", "gateway"):
            house.stage.stop(name)
        for name in ("clone", "gateway"):
            house.start_gateway_on(name)
            trial.wait_until_receipted(house.data_of(name))
            if name == "clone":
                house.stage.stop(name)
        return _end(trial, forgiven=("out_of_order",))  # of two gateways that asked a device in the same moment


def restored(bench: Bench) -> Result:
    """The card is put back from an image of an earlier day; what had been delivered since is not on it."""
    with Trial(bench) as trial:
        house = trial.house
        house.stop_gateway()
        shutil.copytree(house.data, house.folder / "image")
        house.start_gateway()
        trial.say("image taken; a week goes by")
        trial.run_for(bench.pick(40.0, 12.0))
        trial.wait_until_receipted()
        house.stop_gateway()
        trial.wait_until_stored()
        shutil.rmtree(house.data)
        shutil.copytree(house.folder / "image", house.data)
        house.start_gateway()
        trial.say("image restored")
        trial.run_for(bench.pick(30.0, 12.0))
        return _end(trial)


def _end(trial: Trial, **judged: Any) -> Result:
    found = trial.end(**judged)
    streams = trial.house.streams()
    return trial.also(found, streams=streams, why="" if streams > 1 else "no new stream was begun")
