"""A link is dead when the broker's own answers stay away, not when it is slow."""

from __future__ import annotations

import random

from edge.uplink.pulse import SLOWEST_BYTES_PER_S, Pulse

PATIENCE_S = 4.0


def test_an_idle_link_is_asked_and_then_given_up_within_two_patiences() -> None:
    pulse = Pulse(PATIENCE_S, 100.0)
    assert pulse.look(103.9) == (False, False, pulse.look(103.9).again_in_s)
    assert pulse.look(104.0).ask
    pulse.owe(1, 0, 104.0)
    assert not pulse.look(107.9).dead
    assert pulse.look(108.0).dead


def test_an_answer_to_the_question_starts_the_quiet_anew() -> None:
    pulse = Pulse(PATIENCE_S, 0.0)
    pulse.owe(1, 0, 4.0)
    pulse.answered(1, 4.2)
    assert not pulse.look(8.1).ask
    assert pulse.look(8.2).ask


def test_a_busy_link_is_given_up_as_soon_although_more_and_more_is_sent() -> None:
    pulse = Pulse(PATIENCE_S, 0.0)
    now_s = 0.0
    while not pulse.look(now_s).dead:
        pulse.owe(int(now_s * 10), 500, now_s)
        now_s += 0.1
    assert 2 * PATIENCE_S <= now_s <= 2 * PATIENCE_S + 0.3


def test_what_is_sent_after_a_long_quiet_gets_its_time() -> None:
    pulse = Pulse(PATIENCE_S, 0.0)
    pulse.owe(1, 0, 7.0)
    assert not pulse.look(10.9).dead
    assert pulse.look(11.0).dead


def test_a_slow_line_with_a_large_pack_is_not_dead() -> None:
    rng = random.Random(7)
    pulse, now_s = Pulse(PATIENCE_S, 0.0), 0.0
    sizes = [rng.randrange(1_000, 190_000) for _ in range(50)]
    for at, size in enumerate(sizes):
        pulse.owe(at, size, now_s)
    assert pulse.unanswered_bytes == sum(sizes)
    for at, size in enumerate(sizes):
        took_s = size / SLOWEST_BYTES_PER_S
        assert not pulse.look(now_s + took_s - 0.001).dead
        now_s += took_s
        pulse.answered(at, now_s)
    assert pulse.unanswered_bytes == 0


def test_letters_alone_do_not_excuse_a_question_without_answer_for_ever() -> None:
    """The way up is deaf, and the way down still brings something now and then."""
    pulse = Pulse(PATIENCE_S, 0.0)
    pulse.owe(1, 0, 0.0)
    for now_s in range(1, 100):
        pulse.heard(float(now_s))
        if pulse.look(float(now_s)).dead:
            break
    assert now_s == 8
