"""Scans that a gateway moved into newer packs: the events are those of the packs they were sealed in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.events import follower as follower_module
from cloud.events import query
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.telemetry.place import Place, places
from tests.cloud.field import START_MS, Gateway, scan
from tests.cloud.site import SSCC_1, SSCC_2, carton, pallet, register
from wire.envelope import envelope_hash
from wire.observation import Observation, Scan
from wire.pack import CarriedFrom, Loss, Pack, StreamHead

LINE = "packing/scan"
CODES = [carton("L1"), carton("L2"), pallet(SSCC_1), pallet(SSCC_2)]


def now() -> int:
    return START_MS + 10**9


class Field:
    """A gateway that seals scans, and moves those of some packs into newer ones, as under disk pressure."""

    def __init__(self) -> None:
        self.gateway = Gateway("gw-kho-01")
        self.packs: dict[int, Pack] = {}
        self.hashes: dict[int, bytes] = {}
        self.gone: dict[int, bytes] = {}  # envelopes of packs that gave way

    def seal(self, observed: Sequence[Observation]) -> int:
        return self._keep(self.gateway.pack(len(self.hashes) + 1, observed))

    def move(self, seqs: Iterable[int]) -> int:
        """One pack in the place of these: their scans, and their losses with those of their own numbers."""
        scans: list[Scan] = []
        copies: list[CarriedFrom] = []
        losses: list[Loss] = []
        for seq in sorted(seqs):
            pack = self.packs.pop(seq)
            origins = [*pack.carried_from, CarriedFrom(pack.stream, seq, self.hashes[seq], 0, len(pack.scans))]
            copies += [
                msgspec.structs.replace(one, first_ordinal=one.first_ordinal + len(scans))
                for one in origins
                if one.count
            ]
            scans += pack.scans
            losses += [*pack.losses, Loss(pack.stream, seq, seq, self.hashes[seq], "thinned", "full")]
            self.gone[seq] = self.gateway.seal(pack)
        made = self.gateway.pack(len(self.hashes) + 1, scans, losses=losses)
        return self._keep(msgspec.structs.replace(made, blocks=[], scans=scans, carried_from=copies))

    def envelopes(self) -> list[bytes]:
        return [self.gateway.seal(pack) for pack in self.packs.values()]

    def _keep(self, pack: Pack) -> int:
        self.packs[pack.seq] = pack
        self.hashes[pack.seq] = envelope_hash(self.gateway.seal(pack))
        return pack.seq


def open_cloud(folder: Path, gateway: Gateway) -> Engine:
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    migrate(engine)
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    register(engine)
    return engine


def arrive(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    record(engine, [Arrival(gateway.topic, one, now()) for one in envelopes])


def follow(engine: Engine) -> int:
    return ScanFollower(engine, now).run_once()


def told(engine: Engine) -> list[str]:
    """What the events say, all but their ids: those name the pack a scan came in."""
    with reading(engine) as conn:
        bodies = [json.loads(body) for body in conn.scalars(select(tables.event.c.body))]
    return sorted(json.dumps({key: body[key] for key in body if key != "eventID"}, sort_keys=True) for body in bodies)


def reasons(engine: Engine) -> list[str]:
    """Findings, all but those of copies: how many of them there are is how often scans came twice."""
    with reading(engine) as conn:
        return sorted(one.reason for one in query.findings(conn) if one.reason != "carried_copy")


Journey = list[list[str]]
journeys = st.lists(st.lists(st.sampled_from([CODES[0], *CODES]), max_size=4), min_size=2, max_size=8)


def sealed(journey: Journey) -> Field:
    field = Field()
    at_s = 0
    for codes in journey:
        at_s += 120
        field.seal([scan(code, at_s=at_s + i, channel=LINE) for i, code in enumerate(codes)])
    return field


@settings(max_examples=30, deadline=None)
@given(journeys, st.integers(0, 2**32))
@example(journey=[[], [], [], [CODES[2]]], seed=0)
@example(journey=[[], [], [], [CODES[2], CODES[0], CODES[2]]], seed=0)
@example(journey=[[CODES[0]], [*[CODES[0]] * 3, CODES[3]], [CODES[3]], [], [CODES[0]] * 2, [], [], []], seed=159)
def test_moved_scans_become_the_same_events(
    tmp_path_factory: pytest.TempPathFactory, journey: Journey, seed: int
) -> None:
    """Any packs moved, some of them twice; the packs and any of those that gave way come in any order and groups."""
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("moved")
    plain = sealed(journey)
    twin = open_cloud(folder / "twin", plain.gateway)
    arrive(twin, plain.gateway, *plain.envelopes())
    follow(twin)
    moved = sealed(journey)
    for _ in range(rng.randrange(1, 4)):
        moved.move(rng.sample(sorted(moved.packs), rng.randrange(1, len(moved.packs) + 1)))
        if rng.random() < 0.5:
            moved.seal([])
    engine = open_cloud(folder / "moved", moved.gateway)
    late = [envelope for envelope in moved.gone.values() if rng.random() < 0.3]
    coming = [*moved.envelopes(), *late]
    rng.shuffle(coming)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower_module, "SCANS_AT_ONCE", rng.choice([1, 2, 200]))
        patch.setattr(follower_module, "PACKS_AT_ONCE", rng.choice([1, 3, 500]))
        while coming:
            some = rng.randrange(1, 4)
            arrive(engine, moved.gateway, *coming[:some])
            coming = coming[some:]
            if rng.random() < 0.7:
                follow(engine)
        follow(engine)
        assert follow(engine) == 0
    assert told(engine) == told(twin)
    assert reasons(engine) == reasons(twin)
    twin.dispose()
    engine.dispose()


@pytest.fixture
def field(engine: Engine, gateway: Gateway) -> Field:
    """Pack 1 with two cartons, pack 2 with their pallet; the cartons move into pack 3."""
    register(engine)
    made = Field()
    made.seal([scan(carton("L1"), at_s=at, channel=LINE) for at in (1, 2)])
    made.seal([scan(pallet(SSCC_1), at_s=3, channel=LINE)])
    made.move([1])
    return made


def contents(engine: Engine) -> list[int]:
    """How many cartons each pallet holds."""
    with reading(engine) as conn:
        events = [one.event for one in query.recent(conn) if one.event.biz_step == "packing"]
    return [sum(int(each.quantity or 0) for each in event.child_quantity_list) for event in events]  # type: ignore[union-attr]


def test_a_pallet_holds_the_cartons_that_moved_behind_it(engine: Engine, gateway: Gateway, field: Field) -> None:
    second, third = field.envelopes()
    arrive(engine, gateway, second)
    assert follow(engine) == 0
    arrive(engine, gateway, third)
    assert follow(engine) == 3
    assert (contents(engine), reasons(engine)) == ([2], [])


@pytest.mark.parametrize("scans", [1, 2, 200])
def test_an_original_that_comes_after_its_copies_changes_nothing(
    engine: Engine, gateway: Gateway, field: Field, monkeypatch: pytest.MonkeyPatch, scans: int
) -> None:
    monkeypatch.setattr(follower_module, "SCANS_AT_ONCE", scans)
    arrive(engine, gateway, *field.envelopes())
    follow(engine)
    before = told(engine)
    arrive(engine, gateway, field.gone[1])
    follow(engine)
    assert (told(engine), reasons(engine)) == (before, [])


def test_scans_moved_away_from_a_number_that_was_passed_are_still_taken(
    engine: Engine, gateway: Gateway, field: Field
) -> None:
    """A range was declared lost before, and the card turns up."""
    new = Gateway(gateway.name)
    new.stream = b"n" * 16
    lost = Loss(gateway.stream, 1, None, None, "lost", "card broke")
    second, third = field.envelopes()
    arrive(engine, gateway, second, new.seal(new.pack(1, losses=[lost])))
    follow(engine)
    assert reasons(engine) == ["empty_pallet"]
    arrive(engine, gateway, third)
    follow(engine)
    with reading(engine) as conn:
        assert len(query.recent(conn)) == 2


def test_a_late_pack_with_a_pallet_of_its_own_gets_its_cartons(engine: Engine, gateway: Gateway) -> None:
    register(engine)
    made = Field()
    for at_s in (0, 100, 200):
        made.seal([scan(carton("L1"), at_s=at_s, channel=LINE), scan(pallet(SSCC_1), at_s=at_s + 1, channel=LINE)])
    first, second, third = made.envelopes()
    lost = made.gateway.seal(made.gateway.pack(4, losses=[Loss(gateway.stream, 2, 2, None, "lost", "gone")]))
    arrive(engine, gateway, first, third, lost)
    follow(engine)
    arrive(engine, gateway, second)
    follow(engine)
    assert (contents(engine), reasons(engine)) == ([1, 1, 1], [])


def test_scans_of_an_older_stream_stand_in_it_when_its_numbers_are_declared(
    engine: Engine, gateway: Gateway, field: Field
) -> None:
    """The buffer went on in a new stream, and then the disk filled: the old stream's packs gave way there."""
    second, third = (field.packs[seq] for seq in (2, 3))
    new = Gateway(gateway.name)
    new.stream = b"n" * 16
    moved = new.seal(
        msgspec.structs.replace(
            third, stream=new.stream, seq=1, prev=None, predecessor=StreamHead(gateway.stream, 2, field.hashes[2])
        )
    )
    arrive(engine, gateway, moved)
    assert follow(engine) == 2
    arrive(engine, gateway, field.gateway.seal(second))
    assert follow(engine) == 1
    assert (contents(engine), reasons(engine)) == ([2], [])


def test_what_a_copy_pushed_out_stands_in_the_stream_it_was_carried_into(gateway: Gateway) -> None:
    """Its number in the old stream may hold the other copy's pack: two lines must not become one pallet."""
    scans = [scan(carton("L1"), at_s=at, channel=LINE) for at in range(3)]
    old, new = b"a" * 16, b"n" * 16

    def placed(losses: list[Loss], *origins: tuple[bytes, int]) -> list[Place]:
        copies = [CarriedFrom(stream, seq, b"h" * 32, 0, 2) for stream, seq in origins]
        pack = gateway.pack(9, scans, losses=losses)
        return places(msgspec.structs.replace(pack, stream=new, blocks=[], carried_from=copies))

    def lost(stream: bytes, *seqs: int) -> list[Loss]:
        return [Loss(stream, seq, seq, None, "thinned", "full") for seq in seqs]

    here = [Place(new, 9, at) for at in range(3)]
    moved = [Place(old, 5, 0), Place(old, 5, 1), Place(new, 9, 0)]
    assert placed([], (old, 5)) == here
    assert placed(lost(old, 5), (old, 5)) == moved
    assert placed(lost(old, 5), (old, 5), (old, 8)) == here, "pack 8 is tried again, with the losses it declared"
    assert placed(lost(old, 5, 8), (old, 8), (old, 5)) == moved
    assert placed(lost(new, 3), (old, 5), (new, 3)) == [Place(new, 3, 0), Place(new, 3, 1), Place(new, 9, 0)]
    assert placed([*lost(new, 3), *lost(old, 5)], (new, 3), (old, 5)) == moved
