"""The place of a scan follows the rule, said in the plainest way, and costs little at the limits of a pack."""

from __future__ import annotations

from collections import Counter
from time import process_time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.telemetry.place import Place, places
from tests.cloud.field import Gateway, reading, scan
from wire.pack import ENTRIES_MAX, OBSERVATIONS_MAX, CarriedFrom, Loss, Pack, check

OWN, FIRST, SECOND = b"n" * 16, b"a" * 16, b"z" * 16
SEQ = 9
READINGS, SCANS = 2, 8
COUNT = READINGS + SCANS
LIMIT_S = 5  # it takes a fraction of a second; looking at each range for each scan took twelve minutes


def carrying(readings: int, scans: int, copies: list[CarriedFrom], losses: list[Loss]) -> Pack:
    observed = [reading(at_s=at) for at in range(readings)] + [scan("CODE")] * scans
    pack = Gateway("gw-kho-01").pack(SEQ, observed, losses=losses)
    pack = msgspec.structs.replace(pack, stream=OWN, carried_from=copies)
    check(pack)
    return pack


def origin(stream: bytes, seq: int, first: int, end: int) -> CarriedFrom:
    return CarriedFrom(stream, seq, bytes(32), first, end - first)


def loss(stream: bytes, first: int, last: int | None) -> Loss:
    return Loss(stream, first, last, None, "thinned", "full")


streams = st.sampled_from([OWN, FIRST, SECOND])
seqs = st.integers(1, SEQ - 1)
origins = st.builds(
    lambda stream, seq, first, more: origin(stream, seq, first, min(COUNT, first + more)),
    streams,
    seqs,
    st.integers(0, COUNT - 1),
    st.integers(1, COUNT),
)
declared = st.one_of(
    st.builds(lambda stream, first, more: loss(stream, first, min(SEQ - 1, first + more)), streams, seqs, seqs),
    st.builds(lambda stream, first: loss(stream, first, None), st.sampled_from([FIRST, SECOND]), seqs),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(origins, max_size=8), st.lists(declared, max_size=6))
def test_a_scan_stands_at_the_lowest_number_of_a_stream_all_of_whose_numbers_here_are_declared(
    copies: list[CarriedFrom], losses: list[Loss]
) -> None:
    def is_gone(one: CarriedFrom) -> bool:
        here = [lost for lost in losses if lost.stream == one.stream and lost.first_seq <= one.seq]
        return any(lost.last_seq is None or one.seq <= lost.last_seq for lost in here)

    expected, taken = [], Counter[tuple[bytes, int]]()
    for ordinal in range(READINGS, COUNT):
        around = [one for one in copies if one.first_ordinal <= ordinal < one.first_ordinal + one.count]
        kept = {one.stream for one in around if not is_gone(one)}
        moved = [(one.stream == OWN, one.stream, one.seq) for one in around if one.stream not in kept]
        number = min(moved)[1:] if moved else (OWN, SEQ)
        expected.append(Place(*number, taken[number]))
        taken[number] += 1
    assert places(carrying(READINGS, SCANS, copies, losses)) == expected


def distinct(at: int) -> bytes:
    return at.to_bytes(16)


@pytest.mark.parametrize("shape", ["all over", "nested", "one stream", "undeclared in turn"])
def test_a_pack_at_the_limits_costs_little(shape: str) -> None:
    """Ingest does this while nobody else can write."""
    several = range(ENTRIES_MAX)
    losses = [loss(distinct(at), 1, None) for at in several]
    if shape == "all over":
        copies = [origin(distinct(at), 1, 0, OBSERVATIONS_MAX) for at in several]
    elif shape == "nested":
        copies = [origin(distinct(at), 1, at, OBSERVATIONS_MAX - at) for at in several]
    elif shape == "one stream":
        copies = [origin(FIRST, 2 * at + 1, at, OBSERVATIONS_MAX - at) for at in several]
        losses = [loss(FIRST, 2 * at + 1, 2 * at + 1) for at in several]
    else:
        half = [origin(distinct(at), 1, 0, OBSERVATIONS_MAX) for at in several if at % 2]
        copies = half + [origin(distinct(at), 2**62, 10 * at, 10 * at + 5) for at in several if not at % 2]
        losses = [loss(distinct(at), 1, 2) for at in several]
    pack = carrying(0, OBSERVATIONS_MAX, copies, losses)
    began_s = process_time()
    found = places(pack)
    assert process_time() - began_s < LIMIT_S
    assert len(found) == OBSERVATIONS_MAX
