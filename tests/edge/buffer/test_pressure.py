"""Disk pressure: what gives way, in what order, and that nothing of it is silent."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.buffer.base import MIN_MAX_BYTES, BufferFull, BufferOptions, SealedPack, SealOptions
from edge.buffer.sqlite import SqliteBuffer
from edge.limits import Limit, Limits
from tests.edge.buffer.history import CountingCloud, at_minute, minute_reading, minute_scan, pass_hours, relieve
from tests.edge.buffer.material import BOOT, QUICK, everything, make, open_pack, receipt, stamp
from wire.observation import Observation, Reading, Scan
from wire.pack import Correction, Pack

LIMITS = Limits([Limit("room-0/air", above=6.5)])
SMALL = BufferOptions(commit_window_ms=1, max_bytes=MIN_MAX_BYTES, min_free_bytes=0)
OFFLINE = SealOptions(max_readings=500)


async def all_packs(buffer: SqliteBuffer) -> list[SealedPack]:
    """Every pack that is here, in the order of its seq."""
    state = buffer.state()
    names = await buffer.held(state.stream, [(1, state.head_seq)], limit=100_000)
    return await buffer.fetch(names)


def sealed_counts(cloud: CountingCloud) -> Counter[str]:
    """Readings per channel that are kept or declared left out."""
    counts: Counter[str] = Counter(each.channel for each in cloud.contents().elements() if isinstance(each, Reading))
    for loss in cloud.losses():
        counts.update(dict(loss.counts))
    return counts


async def test_nothing_gives_way_in_silence(tmp_path: Path) -> None:
    async with make(tmp_path, limits=LIMITS) as buffer:
        await pass_hours(buffer, 3, scans=[7, 100])
        before = CountingCloud(await everything(buffer)).contents()
        size = buffer.state().unsent_bytes
        assert await relieve(buffer)
        packs = await everything(buffer)
        state = buffer.state()
    cloud = CountingCloud(packs)
    after = cloud.contents()
    assert after - before == Counter()
    assert {each for each in before if isinstance(each, Scan)} <= set(after)
    hot = {each for each in before if isinstance(each, Reading) and each.channel == "room-0/air" and each.mantissa > 65}
    assert hot
    assert hot <= set(after)
    assert state.unsent_bytes < size
    assert state.thinned_readings == (before - after).total() > 200
    assert state.lost_packs == 0
    (loss,) = cloud.losses()
    assert (loss.kind, loss.first_seq, loss.last_seq) == ("thinned", 1, 32)
    assert cloud.seqs(state.stream) == Counter(range(1, state.head_seq + 1))
    assert cloud.chain_breaks(state.stream) == cloud.unlinked(state.stream) == []
    thinned = [pack for _, pack in cloud.packs.values() if pack.losses]
    assert all(block.thinned for pack in thinned for block in pack.blocks)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from(["thin", "seal", "settle", "again", "scan"])), max_size=25),
    st.integers(0, 2**32),
)
async def test_every_seq_is_delivered_or_declared_and_counts_add_up(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[int, str]], seed: int
) -> None:
    """The cloud gets any of the packs before they give way, receipts or not, and the rest in any order."""
    rng = random.Random(seed)
    sealed: Counter[Observation] = Counter()
    delivered: dict[tuple[bytes, int], SealedPack] = {}
    folder = tmp_path_factory.mktemp("pressure")
    minute = 0
    buffer = make(folder, options=QUICK, seal_options=SealOptions(max_readings=15), limits=LIMITS)
    await buffer.__aenter__()
    try:
        for minutes, what in [*script, (30, "seal"), (1, "thin"), (1, "thin")]:
            group: list[Observation] = []
            for _ in range(minutes):
                minute += 1 if rng.random() < 0.95 else 30
                group += [minute_reading(minute, rng.randrange(30, 80), f"room-{c}/air") for c in range(2)]
            if what == "scan":
                group.append(minute_scan(minute))
            sealed.update(group)
            await buffer.append(group)
            await buffer.seal(at_minute(minute))
            if what == "thin":
                await relieve(buffer)
            elif what == "settle":
                for pack in await buffer.unsent(newest_first=rng.random() < 0.5, limit=rng.randrange(5)):
                    delivered[pack.name] = pack  # … and some of the receipts are lost
                    if rng.random() < 0.5:
                        await buffer.settle(receipt(pack.stream, 0, (pack.seq, pack.seq)))
            elif what == "again":
                await buffer.__aexit__(None, None, None)
                buffer = make(folder, options=QUICK, seal_options=SealOptions(max_readings=15), limits=LIMITS)
                await buffer.__aenter__()
        delivered |= {pack.name: pack for pack in await everything(buffer)}
        state = buffer.state()
    finally:
        await buffer.__aexit__(None, None, None)
    packs = list(delivered.values())
    rng.shuffle(packs)
    cloud = CountingCloud(packs)
    found = cloud.contents()
    assert found - sealed == Counter()  # nothing doubled, nothing invented
    missing = sealed - found
    assert not any(isinstance(each, Scan) for each in missing)
    hot = [each for each in missing if each.channel == "room-0/air" and each.mantissa > 65]
    assert not hot or state.lost_packs
    assert missing.total() <= state.thinned_readings
    assert set(cloud.seqs(state.stream)) == set(range(1, state.head_seq + 1))
    assert cloud.chain_breaks(state.stream) == []


def _declares_its_origins(pack: Pack) -> bool:
    """Whether scans travel with the losses of all numbers they ever had."""
    gone = {seq for loss in pack.losses for seq in range(loss.first_seq, (loss.last_seq or 0) + 1)}
    first_scan = pack.count - len(pack.scans)
    return all(one.seq in gone for one in pack.carried_from if one.first_ordinal + one.count > first_scan)


async def test_counts_add_up_exactly_through_thinning_and_loss(tmp_path: Path) -> None:
    async with make(tmp_path, limits=LIMITS) as buffer:
        await pass_hours(buffer, 12, scans=range(3, 700, 50))
        sealed = CountingCloud(await everything(buffer)).contents()
        told = Counter(each.channel for each in sealed.elements() if isinstance(each, Reading))
        steps = 0
        while await relieve(buffer):
            steps += 1
            assert steps < 200
            state = buffer.state()
            cloud = CountingCloud(await all_packs(buffer))
            assert sealed_counts(cloud) == told
            assert (sealed - cloud.contents()).total() == state.thinned_readings
            assert cloud.seqs(state.stream) == Counter(range(1, state.head_seq + 1))
            assert cloud.chain_breaks(state.stream) == cloud.unlinked(state.stream) == []
            assert all(_declares_its_origins(pack) for _, pack in cloud.packs.values())
        scans = [each for each in sealed if isinstance(each, Scan)]
        assert Counter(scans) == cloud.contents()
        assert {loss.kind for loss in cloud.losses()} == {"lost"}
        assert state.lost_packs > 0


async def test_an_excursion_survives_until_everything_is_thinned(tmp_path: Path) -> None:
    """Thinning goes through the whole history before anything is declared lost."""
    async with make(tmp_path, limits=LIMITS) as buffer:
        await pass_hours(buffer, 12)
        while await relieve(buffer):
            kinds = [loss.kind for loss in CountingCloud(await all_packs(buffer)).losses()]
            if "lost" in kinds:
                break
        packs = [open_pack(pack) for pack in await all_packs(buffer)]
        left = [block for pack in packs for block in pack.blocks if not block.thinned]
        assert sum(len(block.values) for block in left) < 3 * 60  # less than an hour is whole


async def test_a_pack_whose_place_is_its_meaning_never_gives_way(tmp_path: Path) -> None:
    async with make(tmp_path) as buffer:
        await pass_hours(buffer, 1)
        await buffer.declare(Correction(BOOT, 0, 5, 5, 5, "ntp"))
        await pass_hours(buffer, 1)
        while await relieve(buffer):
            pass
        (kept,) = [pack for pack in map(open_pack, await all_packs(buffer)) if pack.corrections]
        assert kept.count == 15
        assert not any(block.thinned for block in kept.blocks)


async def test_never_both_never_neither_whatever_statement_a_kill_hits(tmp_path: Path) -> None:
    folders: list[Path] = []
    async with make(tmp_path / "live", limits=LIMITS) as buffer:
        await pass_hours(buffer, 2, scans=[30])
        before = CountingCloud(await everything(buffer)).contents()

        def snapshot(_: str) -> None:
            folder = tmp_path / f"at-{len(folders)}"
            shutil.copytree(tmp_path / "live", folder)
            folders.append(folder)

        buffer._store._db.set_trace_callback(snapshot)
        await relieve(buffer)
        snapshot("")
        buffer._store._db.set_trace_callback(None)
        after = CountingCloud(await everything(buffer)).contents()
    assert len(folders) > 10
    seen = set()
    for folder in folders:
        async with make(folder) as buffer:
            found = CountingCloud(await everything(buffer)).contents()
        assert found in (before, after)
        seen.add(found == before)
    assert seen == {True, False}


def bulk(n: int, rng: random.Random) -> list[Observation]:
    """2,500 readings that hardly compress."""
    times = range(n * 500, (n + 1) * 500)
    return [Reading(f"dev-{c}/air", "CEL", rng.getrandbits(62), -1, stamp(at)) for at in times for c in range(5)]


async def test_the_byte_bound_holds_and_what_gave_way_is_declared(tmp_path: Path) -> None:
    rng = random.Random(3)
    slowest_s = 0.0
    async with make(tmp_path, options=SMALL, seal_options=OFFLINE) as buffer:
        for n in range(450):  # about 11 MB through 8 MB
            began_s = time.monotonic()
            await buffer.append(bulk(n, rng))
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            await buffer.seal(stamp(n * 500))
        state = buffer.state()
        assert not state.full
        cloud = CountingCloud(await all_packs(buffer))
        assert cloud.seqs(state.stream) == Counter(range(1, state.head_seq + 1))
        assert sealed_counts(cloud) == {f"dev-{c}/air": 450 * 500 for c in range(5)}
        assert state.thinned_readings > 100_000
        newest = {each for each in cloud.contents() if each.stamp.monotonic_ms >= 449 * 500_000}
        assert len(newest) == 2500
    assert (tmp_path / "buffer.db").stat().st_size <= SMALL.max_bytes
    assert slowest_s < 5  # measured: 0.5 on a busy machine


async def test_scans_are_refused_loudly_when_nothing_can_give_way(tmp_path: Path) -> None:
    rng = random.Random(5)
    accepted = 0
    async with make(tmp_path, options=SMALL, seal_options=SealOptions(max_bytes=192 * 1024)) as buffer:
        with pytest.raises(BufferFull, match="may not give way"):  # noqa: PT012 - any of them may be refused
            for n in range(100):
                scans = [Scan("s/scan", f"{n}/{at}/" + rng.randbytes(1900).hex(), "Q3", stamp(n)) for at in range(90)]
                await buffer.append([*scans, *bulk(n, rng)[:20]])
                accepted += 90
                await buffer.seal(stamp(n))
        cloud = CountingCloud(await all_packs(buffer))
        assert sum(isinstance(each, Scan) for each in cloud.contents().elements()) == accepted


async def test_thirty_days_offline_fit_into_64_megabytes(tmp_path: Path) -> None:
    """20 sensors once a minute, packs every five minutes: the size of two days, thirty days taken from it."""
    async with make(tmp_path) as buffer:
        await pass_hours(buffer, 48, channels=20)
    per_reading = (tmp_path / "buffer.db").stat().st_size / (48 * 60 * 20)
    assert per_reading * 30 * 24 * 60 * 20 < 32e6
