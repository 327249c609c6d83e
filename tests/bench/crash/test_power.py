"""What all cuts of recorded lives share."""

from __future__ import annotations

import random
from pathlib import Path

from bench.crash.power import cut, lives
from bench.crash.trace import Step

POINTS = 60


class Life:
    """A life that only says something, over and over. wrong: what a look at it finds; dies: it never goes on."""

    def __init__(self, root: Path, *, wrong: tuple[str, ...] = (), dies: bool = False) -> None:
        self.root = root
        self.said = list(self._say(0))
        self.seen: list[int] = []
        self._wrong, self._dies = wrong, dies

    def see(self, step: Step) -> None:
        self.seen.append(step.note)

    def look(self) -> list[str]:
        return list(self._wrong)

    def live_on(self, _content: dict[str, bytes], _rng: random.Random) -> list[Step]:
        if self._dies:
            raise OSError("no")
        return self._say(self.seen[-1])

    @staticmethod
    def _say(after: int) -> list[Step]:
        return [Step("said", note=after + at) for at in range(1, 6)]

    def cut(self, seed: int) -> tuple[str, list[str]]:
        return cut(self, self.said, {}, random.Random(seed), near=("said",))


def test_points_fall_into_the_lives_that_they_share() -> None:
    assert list(lives(38, 5, 40)) == [(0, range(38, 40)), (1, range(40, 43))]
    assert list(lives(3, 2, 40)) == [(0, range(3, 5))]


def test_life_goes_on_from_what_was_seen_before_the_cut(tmp_path: Path) -> None:
    cuts = []
    for seed in range(POINTS):
        life = Life(tmp_path)
        plan, problems = life.cut(seed)
        assert life.seen == list(range(1, len(life.seen) + 1)), "nothing behind a cut was seen"
        assert problems == []
        cuts.append(plan.count("cut after"))
    assert min(cuts) == 1
    assert max(cuts) > 2


def test_broken_promise_ends_a_life(tmp_path: Path) -> None:
    for seed in range(POINTS):
        plan, problems = Life(tmp_path, wrong=("a pack is gone",)).cut(seed)
        assert (plan.count("cut after"), problems) == (1, ["a pack is gone"])


def test_life_that_does_not_go_on_is_a_problem(tmp_path: Path) -> None:
    found = {tuple(Life(tmp_path, dies=True).cut(seed)[1]) for seed in range(POINTS)}
    assert found == {(), ("it does not live on: OSError('no')",)}
