"""The gateway's link fails: it swallows in silence, it flaps."""

from __future__ import annotations

import time

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial

FLAP_S = 5.0
NOTICED_S = 10.0  # within which a silent link must be noticed: not later than that is it left


def swallowing(bench: Bench) -> Result:
    """Everything vanishes for 30 s and no socket is closed: a dead modem. Then the old connection is reset."""
    silent_s = bench.pick(30.0, 15.0)
    with Trial(bench) as trial:
        trial.say(f"link silent for {silent_s:.0f} s")
        trial.line.swallow()
        trial.run_for(silent_s)
        trial.line.heal()
        trial.line.reset()
        healed_ms = time.time_ns() // 1_000_000
        return trial.end(resume_s=trial.resume_s(healed_ms), resume_at_most_s=NOTICED_S, silent_s=silent_s)


def flapping(bench: Bench) -> Result:
    """Away 5 s, there 5 s, and so on; by turns refused, and silent."""
    lasts_s = bench.pick(300.0, 40.0)
    with Trial(bench) as trial:
        trial.say(f"link flapping every {FLAP_S:.0f} s for {lasts_s:.0f} s")
        for turn in range(int(lasts_s / (2 * FLAP_S))):
            if turn % 2:
                trial.line.swallow()
            else:
                trial.line.refuse()
            trial.run_for(FLAP_S)
            if turn % 2:
                trial.line.heal()
                trial.line.reset()
            else:
                trial.line.admit()
            trial.run_for(FLAP_S)
        return trial.end(lasts_s=lasts_s)
