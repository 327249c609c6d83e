"""What a reader of bundles notices: every byte, every record, every key."""

from __future__ import annotations

import random
from functools import lru_cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.tlog.key import LogSigner
from tests.wire.bundle import maker
from tests.wire.bundle.damage import damaged
from wire.bundle import form
from wire.bundle.form import Unusable
from wire.bundle.subject import Stay
from wire.envelope import envelope_hash
from wire.pack import KeyChange, Loss, StreamHead

DAMAGES = 500  # of the bundle of 200 packs; `-m slow` makes 10,000
DAMAGES_LARGE = 10  # of that with 100,000 readings; `-m slow` makes 50


@lru_cache
def small() -> bytes:
    return maker.bundle(*maker.small(2, 1), witnessed=False)[0]


@lru_cache
def middle() -> bytes:
    return maker.bundle(*maker.small(200, 5))[0]


@lru_cache
def large() -> bytes:
    return maker.bundle(*maker.small(1000, 100))[0]


def is_noticed(data: bytes) -> bool:
    try:
        return not maker.judged(data).intact
    except Unusable:
        return True


def test_what_was_recorded_is_intact_and_complete() -> None:
    data, content = maker.bundle(*maker.small())
    report = maker.judged(data)
    assert report.intact
    assert (content.wrong, content.missing) == ([], [])
    assert report.content is not None
    assert report.content.signed_events == 1
    assert [one.count for _, one in report.content.windows] == [8]


def test_same_record_and_checkpoint_make_the_same_bytes() -> None:
    assert maker.bundle(*maker.small())[0] == maker.bundle(*maker.small())[0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_every_single_byte_flip_is_noticed(part: int) -> None:
    data = small()
    rng = random.Random(part)
    for at in range(part, len(data), 4):
        changed = bytearray(data)
        changed[at] ^= rng.randrange(1, 256)
        assert is_noticed(bytes(changed)), f"byte {at}: {data[at]:#04x} → {changed[at]:#04x}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_bit_of_every_byte_is_noticed() -> None:
    data = small()
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            assert is_noticed(bytes(changed)), f"byte {at}, bit {bit}"


def _all_noticed(data: bytes, many: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(many):
        name, changed = damaged(data, rng)
        assert is_noticed(changed), f"seed {seed}, damage {number}: {name}"


@pytest.mark.timeout(600)
def test_damage_is_noticed() -> None:
    _all_noticed(middle(), DAMAGES, 1)


@pytest.mark.timeout(600)
def test_damage_of_a_large_bundle_is_noticed() -> None:
    _all_noticed(large(), DAMAGES_LARGE, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_damages_are_noticed() -> None:
    _all_noticed(middle(), 10_000, 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_damages_of_a_large_bundle_are_noticed() -> None:
    _all_noticed(large(), 50, 4)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_what_stands_behind_the_first_line_never_ends_a_reader(rest: bytes) -> None:
    assert is_noticed(form.FIRST_LINE + rest)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no evidence bundle"),
        (b"PK\x03\x04", "no evidence bundle"),
        (form.FIRST_LINE[:20], "no evidence bundle"),
        (b"coldproof evidence bundle 2\nX", "newer coldproof"),
        (b"coldproof evidence bundle x\n", "damaged"),
        (form.FIRST_LINE[:-1], "damaged"),
    ],
)
def test_what_is_no_bundle_is_unusable(data: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        maker.judged(data)


# --- who signed -------------------------------------------------------------------------------------------------------


def test_whose_ledger_it_is_is_not_claimed_without_a_key() -> None:
    assert maker.judged(small()).anchored is None


def test_the_ledgers_key_anchors_and_another_one_refuses() -> None:
    other = LogSigner(maker.ORIGIN, maker.key_of("another log")).verifier
    assert maker.judged(small(), maker.LOG_KEY).anchored is True
    report = maker.judged(small(), other)
    assert report.bad is not None
    assert report.bad.record == "checkpoint"
    assert maker.judged(small(), other, maker.LOG_KEY).intact


def test_a_ledger_made_up_with_keys_of_its_own_is_refused_by_who_has_the_real_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maker, "LOG", LogSigner(maker.ORIGIN, maker.key_of("forger")))
    forged, _ = maker.bundle(*maker.small(), witnessed=False)
    assert maker.judged(forged).intact  # nothing in it says otherwise
    assert not maker.judged(forged, maker.LOG_KEY).intact


def test_trusted_witnesses_are_told() -> None:
    data, _ = maker.bundle(*maker.small())
    report = maker.judged(data, maker.LOG_KEY, maker.WITNESS.verifier)
    assert [one.vkey for one in report.witnesses] == [str(maker.WITNESS.verifier)]


# --- the first bad record is named ------------------------------------------------------------------------------------


def _bad(data: bytes) -> str:
    bad = maker.judged(data).bad
    assert bad is not None
    return f"{bad.record}: {bad.why}"


def _records(data: bytes) -> list[tuple[int, bytes]]:
    return [(one.letter, one.body) for one in maker.framed(data)]


def _place(records: list[tuple[int, bytes]], letter: int, which: int = 0) -> int:
    return [at for at, (of, _) in enumerate(records) if of == letter][which]


@pytest.mark.parametrize("letter", [form.KEY, form.PACK, form.EVENT, form.EVIDENCE, form.DECISION])
def test_the_very_record_that_was_changed_is_named(letter: int) -> None:
    records = _records(middle())
    at = _place(records, letter, -1)
    body = bytearray(records[at][1])
    body[-3] ^= 4
    records[at] = (letter, bytes(body))
    assert f"record {at + 1} ({form.NAMES[letter]}" in _bad(maker.joined(records))


def test_a_signed_pack_in_the_place_of_another_is_named() -> None:
    book, about = maker.small()
    data, _ = maker.bundle(book, about)
    gateway = maker.Gateway(maker.Book())
    gateway.seal([maker.reading(0, -1801)])
    forged = gateway.seal([maker.reading(1, -2500)])
    records = _records(data)
    at = _place(records, form.PACK, 1)
    records[at] = (form.PACK, records[at][1][: form.INDEX_BYTES] + forged)
    told = _bad(maker.joined(records))
    assert f"pack {maker.GATEWAY}/{maker.STREAM.hex()[:8]}/2, record {at + 1}" in told
    assert "not what the ledger recorded" in told


def test_a_record_left_out_is_missed_by_its_leaf() -> None:
    records = _records(middle())
    at = _place(records, form.PACK, 7)
    leaf = int.from_bytes(records[at][1][:8], "big")
    assert f"leaf {leaf} of the ledger: the record is missing" in _bad(maker.joined(records[:at] + records[at + 1 :]))


def test_a_changed_proof_says_from_where_on() -> None:
    records = _records(middle())
    at = _place(records, form.NODES)
    body = bytearray(records[at][1])
    body[100] ^= 1
    records[at] = (form.NODES, bytes(body))
    assert "hashes 3 and 4" in _bad(maker.joined(records))


def test_a_summary_that_says_more_than_the_records_is_refused() -> None:
    records = _records(small())
    records[0] = (form.SUMMARY, records[0][1].replace(b"approved", b"returned"))
    assert _bad(maker.joined(records)) == "record 1 (summary): is not what the records say"


def test_bytes_behind_the_last_record_are_refused() -> None:
    assert "begins with the byte 0x00" in _bad(small() + b"\x00" * 6)


def test_a_length_beyond_the_file_costs_nothing() -> None:
    data = form.FIRST_LINE + bytes([form.SUMMARY]) + b"\xff\xff\xff\xff"
    assert "at most" in _bad(data)
    assert "the file ends" in _bad(form.FIRST_LINE + bytes([form.SUMMARY]) + (10_000).to_bytes(4, "big"))


def test_documents_that_are_nested_without_end_are_refused() -> None:
    book, about = maker.small()
    book.record(form.EVENT, b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(form.Broken, match="cannot be read"):
        maker.bundle(book, about)


# --- what packs say of each other -------------------------------------------------------------------------------------


def _codes(book: maker.Book, minutes: int) -> tuple[list[str], list[str]]:
    about = maker.subject(minutes)
    book.record(form.EVENT, maker.event("urn:uuid:0"))
    content = maker.bundle(book, about)[1]
    return [one.code for one in content.wrong], [one.code for one in content.missing if one.code != "no_frozen"]


def _book() -> tuple[maker.Book, maker.Gateway]:
    book = maker.Book()
    gateway = maker.Gateway(book)
    gateway.admit()
    return book, gateway


def test_a_number_that_never_came_is_missing() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    gateway.seal([maker.reading(1)])
    gateway.send([maker.reading(2)])
    assert _codes(book, 3) == ([], ["numbers"])


def test_a_declared_loss_is_told_and_nothing_is_missing_unsaid() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    lost = envelope_hash(gateway.seal([maker.reading(1)]))
    gateway.send([maker.reading(2)], losses=[Loss(maker.STREAM, 2, 2, lost, "lost", "disk full")])
    assert _codes(book, 3) == ([], ["declared_lost"])


def test_a_loss_with_another_hash_breaks_the_chain() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    gateway.seal([maker.reading(1)])
    gateway.send([maker.reading(2)], losses=[Loss(maker.STREAM, 2, 2, b"x" * 32, "lost", "disk full")])
    assert _codes(book, 3)[0] == ["chain"]


def test_a_pack_that_does_not_go_on_from_its_neighbour_is_wrong() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    gateway.prev = b"x" * 32
    gateway.send([maker.reading(1)])
    assert _codes(book, 2) == (["chain"], [])


def test_a_bundle_of_a_broken_record_is_broken_and_says_where() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    gateway.prev = b"x" * 32
    gateway.send([maker.reading(1)])
    book.record(form.EVENT, maker.event("urn:uuid:0"))
    data, _ = maker.bundle(book, maker.subject(2))
    assert f"{maker.GATEWAY}/{maker.STREAM.hex()[:8]}/2: does not go on from number 1" in _bad(data)


def test_silence_longer_than_two_intervals_is_told() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0), maker.reading(1), maker.reading(5)])
    assert _codes(book, 6) == ([], ["silence"])
    book, gateway = _book()
    gateway.send([maker.reading(0, channel="other/air")])
    assert _codes(book, 1) == ([], ["no_readings"])


def test_a_series_whose_silences_nobody_can_tell_is_not_complete() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0), maker.reading(50)])
    book.record(form.EVENT, maker.event("urn:uuid:0"))
    about = maker.subject(60)
    series = [msgspec.structs.replace(one, log_interval_ms=0) for one in about.series]
    content = maker.bundle(book, msgspec.structs.replace(about, series=series))[1]
    assert [one.code for one in content.missing if one.code != "no_frozen"] == ["no_interval"]


def test_a_stay_without_a_sensor_is_told() -> None:
    book, about = maker.small()
    stays = [*about.stays, Stay("8930000000132", "Xe lạnh", "Truck", True, about.to_ms, None, about.to_ms + 1)]
    content = maker.bundle(book, msgspec.structs.replace(about, stays=stays))[1]
    assert [one.code for one in content.missing] == ["no_series"]


# --- whose key --------------------------------------------------------------------------------------------------------


def _changed(first_seq: int) -> tuple[maker.Book, maker.Gateway]:
    """A gateway that names its next key in pack 1, to begin with `first_seq`; the new key is in the ledger."""
    book, gateway = _book()
    fresh = maker.key_of("fresh").public_key().public_bytes_raw()
    gateway.send([maker.reading(0)], key_change=KeyChange(fresh, first_seq))
    book.record(form.KEY, maker.GATEWAY.encode() + b"\x00" + fresh)
    return book, gateway


def test_the_next_key_signs_from_its_number_on() -> None:
    book, gateway = _changed(3)
    gateway.send([maker.reading(1)])
    gateway.key = maker.key_of("fresh")
    gateway.send([maker.reading(2)])
    assert _codes(book, 3) == ([], [])


def test_a_key_that_named_its_successor_signs_nothing_beyond() -> None:
    book, gateway = _changed(2)
    gateway.send([maker.reading(1)])
    assert _codes(book, 2) == (["key_ended"], [])


def test_an_ended_key_signs_older_streams_up_to_what_their_successor_names() -> None:
    book, gateway = _book()
    old = maker.Gateway(book, stream=b"o" * 16)
    first, late = old.seal([maker.reading(0)]), old.seal([maker.reading(1)])
    book.record(form.PACK, first)
    fresh = maker.key_of("fresh").public_key().public_bytes_raw()
    head = StreamHead(b"o" * 16, 2, envelope_hash(late))
    gateway.send([maker.reading(2)], key_change=KeyChange(fresh, 2), predecessor=head)
    book.record(form.PACK, late)
    assert _codes(book, 3) == ([], [])
    book.record(form.PACK, old.seal([maker.reading(2)]))
    assert _codes(book, 3)[0] == ["key_ended"]


def test_a_key_the_ledger_learnt_of_later_is_wrong() -> None:
    book = maker.Book()
    gateway = maker.Gateway(book)
    gateway.send([maker.reading(0)])
    gateway.admit()
    assert _codes(book, 1) == (["key_too_late"], [])


def test_a_pack_of_a_gateway_without_a_key_in_the_bundle_is_refused() -> None:
    book = maker.Book()
    maker.Gateway(book).send([maker.reading(0)])
    book.record(form.EVENT, maker.event("urn:uuid:0"))
    with pytest.raises(form.Broken, match="which the bundle does not have"):
        maker.bundle(book, maker.subject(1))


def test_another_gateways_key_signs_nothing() -> None:
    book, gateway = _book()
    gateway.key = maker.key_of("other")
    gateway.send([maker.reading(0)])
    book.record(form.EVENT, maker.event("urn:uuid:0"))
    with pytest.raises(form.Broken, match="which the bundle does not have"):
        maker.bundle(book, maker.subject(1))


@pytest.mark.parametrize(("from_seq", "wrong"), [(None, ["key_revoked"]), (2, ["key_revoked_from"]), (3, [])])
def test_a_revoked_key_signs_nothing_afterwards(from_seq: int | None, wrong: list[str]) -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    kid = maker.judged(maker.bundle(*maker.small())[0]).content
    assert kid is not None
    taken = {"gateway": maker.GATEWAY, "kind": "key", "subject": kid.keys[0][1], "from_seq": from_seq}
    book.record(form.REVOCATION, msgspec.json.encode(taken | {"reason": "lost", "revoked_ms": 1}))
    gateway.send([maker.reading(1)])
    assert _codes(book, 2) == (wrong, [])


# --- frozen evidence --------------------------------------------------------------------------------------------------


def test_evidence_that_does_not_follow_from_the_packs_is_wrong() -> None:
    book, about = maker.small()
    book.record(form.EVIDENCE, maker.evidence(8, count=7, low=-18.01, high=-18.0))
    data, content = maker.bundle(book, about)
    assert [one.code for one in content.wrong] == ["other_numbers"]
    assert "it says 7 (-18.01 … -18.0), the packs here give 8" in _bad(data)


@pytest.mark.parametrize(
    ("frozen", "left_out", "said"),
    [
        ((7, -18.01, -18.0), {"misplaced": 1}, "missing"),
        ((6, -18.0, -18.0), {"misplaced": 1, "future": 1}, "missing"),
        ((7, -18.0, -18.0), {"future": 5}, "missing"),
        ((1, -18.0, -18.0), {"misplaced": 1}, "wrong"),
        ((9, -18.01, -18.0), {"misplaced": 1}, "wrong"),
        ((7, -18.01, -17.0), {"misplaced": 1}, "wrong"),
        ((7, -18.01, -18.0), {"misplaced": 9, "future": -9}, "wrong"),
    ],
)
def test_what_was_left_out_for_its_time_excuses_no_more_than_it_counts(
    frozen: tuple[int, float, float], left_out: dict[str, int], said: str
) -> None:
    book, about = maker.small()
    count, low, high = frozen
    body = msgspec.json.decode(maker.evidence(8, count=count, low=low, high=high))
    body["stays"][0]["series"][0] |= left_out
    book.record(form.EVIDENCE, msgspec.json.encode(body))
    content = maker.bundle(book, about)[1]
    expected = {"missing": ([], ["not_recomputed"]), "wrong": (["other_numbers"], [])}[said]
    assert ([one.code for one in content.wrong], [one.code for one in content.missing]) == expected


def test_evidence_is_held_against_what_the_ledger_had_before_it() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    book.record(form.EVIDENCE, maker.evidence(2, count=1, low=-18.0, high=-18.0))
    gateway.send([maker.reading(1, -1700)])
    book.record(form.EVIDENCE, maker.evidence(2, count=2, low=-18.0, high=-17.0))
    assert _codes(book, 2) == ([], [])


def test_a_decision_on_evidence_that_is_not_here_is_wrong() -> None:
    book, gateway = _book()
    gateway.send([maker.reading(0)])
    book.record(form.DECISION, maker.decision(b"{}"))
    assert _codes(book, 1)[0] == ["no_evidence"]


def test_evidence_of_another_lot_is_wrong() -> None:
    book, about = maker.small()
    body = maker.evidence(8, count=8, low=-18.01, high=-18.0).replace(b'"L1"', b'"L2"')
    book.record(form.EVIDENCE, body)
    assert [one.code for one in maker.bundle(book, about)[1].wrong] == ["other_lot"]


def test_a_lot_no_event_speaks_of_is_no_bundles_subject() -> None:
    book, about = maker.small()
    with pytest.raises(form.Broken, match="no event in the bundle speaks of lot"):
        maker.bundle(book, msgspec.structs.replace(about, lot="L"))
