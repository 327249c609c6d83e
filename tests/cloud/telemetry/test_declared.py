"""Declared losses and carried copies: each reading counts once, whatever came in which order."""

from __future__ import annotations

import itertools
import random
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from cloud.db import tables
from cloud.db.engine import open_engine, sqlite_url, writing
from cloud.db.engine import reading as reader
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.telemetry import declared
from cloud.telemetry.query import readings
from tests.cloud.field import BOOT, START_MS, Gateway, reading, scan
from tests.cloud.site import carton, pallet, register
from wire.envelope import envelope_hash
from wire.observation import ClockState
from wire.pack import CarriedFrom, Correction, Loss, Pack, StreamHead

FAR_MS = START_MS + 10**9
DAY_MS = 86_400_000
OTHER = b"o" * 16


def _arrive(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in envelopes])


def _stored(engine: Engine, gateway: Gateway) -> list[tuple[int, int | None]]:
    with reader(engine) as conn:
        rows = readings(conn, gateway.name, "room-1/air", START_MS, FAR_MS)
    return [((row.observed_ms - START_MS) // 1000, row.mantissa) for row in rows]


def _spans(engine: Engine, gateway: Gateway, channel: str = "room-1/air") -> list[declared.DeclaredSpan]:
    with reader(engine) as conn:
        return declared.spans(conn, gateway.name, channel, START_MS, FAR_MS)


def _thinned(gateway: Gateway, originals: list[bytes], seq: int = 4) -> Pack:
    """A pack that keeps the readings of seconds 1 and 3 out of packs 1 and 2, and has one of its own."""
    kept = [reading(at_s=1, mantissa=1), reading(at_s=3, mantissa=3), reading(at_s=100, mantissa=100)]
    loss = Loss(
        gateway.stream, 1, 2, envelope_hash(originals[1]), "thinned", "store full",
        counts=[("room-1/air", 2)], from_ms=START_MS, to_ms=START_MS + 3_000,
    )  # fmt: skip
    copies = [CarriedFrom(gateway.stream, at, envelope_hash(originals[at - 1]), at - 1, 1) for at in (1, 2)]
    return msgspec.structs.replace(gateway.pack(seq, kept, losses=[loss]), carried_from=copies)


@pytest.fixture
def originals(gateway: Gateway) -> list[bytes]:
    """Pack 1 with seconds 0 and 1, pack 2 with seconds 2 and 3."""
    return [
        gateway.envelope(1, [reading(at_s=0, mantissa=0), reading(at_s=1, mantissa=1)]),
        gateway.envelope(2, [reading(at_s=2, mantissa=2), reading(at_s=3, mantissa=3)]),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_original_that_comes_nevertheless_replaces_its_copies(
    engine: Engine, gateway: Gateway, originals: list[bytes], order: tuple[int, ...]
):
    packs = [*originals, gateway.seal(_thinned(gateway, originals))]
    for at in order:
        _arrive(engine, gateway, packs[at])
    assert _stored(engine, gateway) == [(0, 0), (1, 1), (2, 2), (3, 3), (100, 100)]


def test_copies_count_while_their_original_is_missing(engine: Engine, gateway: Gateway, originals: list[bytes]):
    _arrive(engine, gateway, gateway.seal(_thinned(gateway, originals)))
    assert _stored(engine, gateway) == [(1, 1), (3, 3), (100, 100)]
    _arrive(engine, gateway, originals[1])
    assert _stored(engine, gateway) == [(1, 1), (2, 2), (3, 3), (100, 100)]


def test_another_pack_under_the_number_of_the_original_replaces_nothing(engine: Engine, gateway: Gateway):
    refused = gateway.envelope(1, [reading(at_s=1, mantissa=1)])
    copies = [CarriedFrom(gateway.stream, 1, envelope_hash(refused), 0, 1)]
    other = Gateway(gateway.name)
    other.stream = OTHER
    carrying = msgspec.structs.replace(other.pack(1, [reading(at_s=1, mantissa=1)]), carried_from=copies)
    _arrive(engine, gateway, gateway.envelope(1, [reading(at_s=50, mantissa=50)]), other.seal(carrying), refused)
    assert _stored(engine, gateway) == [(1, 1), (50, 50)]


def test_foreign_pack_replaces_no_copies(engine: Engine, gateway: Gateway):
    stranger = Gateway("gw-other", seed=2)
    with writing(engine) as conn:
        add_gateway(conn, stranger.public_half, START_MS)
    theirs = stranger.envelope(1)
    copies = [CarriedFrom(stranger.stream, 1, envelope_hash(theirs), 0, 1)]
    _arrive(engine, stranger, theirs)
    _arrive(engine, gateway, gateway.seal(msgspec.structs.replace(gateway.pack(1), carried_from=copies)))
    assert len(_stored(engine, gateway)) == 1


def test_loss_is_shown_until_all_of_it_has_come(engine: Engine, gateway: Gateway, originals: list[bytes]):
    _arrive(engine, gateway, gateway.seal(_thinned(gateway, originals)))
    assert _spans(engine, gateway) == [
        declared.DeclaredSpan("thinned", "store full", START_MS, START_MS + 3_000, left_out=2)
    ]
    assert _spans(engine, gateway, "room-2/air") == []
    _arrive(engine, gateway, originals[0])
    with reader(engine) as conn:
        (shown,) = declared.losses(conn, 10)
    assert (shown.arrived, shown.withdrawn) == (1, False)
    assert len(_spans(engine, gateway)) == 1
    _arrive(engine, gateway, originals[1])
    assert _spans(engine, gateway) == []
    with reader(engine) as conn:
        assert declared.losses(conn, 10)[0].withdrawn


def test_loss_without_times_lies_between_the_packs_around_it(engine: Engine, gateway: Gateway):
    other = Gateway(gateway.name)
    other.stream = OTHER
    loss = Loss(gateway.stream, 3, None, None, "lost", "file damaged")
    sealed = msgspec.structs.replace(other.pack(1).sealed, observed_at_ms=START_MS + 600_000)
    declaring = other.seal(msgspec.structs.replace(other.pack(1, losses=[loss]), sealed=sealed))
    _arrive(engine, gateway, gateway.envelope(1), gateway.envelope(2), declaring)
    (span,) = _spans(engine, gateway)
    assert (span.kind, span.left_out) == ("lost", None)
    assert (span.from_ms, span.to_ms) == (START_MS + 120_000, START_MS + 600_000), "where pack 2 and pack 1 were sealed"


@pytest.mark.parametrize(
    ("wrong_ms", "alone"),
    [(-START_MS, False), (-DAY_MS, False), (DAY_MS, False), (-START_MS, True), (DAY_MS, True)],
    ids=["1970", "yesterday", "tomorrow", "1970, nothing before", "tomorrow, nothing before"],
)
def test_loss_by_a_clock_that_was_wrong_lies_between_the_packs_around_it(
    engine: Engine, gateway: Gateway, wrong_ms: int, alone: bool
):
    """The readings around it are corrected; its own times nobody can correct."""
    unset = ClockState.UNSYNCED
    rows = [reading(at_s=600 * at, mantissa=at, wrong_ms=wrong_ms, clock=unset) for at in range(4)]
    believed_ms = START_MS + wrong_ms
    loss = Loss(
        gateway.stream, 2, 2, None, "lost", "full", [("room-1/air", 5)], believed_ms + 700_000, believed_ms + 800_000
    )
    if alone:
        loss = msgspec.structs.replace(loss, first_seq=1)
    corrected = Correction(BOOT, 0, 10**9, -wrong_ms, 20, "ntp")
    packs = [
        *([] if alone else [gateway.pack(1, rows[:2])]),
        gateway.pack(3, rows[2:3]),
        gateway.pack(4, rows[3:], losses=[loss], corrections=[corrected]),
    ]
    received_ms = START_MS + 3_600_000
    record(engine, [Arrival(gateway.topic, gateway.seal(pack), received_ms) for pack in packs])
    (span,) = _spans(engine, gateway)
    assert span.from_ms == START_MS + (1_200_000 if alone else 600_000)
    assert span.to_ms == START_MS + 1_200_000


def test_scan_and_its_copy_become_one_event(engine: Engine, gateway: Gateway):
    for late in (False, True):
        _one_event(engine, gateway, late=late)


def _one_event(engine: Engine, gateway: Gateway, *, late: bool) -> None:
    register(engine)
    here = Gateway(gateway.name, seed=10 + late)
    here.key, here.kid = gateway.key, gateway.kid
    there = Gateway(gateway.name, seed=20 + late)
    there.key, there.kid = gateway.key, gateway.kid
    lot = f"L{late}"
    scans = [scan(carton(lot), at_s=1, channel="packing/scan"), scan(pallet(), at_s=2, channel="packing/scan")]
    original = here.envelope(1, scans)
    copies = [CarriedFrom(here.stream, 1, envelope_hash(original), 0, 2)]
    copy = there.seal(msgspec.structs.replace(there.pack(1, scans), carried_from=copies))
    for one in (copy, original) if late else (original, copy):
        _arrive(engine, gateway, one)
        ScanFollower(engine, lambda: FAR_MS).run_once()
    with reader(engine) as conn:
        items = list(conn.scalars(select(tables.event_item.c.item).where(tables.event_item.c.role == "class")))
        told = list(conn.scalars(select(tables.scan_finding.c.reason).where(tables.scan_finding.c.code == carton(lot))))
    assert [item for item in items if item.endswith(lot)] == [f"https://id.gs1.org/01/{carton(lot)[2:16]}/10/{lot}"] * 2
    assert [one.partition(":")[0] for one in told] == ["carried_copy"]


# --- any order, any groups ---


def _world() -> tuple[Gateway, list[bytes]]:
    """Thinned twice, lost, withdrawn, copied, broken: two streams of one gateway, 14 packs."""
    gateway, copy = Gateway("gw-kho-01"), Gateway("gw-kho-01")
    copy.stream = OTHER
    chain = gateway.chain(5)
    kept = [reading(at_s=60, mantissa=-1801), reading(at_s=120, mantissa=-1802)]
    losses = [
        Loss(gateway.stream, 1, 2, envelope_hash(chain[1]), "thinned", "full", [("room-1/air", 3)]),
        Loss(gateway.stream, 3, 3, None, "lost", "full"),
        Loss(gateway.stream, 4, 4, b"w" * 32, "lost", "wrong hash"),
        Loss(b"n" * 16, 1, 2**63 - 1, b"n" * 32, "lost", "absurd"),
    ]
    copies = [CarriedFrom(gateway.stream, at, envelope_hash(chain[at - 1]), at - 1, 1) for at in (1, 2)]
    thinned = msgspec.structs.replace(
        gateway.pack(6, kept, prev=envelope_hash(chain[4]), losses=losses), carried_from=copies
    )
    sixth = gateway.seal(thinned)
    again = msgspec.structs.replace(
        gateway.pack(
            7, kept, prev=b"x" * 32, losses=[Loss(gateway.stream, 6, 6, envelope_hash(sixth), "thinned", "f")]
        ),
        carried_from=[
            CarriedFrom(gateway.stream, 6, envelope_hash(sixth), 0, 2),
            CarriedFrom(gateway.stream, 1, envelope_hash(chain[0]), 0, 1),
            CarriedFrom(gateway.stream, 2, envelope_hash(chain[1]), 1, 1),
            CarriedFrom(OTHER, 9, b"?" * 32, 0, 2),
        ],
    )
    head = StreamHead(gateway.stream, 5, b"h" * 32)
    first = copy.seal(msgspec.structs.replace(copy.pack(1, [reading(at_s=300, mantissa=5)]), predecessor=head))
    second = copy.seal(copy.pack(2, kept, prev=envelope_hash(first)))
    return gateway, [*chain, sixth, gateway.seal(again), first, second]


GATEWAY, PACKS = _world()
OFFERED = st.lists(st.sampled_from(range(len(PACKS))), min_size=1, max_size=len(PACKS), unique=True)


def test_projections_do_not_depend_on_the_order_of_arrival(tmp_path: Path, migrated_file: Path):
    seen = 0

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(OFFERED, st.randoms(use_true_random=False))
    def check(numbers: list[int], rng: random.Random) -> None:
        nonlocal seen
        seen += 1
        offered = [PACKS[at] for at in numbers]
        told = _told(tmp_path / f"{seen}-a.db", migrated_file, [[one] for one in sorted(offered, key=PACKS.index)])
        shuffled = rng.sample(offered, len(offered)) + rng.sample(offered, rng.randrange(len(offered) + 1))
        cuts = sorted(rng.sample(range(len(shuffled) + 1), rng.randrange(min(4, len(shuffled) + 1))))
        groups = [shuffled[a:b] for a, b in itertools.pairwise([0, *cuts, len(shuffled)])]
        assert _told(tmp_path / f"{seen}-b.db", migrated_file, groups) == told

    check()


def _told(file: Path, migrated_file: Path, groups: list[list[bytes]]) -> dict[str, object]:
    """Everything derived from packs that arrived in these groups, without what the order of arrival may name."""
    engine = open_engine(sqlite_url(Path(shutil.copy(migrated_file, file))))
    with writing(engine) as conn:
        add_gateway(conn, GATEWAY.public_half, START_MS)
    for group in groups:
        _arrive(engine, GATEWAY, *group)
    with reader(engine) as conn:
        rows = readings(conn, GATEWAY.name, "room-1/air", START_MS, FAR_MS)
        found = tables.finding
        losses = [msgspec.structs.astuple(one) for one in declared.losses(conn, 100)]
        told: dict[str, object] = {
            "settled": [tuple(row) for row in conn.execute(select(tables.settled).order_by(*tables.settled.c))],
            "findings": sorted(tuple(row) for row in conn.execute(select(found.c.kind, found.c.stream, found.c.seq))),
            "losses": sorted(losses, key=repr),
            "spans": declared.spans(conn, GATEWAY.name, "room-1/air", START_MS, FAR_MS),
            "readings": [(row.observed_ms, row.mantissa, row.stream, row.seq, row.ordinal) for row in rows],
        }
    engine.dispose()
    file.unlink()
    return told


def test_times_of_losses_are_worked_out_once_for_all_channels(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    told = [
        Loss(gateway.stream, seq, seq, b"h" * 32, "lost", "card failed", [(f"room-{seq}/air", 1), ("all/air", 1)],
             START_MS + seq * 60_000, START_MS + seq * 60_000 + 1000)
        for seq in range(1, 9)
    ]  # fmt: skip
    arrival = Arrival(gateway.topic, gateway.seal(gateway.pack(9, losses=told)), START_MS + 10**6)
    assert record(engine, [arrival]).accepted == 1
    worked: list[int] = []
    times = declared._times
    monkeypatch.setattr(declared, "_times", lambda conn, row: worked.append(row.first_seq) or times(conn, row))
    with reader(engine) as conn:
        once = declared.LossesOnce(conn, gateway.name)
        assert [one.from_ms for one in once.spans("room-3/air", START_MS, START_MS + 10**9)] == [START_MS + 180_000]
        assert worked == [3], "only of those that concern the channel"
        for _ in range(3):
            assert len(once.spans("all/air", START_MS, START_MS + 10**9)) == 8
        assert once.spans("all/air", START_MS + 10**8, START_MS + 10**9) == []
    assert sorted(worked) == list(range(1, 9))
