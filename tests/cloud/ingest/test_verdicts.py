"""The table of verdicts holds for whatever comes, in whatever order and groups.

nothing stored under the number      accepted
the same bytes stored                duplicate
other bytes stored                   conflict
not acceptable by itself             quarantined, and nothing about the number changes
"""

from __future__ import annotations

import itertools
from collections import Counter
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from cloud.db.engine import reading, writing
from cloud.db.tables import conflict, pack
from cloud.ingest import receipts
from cloud.ingest.accept import Accepted, Candidate, Conflict, Duplicate, Quarantined, Verdict, examine, judge
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import GatewayKey, add_gateway
from tests.cloud.field import START_MS, Gateway
from tests.cloud.field import reading as measured

SEQS, VERSIONS = 4, 3
BROKEN = 0  # the version that is spoiled on the way

OURS = Gateway("gw-kho-01")

#: What comes, as (seq, version): a gateway makes one version of a number, two copies of its buffer may make two.
LETTERS = st.lists(st.tuples(st.integers(1, SEQS), st.integers(BROKEN, VERSIONS)), min_size=1, max_size=20)


@lru_cache
def _envelope(gateway: Gateway, seq: int, version: int) -> bytes:
    good = gateway.envelope(seq, [measured(at_s=60 * seq, mantissa=100 * version)])
    return good[:-1] + bytes([good[-1] ^ 1]) if version == BROKEN else good


def _expected(letters: list[tuple[int, int]]) -> list[type[Verdict]]:
    first: dict[int, int] = {}
    found: list[type[Verdict]] = []
    for seq, version in letters:
        if version == BROKEN:
            found.append(Quarantined)
            continue
        found.append(Accepted if seq not in first else Duplicate if first[seq] == version else Conflict)
        first.setdefault(seq, version)
    return found


@given(LETTERS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_verdicts_follow_from_the_letter_and_what_is_stored_alone(letters: list[tuple[int, int]]) -> None:
    gateway = OURS
    keys = [GatewayKey(gateway.kid, gateway.key.public_key().public_bytes_raw())]
    stored: dict[tuple[str, bytes, int], bytes] = {}
    found: list[type[Verdict]] = []
    for seq, version in letters:
        one = examine(gateway.topic, _envelope(gateway, seq, version), keys=keys, received_ms=START_MS)
        verdict = judge(one, stored.get(one.identity)) if isinstance(one, Candidate) else one
        if isinstance(verdict, Accepted):
            stored[verdict.candidate.identity] = verdict.candidate.hash
        found.append(type(verdict))
    assert found == _expected(letters)


_names = itertools.count(1)


@given(letters=LETTERS, cuts=st.lists(st.integers(1, 7), min_size=20, max_size=20))
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_record_is_the_same_however_it_is_grouped(
    engine: Engine, letters: list[tuple[int, int]], cuts: list[int]
) -> None:
    gateway = Gateway(f"gw-{next(_names)}")
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    arrivals = [Arrival(gateway.topic, _envelope(gateway, *one), START_MS) for one in letters]
    counted: Counter[type[Verdict]] = Counter()
    for size in cuts:
        group, arrivals = arrivals[:size], arrivals[size:]
        outcome = record(engine, group)
        counted[Accepted] += outcome.accepted
        counted[Duplicate] += outcome.duplicates
        counted[Conflict] += outcome.conflicts
        counted[Quarantined] += outcome.quarantined
        if not arrivals:
            break
    assert +counted == Counter(_expected(letters))
    first: dict[int, bytes] = {}
    for seq, version in letters:
        if version != BROKEN:
            first.setdefault(seq, _envelope(gateway, seq, version))
    with reading(engine) as conn:
        kept = conn.execute(select(pack.c.seq, pack.c.envelope, pack.c.id).where(pack.c.gateway == gateway.name)).all()
        others = set(conn.scalars(select(conflict.c.envelope).where(conflict.c.pack_id.in_([row.id for row in kept]))))
        receipt = receipts.build(conn, gateway.name, gateway.stream, issued_at_ms=START_MS)
    assert {row.seq: row.envelope for row in kept} == first
    assert others == {_envelope(gateway, *one) for one in letters if one[1] != BROKEN} - set(first.values())
    assert {seq for seq in range(1, SEQS + 1) if receipt.settles(seq)} == set(first)


@pytest.mark.parametrize("kind", [Accepted, Duplicate, Conflict, Quarantined])
def test_every_verdict_is_in_the_table(kind: type[Verdict]) -> None:
    assert kind in _expected([(1, BROKEN), (1, 1), (1, 1), (1, 2)])
