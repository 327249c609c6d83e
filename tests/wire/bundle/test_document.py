"""docs/bundle.md against the code: its tables, a reader written from it alone, and a bundle that stays readable."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.wire.bundle import maker, plain_reader
from wire.bundle import form
from wire.bundle.subject import GATEWAYS_MAX, SERIES_MAX, STAYS_MAX, TEXT_MAX, Series, Stay, Subject

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "bundle.md").read_text("utf-8")
VECTOR = (ROOT / "tests" / "vectors" / "bundle" / "lot.coldproof").read_bytes()


def test_a_bundle_of_version_1_stays_intact_for_ever() -> None:
    report = maker.judged(VECTOR, maker.LOG_KEY)
    assert report.bad is None, "also other words in the summary: those of a version never change"
    assert report.anchored


def test_a_reader_written_from_the_document_reads_it() -> None:
    assert plain_reader.read(VECTOR) == {
        b"S": 1, b"H": 1, b"C": 1, b"V": 2, b"I": 1, b"N": 1, b"K": 1, b"P": 4, b"E": 1, b"F": 1, b"D": 1
    }  # fmt: skip
    plain_reader.read(maker.bundle(*maker.small(50, 3))[0])


@pytest.mark.parametrize("letter", [form.CHECKPOINT, form.NODES, form.INDICES, form.KEY, form.PACK, form.DECISION])
def test_both_readers_refuse_what_was_changed(letter: int) -> None:
    record = next(one for one in maker.framed(VECTOR) if one.letter == letter)
    changed = bytearray(VECTOR)
    changed[record.at + 40] ^= 1
    assert not maker.judged(bytes(changed)).intact
    with pytest.raises(Exception):  # noqa: B017 - the plain reader says no in whatever way comes first
        plain_reader.read(bytes(changed))


def test_records_and_their_limits_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w)` \| ([^|]+?) \| .* \| ([\d,]+) \|$", DOCUMENT, re.MULTILINE)
    told = {ord(letter): (name, int(limit.replace(",", ""))) for letter, name, limit in rows}
    assert told == {letter: (form.NAMES[letter], limit) for letter, limit in form.LIMITS.items()}
    assert [ord(letter) for letter, _, _ in rows] == list(form.LIMITS)
    assert f"{form.LEAVES_MAX:,} leaves" in DOCUMENT


@pytest.mark.parametrize("kind", [Subject, Stay, Series])
def test_fields_are_those_of_the_code(kind: type[msgspec.Struct]) -> None:
    table = DOCUMENT.split(f"\n`{kind.__name__}`", 1)[1].split("\n\n", 2)[1]
    assert re.findall(r"^\| \d+ \| `(\w+)` \|", table, re.MULTILINE) == list(kind.__struct_fields__)


def test_limits_of_the_subject_are_those_of_the_code() -> None:
    assert f"at most {TEXT_MAX} characters" in DOCUMENT
    assert f"{GATEWAYS_MAX:,} gateways and stays" in DOCUMENT
    assert STAYS_MAX == GATEWAYS_MAX
    assert f"{SERIES_MAX:,} series" in DOCUMENT
