"""The gateway's clock is wrong: stepped by a day, 1970 at boot, no time source for ten minutes.

The devices and the cloud keep true time; simulated time (wire/simtime.py) says what the gateway believes.
"""

from __future__ import annotations

from functools import partial

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial
from wire.simtime import WallClock

DAY_MS = 86_400_000


def stepped(bench: Bench, by_ms: int) -> Result:
    """Somebody sets the running gateway's clock wrong by a day; later it is synchronised again."""
    with Trial(bench, pace=1.0) as trial:
        trial.say(f"wall clock stepped by {by_ms / DAY_MS:+.0f} day")
        trial.believe(WallClock(from_ms=trial.now_ms(), error_ms=by_ms, synced=False))
        trial.run_for(bench.pick(40.0, 15.0))
        trial.say("synchronised")
        trial.believe(WallClock(from_ms=trial.now_ms(), synced=True))
        trial.run_for(10.0)
        return _end(trial)


back, forward = partial(stepped, by_ms=-DAY_MS), partial(stepped, by_ms=DAY_MS)


def began_1970(bench: Bench) -> Result:
    """The gateway boots without a battery: its clock begins in 1970; then it is synchronised."""
    with Trial(bench, pace=1.0) as trial:
        _boot_wrong(trial, error_ms=-trial.now_ms())
        trial.say("booted in 1970")
        trial.run_for(bench.pick(40.0, 15.0))
        trial.say("synchronised")
        trial.believe(WallClock(from_ms=trial.now_ms(), synced=True))
        trial.run_for(10.0)
        return _end(trial)


def late_ntp(bench: Bench) -> Result:
    """The gateway boots 37 minutes behind, and hears of the true time after ten minutes."""
    pace = bench.pick(5.0, 4.0)
    with Trial(bench, pace=pace) as trial:
        _boot_wrong(trial, error_ms=-37 * 60_000)
        trial.say("booted 37 minutes behind")
        trial.run_for(bench.pick(600.0, 80.0) / pace)
        trial.say("synchronised")
        trial.believe(WallClock(from_ms=trial.now_ms(), synced=True))
        trial.run_for(10.0)
        return _end(trial)


def _boot_wrong(trial: Trial, *, error_ms: int) -> None:
    trial.system.stop_gateway()
    trial.believe(WallClock(from_ms=trial.now_ms(), error_ms=error_ms, synced=False, boot=True))
    trial.system.start_gateway()
    trial.wait_until_polled()


def _end(trial: Trial) -> Result:
    found = trial.end()
    known = trial.house.corrections()
    return trial.also(found, corrections=known, why="" if known else "no correction is in the record")
