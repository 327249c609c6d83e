from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.buffer.base import ObservationRefused, SealOptions
from edge.buffer.seal import Chain, admit, pack_group, seal_all, split, unpack_group
from tests.edge.buffer.material import BOOT, identity, reading, scan, stamp
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.observation import CODE_MAX_BYTES, ClockState, Observation, Quality, Reading, Scan, Stamp
from wire.pack import SERIES_MAX, Loss, StreamHead, observations, unseal

CHAIN = Chain(bytes(16), 0, None)
WHO = identity()

stamps = st.builds(
    Stamp,
    st.integers(0, 10**13),
    st.integers(0, 10**10),
    st.sampled_from([BOOT, bytes(16)]),
    st.sampled_from(list(ClockState)),
)
some_readings = st.builds(
    Reading,
    st.sampled_from(["room-1/air", "room-1/rh", "truck/air"]),
    st.sampled_from(["CEL", "P1"]),
    st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    st.integers(-9, 9),
    stamps,
    st.sampled_from(list(Quality)),
)
some_scans = st.builds(Scan, st.just("s/scan"), st.text("abc\x1d]é漢", max_size=40), st.just("C1"), stamps)


def seal(them: list[Observation], options: SealOptions | None = None, losses: list[Loss] | None = None) -> list[list]:  # type: ignore[type-arg]
    sealed = seal_all(them, CHAIN, stamp(9), identity=WHO, options=options or SealOptions(), losses=losses or [])
    return [[one, unseal(one.envelope)[1]] for one in sealed]


@settings(max_examples=60, deadline=None)
@given(st.lists(some_readings | some_scans, max_size=60), st.integers(1, 20))
def test_every_admitted_observation_is_sealed_once_whatever_the_clocks_did(
    them: list[Observation], at_most: int
) -> None:
    options = SealOptions(max_readings=at_most)
    admitted = admit(them, options)
    assert unpack_group(pack_group(admitted)) == them
    packs = [pack for _, pack in seal(admitted, options)]
    assert Counter(o for pack in packs for _, o in observations(pack)) == Counter(them)
    assert [pack.seq for pack in packs] == list(range(1, len(packs) + 1))
    assert all(pack.count <= at_most for pack in packs)
    assert [s for pack in packs for s in pack.scans] == [o for o in them if isinstance(o, Scan)]


def test_thousands_of_series_are_split_at_the_series_limit() -> None:
    them = [reading(n, channel=f"dev-{n}/air") for n in range(2 * SERIES_MAX + 5)]
    packs = [pack for _, pack in seal(list(them), SealOptions(max_readings=10_000, max_bytes=192 * 1024))]
    assert max(len(pack.blocks) for pack in packs) <= SERIES_MAX
    assert sum(pack.count for pack in packs) == len(them)


def test_long_codes_are_split_by_size_and_stay_far_below_the_envelope_limit() -> None:
    them: list[Observation] = [Scan("s/scan", f"{n:04}" * (CODE_MAX_BYTES // 4), "Q3", stamp(n)) for n in range(64)]
    packs = seal(admit(them, SealOptions()))
    assert len(packs) >= 4
    assert all(len(one.envelope) < ENVELOPE_MAX_BYTES for one, _ in packs)
    assert [s for _, pack in packs for s in pack.scans] == them


def test_losses_ride_in_the_first_pack_alone_and_make_one_when_nothing_is_open() -> None:
    loss = Loss(b"\x07" * 16, 1, 3, None, "lost", "gone")
    first, second = seal([reading(1), reading(2)], SealOptions(max_readings=1), [loss])
    assert (first[1].losses, second[1].losses) == ([loss], [])
    (alone,) = seal([], losses=[loss])
    assert alone[1].losses == [loss]
    assert alone[0].from_ms is None
    assert seal([]) == []


def test_the_predecessor_is_named_by_the_first_pack_of_a_stream_only() -> None:
    before = StreamHead(b"\x07" * 16, 4, bytes(32))
    chain = Chain(bytes(16), 0, None, before)
    first, second = seal_all(
        [reading(1), reading(2)], chain, stamp(3), identity=WHO, options=SealOptions(max_readings=1)
    )
    assert unseal(first.envelope)[1].predecessor == before
    assert unseal(second.envelope)[1].predecessor is None


@pytest.mark.parametrize(
    "bad",
    [
        reading(1, channel="no-point"),
        msgspec.structs.replace(reading(1), mantissa=2**63),
        msgspec.structs.replace(reading(1), mantissa=21.5),
        msgspec.structs.replace(reading(1), mantissa="21"),
        msgspec.structs.replace(reading(1), exponent=-10),
        msgspec.structs.replace(reading(1), unit="°C"),
        msgspec.structs.replace(reading(1), stamp=stamp(-1)),
        msgspec.structs.replace(reading(1), stamp=stamp(1, boot=b"short")),
        msgspec.structs.replace(reading(1), quality=99),
        msgspec.structs.replace(scan(1), code="x" * (CODE_MAX_BYTES + 1)),
        msgspec.structs.replace(scan(1), code="\ud800"),
        msgspec.structs.replace(scan(1), count=0),
    ],
    ids=lambda bad: f"{type(bad).__name__}",
)
def test_what_could_never_be_sealed_is_refused_at_the_door(bad: Observation) -> None:
    with pytest.raises(ObservationRefused, match="never be sealed"):
        admit([reading(1), bad], SealOptions())


def test_a_flipped_bit_in_a_group_is_found() -> None:
    data = bytearray(pack_group([reading(n) for n in range(50)]))
    for at in range(len(data)):
        data[at] ^= 0x10
        try:
            assert unpack_group(bytes(data)) == [reading(n) for n in range(50)]  # zlib's own header has spare bits
        except ValueError:
            pass
        data[at] ^= 0x10


def test_split_of_nothing_is_nothing() -> None:
    assert list(split([], SealOptions())) == []
