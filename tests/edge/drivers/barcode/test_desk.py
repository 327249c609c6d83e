"""What is made of codes: repeats count, cards command, verdicts answer, and nothing read is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.barcode.codec import Code, Overlong
from edge.drivers.barcode.config import BarcodeConfig
from edge.drivers.barcode.desk import REMEMBERED_MAX, Desk, Look
from edge.drivers.barcode.options import CommandCard
from wire.observation import ClockState, Scan, Stamp

LABEL = Code("010893000000012510LOT-7", "C1")
PALLET = Code("00189300000000001013", "C1")
WRONG = Code("0108930000000126", "C1")
OWN = Code("CRATE-17", "C0")
CARDS = [CommandCard("start-lot", "CP:START:*"), CommandCard("stop-lot", "CP:STOP"), CommandCard("undo", "CP:UNDO")]


def at(ms: int, boot: bytes = bytes(16)) -> Stamp:
    return Stamp(1_790_000_000_000 + ms, ms, boot, ClockState.SYNCED)


def desk(**options: object) -> Desk:
    return Desk("packing", BarcodeConfig(port="/dev/x", **options))  # type: ignore[arg-type]


def take(desk: Desk, *found: Code | Overlong, ms: int = 0, boot: bytes = bytes(16)) -> Look:
    look = desk.look(found, at(ms, boot))
    desk.remember(look)
    return look


def told(look: Look) -> list[tuple[str, str, int]]:
    return [(scan.channel, scan.code, scan.count) for scan in look.scans]


def test_every_code_is_a_scan_unless_a_window_is_set() -> None:
    one = desk()
    assert told(take(one, LABEL, LABEL)) == [("packing/scan", LABEL.text, 1)] * 2
    assert told(take(one, LABEL)) == [("packing/scan", LABEL.text, 1)]


def test_same_code_within_the_window_is_one_scan_and_the_count_says_so() -> None:
    one = desk(double_scan_s=2.0)
    assert told(take(one, LABEL, ms=0)) == [("packing/scan", LABEL.text, 1)]
    assert told(take(one, LABEL, ms=500)) == [("packing/scan.repeats", LABEL.text, 2)]
    assert told(take(one, LABEL, LABEL, ms=900)) == [("packing/scan.repeats", LABEL.text, 4)]
    [repeat] = take(one, LABEL, ms=1_999).scans
    assert (repeat.count, repeat.symbology, repeat.stamp) == (5, "C1", at(1_999))
    assert (repeat.first_seen_ms, repeat.last_seen_ms) == (at(0).observed_at_ms, at(1_999).observed_at_ms)
    assert told(take(one, LABEL, ms=2_000)) == [("packing/scan", LABEL.text, 1)]  # the window does not grow


def test_first_scan_and_repeats_that_come_together_are_told_apart() -> None:
    assert told(take(desk(double_scan_s=1.0), LABEL, PALLET, LABEL)) == [
        ("packing/scan", LABEL.text, 1),
        ("packing/scan", PALLET.text, 1),
        ("packing/scan.repeats", LABEL.text, 2),
    ]


def test_scan_that_did_not_reach_the_disk_begins_no_window() -> None:
    one = desk(double_scan_s=2.0)
    one.look([LABEL], at(0))  # the disk was full: nobody called remember
    assert told(take(one, LABEL, ms=100)) == [("packing/scan", LABEL.text, 1)]


def test_other_boot_or_symbology_is_another_scan() -> None:
    one = desk(double_scan_s=2.0)
    take(one, LABEL)
    assert told(take(one, LABEL, ms=100, boot=b"1" * 16)) == [("packing/scan", LABEL.text, 1)]
    assert told(take(one, Code(LABEL.text, "d2"), ms=100, boot=b"1" * 16)) == [("packing/scan", LABEL.text, 1)]


def test_window_remembers_so_many_codes_and_no_more() -> None:
    one = desk(double_scan_s=60.0)
    for number in range(REMEMBERED_MAX + 10):
        take(one, Code(f"N{number}", "C0"), ms=number)
    assert len(one._seen) == REMEMBERED_MAX
    assert told(take(one, Code("N0", "C0"), ms=1_000)) == [("packing/scan", "N0", 1)]
    assert told(take(one, Code("N200", "C0"), ms=1_000)) == [("packing/scan.repeats", "N200", 2)]


def test_wall_clock_that_steps_back_leaves_first_before_last() -> None:
    one = desk(double_scan_s=2.0)
    take(one, LABEL, ms=0)
    back = Stamp(at(0).observed_at_ms - 3_600_000, 100, bytes(16), ClockState.SYNCED)
    [repeat] = one.look([LABEL], back).scans
    assert repeat.first_seen_ms is not None
    assert repeat.last_seen_ms == repeat.first_seen_ms + 100


def test_card_is_recorded_as_a_command_and_accepted() -> None:
    one = desk(card=CARDS, double_scan_s=1.0, gs1_only=True)
    look = take(one, Code("CP:START:LOT-7", "Q1"), LABEL, Code("CP:UNDO", "Q1"), Code("CP:UNDO", "Q1"))
    assert told(look) == [
        ("packing/scan.start-lot", "CP:START:LOT-7", 1),
        ("packing/scan", LABEL.text, 1),
        ("packing/scan.undo", "CP:UNDO", 1),
        ("packing/scan.repeats", "CP:UNDO", 2),
    ]
    assert look.accepted == [True] * 4
    assert look.troubles == []
    assert told(take(one, Code("CP:UNDO?", "Q1")))[0][0] == "packing/scan.refused"  # gs1_only


def test_refused_code_is_recorded_answered_and_told() -> None:
    look = take(desk(), WRONG, LABEL, OWN, Code("010893000000012510lot-7", "c1"))
    assert told(look) == [
        ("packing/scan.refused", WRONG.text, 1),
        ("packing/scan", LABEL.text, 1),
        ("packing/scan", OWN.text, 1),
        ("packing/scan.refused", "010893000000012510lot-7", 1),
    ]
    assert look.accepted == [False, True, True, False]
    assert "'0108930000000126' is recorded but refused: (01) the check digit" in look.troubles[0]
    assert "Caps Lock" in look.troubles[1]


def test_repeat_of_a_refused_code_is_refused_again_without_a_word() -> None:
    one = desk(double_scan_s=1.0)
    assert take(one, WRONG).accepted == [False]
    again = take(one, WRONG, ms=100)
    assert (again.accepted, again.troubles) == ([False], [])


def test_only_gs1_data_if_asked_for() -> None:
    look = take(desk(gs1_only=True), OWN, LABEL)
    assert look.accepted == [False, True]
    assert "it is not GS1 data" in look.troubles[0]


def test_identifier_that_must_be_there() -> None:
    look = take(desk(require_aim=True), Code(LABEL.text, ""), LABEL)
    assert look.accepted == [False, True]
    assert "no AIM identifier" in look.troubles[0]


def test_trouble_of_the_reader_refuses_the_best_of_codes() -> None:
    look = take(desk(card=CARDS), Code(LABEL.text, "C1", "key 59: no character"), Code("CP:UNDO", "", "lost"))
    assert look.accepted == [False, False]
    assert "key 59: no character" in look.troubles[0]
    assert [scan.channel for scan in look.scans] == ["packing/scan.refused"] * 2


def test_overlong_bytes_are_told_beside_good_codes() -> None:
    look = take(desk(), LABEL, Overlong(9000), PALLET)
    assert [scan.code for scan in look.scans] == [LABEL.text, PALLET.text]
    assert look.accepted == [True, True]
    assert "9000 bytes without the suffix" in look.troubles[0]


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.lists(st.sampled_from("ABC"), max_size=4)), max_size=30),
    st.sampled_from([0.0, 0.5, 2.0]),
)
def test_every_read_is_counted_once(steps: list[tuple[int, list[str]]], window_s: float) -> None:
    """Reads = what the last row of each window counts, for any order and pace."""
    one = desk(double_scan_s=window_s)
    ms, reads = 0, 0
    counts: dict[tuple[str, int], int] = {}
    for step_ms, names in steps:
        ms += step_ms
        look = take(one, *(Code(name, "C0") for name in names), ms=ms)
        assert len(look.accepted) == len(names)
        reads += len(names)
        for number, scan in enumerate(look.scans):
            assert isinstance(scan, Scan)
            first_ms = scan.first_seen_ms or scan.stamp.observed_at_ms
            key = (scan.code, first_ms if window_s else len(counts) * 10_000 + number)
            assert scan.count > counts.get(key, 0)
            counts[key] = scan.count
    assert sum(counts.values()) == reads
