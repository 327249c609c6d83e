"""Another client with our name is told from a network or a broker that fails."""

from __future__ import annotations

from cloud.ingest.rival import CUT_SHORT_MAX, SHORT_S, Rival


def _cut(rival: Rival, times: int, *, lived_s: float = 0.5) -> list[bool]:
    verdicts = []
    for at in range(times):
        rival.connected(100.0 * at)
        verdicts.append(rival.ended(100.0 * at + lived_s))
    return verdicts


def test_connections_cut_short_in_a_row_mean_a_rival():
    rival = Rival()
    assert _cut(rival, CUT_SHORT_MAX + 1) == [False] * (CUT_SHORT_MAX - 1) + [True, True]
    assert _cut(rival, 1, lived_s=SHORT_S) == [False]
    assert _cut(rival, 1) == [False]


def test_broker_that_was_away_meanwhile_is_no_rival():
    rival = Rival()
    _cut(rival, CUT_SHORT_MAX - 1)
    rival.unreachable()
    assert _cut(rival, 1) == [False]


def test_refused_connection_is_not_counted():
    rival = Rival()
    assert not any(rival.ended(float(at)) for at in range(2 * CUT_SHORT_MAX))
