"""The broker fails: stopped, killed with what it had promised, come back with nothing."""

from __future__ import annotations

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial

AWAY_S = 20.0


def stopped(bench: Bench) -> Result:
    """The broker is stopped in order, and started again after 20 s."""
    away_s = bench.pick(AWAY_S, 10.0)
    with Trial(bench) as trial:
        trial.say(f"broker stopped for {away_s:.0f} s")
        trial.broker_away()
        trial.run_for(away_s)
        back_ms = trial.broker_back()
        return trial.end(resume_s=trial.resume_s(back_ms), away_s=away_s)


def killed(bench: Bench) -> Result:
    """kill -9 while its queue is full of letters that it has acknowledged and not handed on."""
    with Trial(bench) as trial:
        with trial.storing_asleep():
            trial.say("what stores is asleep; the broker queues and acknowledges")
            trial.run_for(bench.pick(10.0, 6.0))
            trial.say("broker killed with its queue")
            trial.broker_away(kill=True)
        trial.run_for(2.0)
        back_ms = trial.broker_back()
        return trial.end(resume_s=trial.resume_s(back_ms))


def emptied(bench: Bench) -> Result:
    """Stopped and started without anything it had: no sessions, no subscriptions, no queue, no retained letters."""
    with Trial(bench) as trial:
        trial.say("broker stopped, its database removed")
        trial.broker_away()
        trial.empty_broker()
        trial.run_for(bench.pick(5.0, 2.0))
        back_ms = trial.broker_back()
        return trial.end(resume_s=trial.resume_s(back_ms))
