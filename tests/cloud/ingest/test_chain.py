"""The chain is checked link by link, whichever end comes first; a mismatch is a finding, never a refusal."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading
from cloud.ingest import finding
from cloud.ingest.chain import linked_through
from cloud.ingest.record import Arrival, record
from tests.cloud.field import START_MS, Gateway
from wire.envelope import envelope_hash
from wire.pack import Loss, Pack, StreamHead


def _arrive(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    outcome = record(engine, [Arrival(gateway.topic, one, START_MS) for one in envelopes])
    assert outcome.accepted == len(envelopes)


def _through(engine: Engine, gateway: Gateway) -> int:
    with reading(engine) as conn:
        return linked_through(conn, gateway.name, gateway.stream)


def _found(engine: Engine) -> list[tuple[str, int]]:
    with reading(engine) as conn:
        return sorted((one.finding.kind, one.finding.seq) for one in finding.newest(conn, 100))


def _next(gateway: Gateway, seq: int, prev: bytes, **more: object) -> Pack:
    return msgspec.structs.replace(gateway.pack(seq, prev=envelope_hash(prev)), **more)


def test_chain_is_linked_as_far_as_nothing_is_missing(engine: Engine, gateway: Gateway):
    chain = gateway.chain(6)
    _arrive(engine, gateway, chain[5], chain[4])
    assert _through(engine, gateway) == 0
    _arrive(engine, gateway, chain[0], chain[1])
    assert _through(engine, gateway) == 2
    _arrive(engine, gateway, chain[3])
    _arrive(engine, gateway, chain[2])
    assert _through(engine, gateway) == 6
    assert _found(engine) == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_broken_link_is_found_in_every_order(engine: Engine, gateway: Gateway, order: tuple[int, ...]):
    chain = gateway.chain(2)
    third = gateway.seal(gateway.pack(3, prev=b"x" * 32))
    packs = [*chain, third, gateway.seal(_next(gateway, 4, third))]
    for at in order:
        _arrive(engine, gateway, packs[at])
    assert _found(engine) == [(finding.CHAIN_BROKEN, 3)]
    assert _through(engine, gateway) == 2


def test_broken_link_is_found_within_one_group(engine: Engine, gateway: Gateway):
    first = gateway.envelope(1)
    _arrive(engine, gateway, gateway.seal(gateway.pack(2, prev=b"x" * 32)), first)
    assert _found(engine) == [(finding.CHAIN_BROKEN, 2)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_chain_is_checked_across_a_loss(engine: Engine, gateway: Gateway, order: tuple[int, ...]):
    chain = gateway.chain(4)
    loss = Loss(gateway.stream, 2, 4, envelope_hash(chain[3]), "lost", "disk full")
    fifth = gateway.seal(_next(gateway, 5, chain[3]))
    packs = [chain[0], fifth, gateway.seal(_next(gateway, 6, fifth, losses=[loss]))]
    for at in order:
        _arrive(engine, gateway, packs[at])
    assert _found(engine) == []
    assert _through(engine, gateway) == 6


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_pack_behind_a_loss_must_hang_on_the_declared_hash(engine: Engine, gateway: Gateway, order: tuple[int, ...]):
    loss = Loss(gateway.stream, 2, 4, b"h" * 32, "lost", "disk full")
    fifth = gateway.seal(gateway.pack(5, prev=b"x" * 32))
    packs = [gateway.envelope(1), fifth, gateway.seal(_next(gateway, 6, fifth, losses=[loss]))]
    for at in order:
        _arrive(engine, gateway, packs[at])
    assert _found(engine) == [(finding.CHAIN_BROKEN, 5)]
    assert _through(engine, gateway) == 4


def test_loss_without_a_hash_ends_what_is_known(engine: Engine, gateway: Gateway):
    loss = Loss(gateway.stream, 2, 3, None, "lost", "left the archive")
    fourth = gateway.envelope(4)
    _arrive(engine, gateway, gateway.envelope(1), fourth, gateway.seal(_next(gateway, 5, fourth, losses=[loss])))
    assert _through(engine, gateway) == 3
    assert _found(engine) == []


def test_loss_with_unknown_end_links_no_more_than_there_is(engine: Engine, gateway: Gateway):
    other = Gateway(gateway.name)
    other.stream = b"t" * 16
    loss = Loss(gateway.stream, 4, None, None, "lost", "file damaged")
    _arrive(engine, gateway, *gateway.chain(3), other.seal(other.pack(1, losses=[loss])))
    assert _through(engine, gateway) == 3


@pytest.mark.parametrize("late", [False, True])
def test_lost_pack_that_comes_with_another_hash_is_found(engine: Engine, gateway: Gateway, late: bool):
    loss = Loss(gateway.stream, 1, 1, b"h" * 32, "lost", "disk full")
    first = gateway.envelope(1)
    packs = [first, gateway.seal(_next(gateway, 2, first, losses=[loss]))]
    for one in reversed(packs) if late else packs:
        _arrive(engine, gateway, one)
    assert _found(engine) == [(finding.CHAIN_BROKEN, 2), (finding.HASH_DIFFERS, 1)]


@pytest.mark.parametrize("late", [False, True])
def test_copy_that_goes_on_from_another_head_is_found(engine: Engine, gateway: Gateway, late: bool):
    chain = gateway.chain(3)
    copy = Gateway(gateway.name, seed=1)
    copy.stream = b"t" * 16
    head = StreamHead(gateway.stream, 2, b"h" * 32)
    other = copy.seal(msgspec.structs.replace(copy.pack(1), predecessor=head))
    for one in [other, *chain] if late else [*chain, other]:
        _arrive(engine, gateway, one)
    assert _found(engine) == [(finding.TWO_COPIES, 2)]
    assert _through(engine, gateway) == 3, "what the original sealed after its copy was made hangs on its own packs"


def test_streams_that_name_each_other_as_predecessors_hang_nobody_up(engine: Engine, gateway: Gateway):
    other = Gateway(gateway.name)
    other.stream = b"t" * 16
    for one, prior in ((gateway, other), (other, gateway)):
        head = StreamHead(prior.stream, 1, b"h" * 32)
        _arrive(engine, gateway, one.seal(msgspec.structs.replace(one.pack(1), predecessor=head)))
    assert _found(engine) == [(finding.TWO_COPIES, 1), (finding.TWO_COPIES, 1)]
    assert _through(engine, gateway) == _through(engine, other) == 1


def test_finding_is_kept_once_and_logged_once(engine: Engine, gateway: Gateway, caplog: pytest.LogCaptureFixture):
    packs = [gateway.envelope(1), gateway.seal(gateway.pack(2, prev=b"x" * 32))]
    _arrive(engine, gateway, *packs)
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in packs])
    _arrive(engine, gateway, gateway.envelope(3))
    assert len([one for one in caplog.records if "seq=2" in one.getMessage()]) == 1
    assert _found(engine) == [(finding.CHAIN_BROKEN, 2), (finding.CHAIN_BROKEN, 3)]


def test_absurd_ranges_cost_nothing(engine: Engine, gateway: Gateway):
    other = b"o" * 16
    losses = [Loss(other, 1, 2**63 - 1, b"h" * 32, "lost", f"{at}") for at in range(1000)]
    _arrive(engine, gateway, gateway.seal(gateway.pack(1, losses=losses)))
    with reading(engine) as conn:
        assert linked_through(conn, gateway.name, other) == 2**63 - 1
    assert _found(engine) == []


@pytest.mark.parametrize("backwards", [False, True])
def test_stream_that_breaks_at_every_pack_is_told_once_and_bounded(
    engine: Engine, gateway: Gateway, caplog: pytest.LogCaptureFixture, backwards: bool
):
    seqs = list(range(1, finding.KEPT_MAX + 40))
    packs = [gateway.seal(gateway.pack(seq, prev=b"x" * 32 if seq > 1 else None)) for seq in seqs]
    for at in range(0, len(packs), 30):
        _arrive(engine, gateway, *(packs[::-1] if backwards else packs)[at : at + 30])
    with reading(engine) as conn:
        kept = sorted(one.finding.seq for one in finding.newest(conn, 1000))
    assert kept == list(range(2, finding.KEPT_MAX + 2))
    assert [one.levelname for one in caplog.records if "chain_broken" in one.message] == ["ERROR"]


def test_ever_new_broken_streams_do_not_fill_the_log(
    engine: Engine, gateway: Gateway, caplog: pytest.LogCaptureFixture
):
    for at in range(finding.STREAMS_LOGGED + 9):
        gateway.stream = bytes([at]) * 16
        _arrive(engine, gateway, gateway.envelope(1), gateway.seal(gateway.pack(2, prev=b"x" * 32)))
    assert len(_found(engine)) == finding.STREAMS_LOGGED + 9
    assert len([one for one in caplog.records if "chain_broken" in one.message]) == finding.STREAMS_LOGGED
