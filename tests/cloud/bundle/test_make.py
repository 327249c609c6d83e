"""Bundles made from a real record: what a lot's life holds, and that a reader finds the cloud's own numbers in it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, func, update

from cloud.auth.people import Person
from cloud.bundle.make import Ledger, NotMade, lot_bundle, period_bundle
from cloud.bundle.packs import TooMany
from cloud.db import tables
from cloud.db.engine import writing
from cloud.enrol import revocation
from cloud.events.follower import ScanFollower
from cloud.ingest.record import Arrival, record
from cloud.ledger import checkpoint, epoch
from cloud.ledger import keys as ledger_keys
from cloud.registry.keys import add_gateway
from cloud.review.submissions import approve, submit
from cloud.telemetry.compactor import compact
from standards.tlog import note
from standards.tlog.key import Cosigner
from tests.cloud.evidence.test_declared import KEPT, THIN_FROM, THIN_TO
from tests.cloud.field import BOOT, Gateway, reading, scan
from tests.cloud.journey import LATER, NOW_MS, calm, travel
from tests.cloud.site import GTIN, carton, register
from tests.wire.bundle.maker import key_of
from wire.bundle.examine import Content
from wire.bundle.form import FIRST_LINE
from wire.bundle.verify import Report, verify
from wire.envelope import envelope_hash
from wire.observation import Observation, Reading
from wire.pack import CarriedFrom, Correction, KeyChange, Loss, Pack, StreamHead, build_blocks

CHANNEL = "room-1/air"
OPERATOR, OFFICIAL = Person("van-hanh", "Vận hành", "operator"), Person("can-bo", "Cán bộ", "official")


class Bundles:
    """Makes bundles of the test's cloud, and reads each of them."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.ledger = engine, Ledger(folder, "ledger.example/kho")

    def lot(self, lot: str = "L1", *, now_ms: int = NOW_MS) -> Report:
        """The bundle of a lot, read again."""
        return self._read(lambda out: lot_bundle(self.engine, self.ledger, (GTIN, lot), out, now_ms=now_ms))

    def period(self, *gateways: str, span: tuple[int, int]) -> Report:
        """The bundle of a period, read again."""
        return self._read(lambda out: period_bundle(self.engine, self.ledger, gateways, span, out, now_ms=NOW_MS))

    def _read(self, make: Callable[[io.BytesIO], Content]) -> Report:
        out = io.BytesIO()
        make(out)
        size = out.tell()
        out.seek(0)
        assert out.read(len(FIRST_LINE)) == FIRST_LINE
        out.seek(0)
        return verify(out, size=size)


@pytest.fixture
def bundles(engine: Engine, tmp_path: Path) -> Bundles:
    return Bundles(engine, tmp_path)


def content_of(report: Report) -> Content:
    assert report.bad is None, report.bad
    assert report.content is not None
    return report.content


def missing(report: Report) -> list[str]:
    return [one.code for one in content_of(report).missing if one.code != "no_frozen"]


def arrive(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    outcome = record(engine, [Arrival(gateway.topic, one, NOW_MS) for one in envelopes])
    assert outcome.accepted == len(envelopes)


def freeze(engine: Engine, *, decide: bool = True) -> None:
    """Hand the lot in, and have it approved: its evidence is frozen as the cloud computes it."""
    with writing(engine) as conn:
        submit(conn, GTIN, "L1", by=OPERATOR, now_ms=NOW_MS)
        if decide:
            approve(conn, GTIN, "L1", by=OFFICIAL, now_ms=NOW_MS)


def test_a_checkpoint_that_a_witness_has_seen_is_taken_where_it_holds_everything(
    engine: Engine, bundles: Bundles
) -> None:
    travel(engine)
    content_of(bundles.lot())
    with writing(engine) as conn:
        signed = checkpoint.latest(conn)
        assert signed is not None
        witness = Cosigner("witness.example/chi-cuc", key_of("witness"), at_s=1_760_100_000)
        line = witness.sign(note.parse(signed.note).text).line()
        row = {"size": signed.size, "vkey": str(witness.verifier), "line": line, "cosigned_ms": NOW_MS}
        conn.execute(tables.cosignature.insert().values(row))
    other = Gateway("gw-khac-01")
    with writing(engine) as conn:
        add_gateway(conn, other.public_half, NOW_MS)
    ledger = content_of(bundles.lot()).ledger
    assert (ledger.size, [one.vkey for one in ledger.witnesses]) == (signed.size, [str(witness.verifier)])
    freeze(engine)
    assert content_of(bundles.lot()).ledger.witnesses == []


def test_a_lots_whole_life_is_in_its_bundle(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    freeze(engine)
    content = content_of(bundles.lot())
    assert content.counts == {
        "gateway key": 2,
        "revocation": 0,
        "pack": 2,
        "event": 5,
        "evidence version": 1,
        "decision": 2,
    }
    assert content.signed_events == 5
    assert [one.kind for one in content.decisions] == ["submitted", "approved"]
    assert [one.count for _, one in content.windows] == [9, 60, 60]
    assert content.missing == []


def test_nothing_of_other_lots_and_gateways_is_in_it(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    other = Gateway("gw-khac-01")
    with writing(engine) as conn:
        add_gateway(conn, other.public_half, NOW_MS)
    arrive(engine, other, other.envelope(1))
    assert content_of(bundles.lot()).subject.gateways == ["gw-kho-01", "gw-xe-01"]


def test_same_record_makes_the_same_bundle(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    assert content_of(bundles.lot()).summary == content_of(bundles.lot()).summary


def test_late_packs_change_nothing_in_what_was_frozen_before(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, lambda channel, minute: None if 20 <= minute < 40 else calm(channel, minute))
    freeze(engine)
    late = store.pack(2, [one for minute in range(20, 40) if (one := calm(CHANNEL, minute))], prev=_hash(engine, store))
    arrive(engine, store, store.seal(late))
    freeze(engine)
    content = content_of(bundles.lot())
    assert [one.stays[1].series[0].count for _, one in content.frozen] == [40, 60]
    assert [one.count for _, one in content.windows][1] == 60


def _hash(engine: Engine, gateway: Gateway, seq: int = 1) -> bytes:
    with writing(engine) as conn:
        pack = tables.pack.c
        query = tables.pack.select().where(pack.gateway == gateway.name, pack.seq == seq)
        return bytes(conn.execute(query).one().hash)


def test_corrected_clocks_give_the_clouds_numbers(engine: Engine, bundles: Bundles) -> None:
    wrong_ms = -3_600_000

    def off(channel: str, minute: int) -> Reading | None:
        one = calm(channel, minute)
        if one is None or channel != CHANNEL:
            return one
        return reading(channel=channel, at_s=60 * minute, mantissa=one.mantissa, wrong_ms=wrong_ms, boot=b"r" * 16)

    store, _ = travel(engine, off)
    told = [Correction(b"r" * 16, 0, LATER * 60_000, -wrong_ms, 50, "ntp")]
    arrive(engine, store, store.seal(store.pack(2, corrections=told, prev=_hash(engine, store))))
    freeze(engine)
    content = content_of(bundles.lot())
    assert [one.count for _, one in content.windows][1] == 60
    assert content.frozen[0][1].stays[1].series[0].count == 60


def _thinned(engine: Engine, store: Gateway) -> tuple[bytes, bytes]:
    """Pack 2 with the room's readings of some minutes, and pack 3 that declares it thinned and carries some."""
    read = [one for minute in range(THIN_FROM, THIN_TO + 1) if (one := calm(CHANNEL, minute))]
    original = store.seal(store.pack(2, read, prev=_hash(engine, store)))
    kept = [one for minute in KEPT if (one := calm(CHANNEL, minute))]
    digest = envelope_hash(original)
    loss = Loss(store.stream, 2, 2, digest, "thinned", "disk", [(CHANNEL, 27)], NOW_MS, NOW_MS)
    blocks = [msgspec.structs.replace(block, thinned=True) for block in build_blocks(kept)]
    carried = [CarriedFrom(store.stream, 2, digest, 0, len(kept))]
    made: Pack = store.pack(3, kept, losses=[loss], prev=digest)
    return original, store.seal(msgspec.structs.replace(made, blocks=blocks, carried_from=carried))


def _but_room(channel: str, minute: int) -> Reading | None:
    return None if channel == CHANNEL and THIN_FROM <= minute <= THIN_TO else calm(channel, minute)


def test_copies_and_their_originals_count_once_as_in_the_cloud(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    original, copies = _thinned(engine, store)
    arrive(engine, store, copies)
    freeze(engine, decide=False)
    assert [one.count for _, one in content_of(bundles.lot()).windows][1] == 60 - 31 + len(KEPT)
    arrive(engine, store, original)
    freeze(engine)
    content = content_of(bundles.lot())
    assert [one.count for _, one in content.windows][1] == 60
    assert [one.stays[1].series[0].count for _, one in content.frozen] == [60 - 31 + len(KEPT), 60]


def test_folding_readings_into_chunks_changes_nothing_in_a_bundle(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    original, copies = _thinned(engine, store)
    arrive(engine, store, copies, original)
    told = [Correction(BOOT, 0, 20 * 60_000, 5_000, 50, "ntp")]
    arrive(engine, store, store.seal(store.pack(4, corrections=told, prev=_hash(engine, store, 3))))
    freeze(engine)
    before = content_of(bundles.lot())
    assert compact(engine, lambda _done, _of: None) > 0
    after = content_of(bundles.lot())
    assert after.summary == before.summary
    assert after.counts == before.counts


def test_what_was_declared_and_what_never_came_is_told(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    lost = store.seal(store.pack(2, [reading(channel=CHANNEL, at_s=60 * 20)], prev=_hash(engine, store)))
    gone = store.seal(store.pack(3, [reading(channel=CHANNEL, at_s=60 * 30)], prev=envelope_hash(lost)))
    loss = Loss(store.stream, 2, 2, envelope_hash(lost), "lost", "disk full", [(CHANNEL, 1)], NOW_MS, NOW_MS)
    last = [reading(channel=CHANNEL, at_s=60 * 40)]
    arrive(engine, store, store.seal(store.pack(4, last, losses=[loss], prev=envelope_hash(gone))))
    found = content_of(bundles.lot()).missing
    assert [one.code for one in found if one.code in {"numbers", "declared_lost"}] == ["numbers", "declared_lost"]
    assert [one.params["first"] for one in found if one.code == "numbers"] == [3]
    assert "disk full" in next(one.said("vi") for one in found if one.code == "declared_lost")


def test_packs_between_are_in_it_though_they_say_nothing_of_the_lot(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    middle = store.seal(store.pack(2, [reading(channel="other/air", at_s=60 * 20)], prev=_hash(engine, store)))
    last = store.pack(3, [reading(channel=CHANNEL, at_s=60 * 40)], prev=envelope_hash(middle))
    arrive(engine, store, middle, store.seal(last))
    report = bundles.lot()
    assert content_of(report).counts["pack"] == 4
    assert "numbers" not in missing(report)


def test_packs_signed_by_the_next_key_are_proven(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    fresh = Gateway(store.name, seed=2)
    change = KeyChange(fresh.key.public_key().public_bytes_raw(), 3)
    telling = store.seal(msgspec.structs.replace(store.pack(2, prev=_hash(engine, store)), key_change=change))
    arrive(engine, store, telling)
    last = msgspec.structs.replace(store.pack(3, [reading(channel=CHANNEL, at_s=1800)], prev=envelope_hash(telling)))
    arrive(engine, store, fresh.seal(last))
    content = content_of(bundles.lot())
    assert [gateway for gateway, _ in content.keys] == ["gw-kho-01", "gw-xe-01", "gw-kho-01"]
    assert content.counts["pack"] == 4


def test_what_came_before_a_revocation_is_proven_and_the_revocation_is_told(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine)
    with writing(engine) as conn:
        revocation.revoke(
            conn, store.name, kid=store.kid, link=False, from_seq=None, reason="stolen", now_ms=NOW_MS + 1
        )
    assert content_of(bundles.lot()).counts["revocation"] == 1


def test_a_period_of_a_gateway_has_its_packs_scans_and_events(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    content = content_of(bundles.period("gw-kho-01", span=(NOW_MS - 9_000_000, NOW_MS)))
    assert content.counts["pack"] == 1
    assert content.counts["event"] == 3
    assert content.subject.gateways == ["gw-kho-01"]
    assert [one.count for _, one in content.windows] == [150, 150]


def test_a_changed_key_of_the_ledger_signs_along(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    assert len(content_of(bundles.lot()).ledger.vkeys) == 1
    with writing(engine) as conn:
        ledger_keys.rotate(conn, bundles.ledger.data_dir, now_ms=NOW_MS)
    assert len(content_of(bundles.lot()).ledger.vkeys) == 2


def test_a_pack_of_each_reading_is_in_it_and_those_around_the_stay(engine: Engine, bundles: Bundles) -> None:
    hall = Gateway("gw-kho-01")
    with writing(engine) as conn:
        add_gateway(conn, hall.public_half, NOW_MS)
    register(engine)
    prev: bytes | None = None
    for seq in range(1, 41):
        observed: list[Observation] = [reading(channel="hall/air", at_s=1200 * seq)]
        if seq == 5:
            observed.append(scan(carton(), at_s=1200 * 5 - 1, channel="packing/scan"))
        envelope = hall.seal(hall.pack(seq, observed, prev=prev))
        prev = envelope_hash(envelope)
        arrive(engine, hall, envelope)
    ScanFollower(engine, lambda: NOW_MS + 86_400_000).run_once()
    content = content_of(bundles.lot(now_ms=NOW_MS + 86_400_000))
    assert [one.count for _, one in content.windows] == [36]
    assert content.counts["pack"] == 37, "with the one before the stay, on which the chain hangs"


# --- what cannot be made ----------------------------------------------------------------------------------------------


def test_an_unknown_lot_has_no_bundle(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    with pytest.raises(NotMade, match="no event speaks of it"):
        bundles.lot("L9")


def test_an_empty_ledger_proves_nothing(bundles: Bundles) -> None:
    with pytest.raises(NotMade, match="ledger is empty"):
        bundles.lot()


def test_a_period_without_readings_has_no_bundle(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    with pytest.raises(NotMade, match="nothing was observed"):
        bundles.period("gw-kho-01", span=(0, 1))


def test_too_many_packs_are_refused_by_name(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    bundles.ledger = msgspec.structs.replace(bundles.ledger, packs_max=1)
    with pytest.raises(TooMany, match="cloud bundle --from"):
        bundles.lot()


def test_after_a_restore_nothing_is_made_until_the_new_epoch_is_open(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    bundles.lot()
    with writing(engine) as conn:
        epoch.open_epoch(conn, now_ms=NOW_MS)
    freeze(engine)
    with pytest.raises(NotMade, match="try again in a minute"):
        bundles.lot()


def test_what_was_sealed_again_after_a_damage_counts_once(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    observed = [reading(channel=CHANNEL, at_s=60 * minute, mantissa=-1800 - minute) for minute in range(25, 45)]
    second = store.seal(store.pack(2, observed[:15], prev=_hash(engine, store)))
    arrive(engine, store, second)
    freeze(engine, decide=False)
    younger = Gateway(store.name, seed=9)
    younger.key, younger.kid = store.key, store.kid
    losses = [Loss(store.stream, 2, None, None, "lost", "buffer file was older than its head")]
    first = younger.pack(1, observed[5:], losses=losses, predecessor=StreamHead(store.stream, 2, envelope_hash(second)))
    arrive(engine, younger, younger.seal(first))
    freeze(engine)
    content = content_of(bundles.lot())
    (counted,) = [one.count for _, one in content.windows if one.wanted.channel == CHANNEL]
    frozen = [
        one.count
        for _, version in content.frozen
        for stay in version.stays
        for one in stay.series
        if one.channel == CHANNEL
    ]
    assert frozen == [29 + 15, 29 + 20]
    assert counted == 29 + 20


def test_packs_that_retention_removed_are_missing(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    middle = store.seal(store.pack(2, [reading(channel=CHANNEL, at_s=60 * 25)], prev=_hash(engine, store)))
    last = store.pack(3, [reading(channel=CHANNEL, at_s=60 * 45)], prev=envelope_hash(middle))
    arrive(engine, store, middle, store.seal(last))
    with writing(engine) as conn:
        removed = update(tables.pack).where(tables.pack.c.gateway == store.name, tables.pack.c.seq == 2)
        conn.execute(removed.values(envelope=b""))
    found = content_of(bundles.lot()).missing
    assert [one.params for one in found if one.code == "numbers"] == [{"first": 2, "last": 2}]


@pytest.mark.parametrize("table", ["event", "pack", "decision"])
def test_a_record_that_was_edited_makes_no_bundle(engine: Engine, bundles: Bundles, table: str) -> None:
    travel(engine)
    freeze(engine)
    moved = func.replace(tables.event.c.body, "storing", "loading")
    values = {"event": {"body": moved}, "pack": {"envelope": b"x"}, "decision": {"person": "ke-gian"}}[table]
    with writing(engine) as conn:
        conn.execute(update(tables.metadata.tables[table]).values(values))
    with pytest.raises(NotMade, match="the record itself is damaged"):
        bundles.lot()


def test_a_record_whose_links_do_not_hold_makes_a_bundle_that_says_so(engine: Engine, bundles: Bundles) -> None:
    store, _ = travel(engine, _but_room)
    arrive(engine, store, store.seal(store.pack(2, [reading(channel=CHANNEL, at_s=1800)])))  # names another pack before
    report = bundles.lot()
    assert report.bad is not None
    assert "does not go on from number 1" in report.bad.why


def test_a_key_without_a_leaf_proves_nothing(engine: Engine, bundles: Bundles) -> None:
    travel(engine)
    with writing(engine) as conn:
        conn.execute(update(tables.leaf).where(tables.leaf.c.kind == "key").values(ref="nobody"))
    with pytest.raises(Exception, match="no key of"):
        bundles.lot()
