"""A registry document: all of it or nothing, twice the same as once, every mistake named with its path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.errors import CloudError
from cloud.registry import load, query
from cloud.registry.keys import RegistryError

GOOD = """
[[party]]
gln = "8930000000019"
name = "Công ty A"
address = "Cần Thơ"

[[place]]
gln = "8930000000026"
name = "Kho lạnh 1"
name_en = "Cold room 1"
kind = "storage"
party = "8930000000019"

[[read_point]]
gateway = "gw-kho-01"
channel = "scanner-door/scan"
place = "8930000000026"
step = "store"

[[sensor_binding]]
gateway = "gw-kho-01"
channel = "room-1/air"
place = "8930000000026"
measurement = "Temperature"
sensor = "XY-MD02 0001"
log_interval_s = 60
valid_from = "2025-10-01T00:00:00+07:00"

[[profile]]
name = "frozen"
version = 1
title = "Đông lạnh"
title_en = "Frozen"
source = "own"
low = -25.0
high = -18.0
valid_from = 2025-01-01T00:00:00+07:00
[[profile.rules]]
name = "too warm"
direction = "above"
threshold = -15.0
duration_s = 1800
severity = "critical"

[[product]]
gtin = "8930000000033"
name = "Tôm"
name_en = "Shrimp"
party = "8930000000019"
profile = "frozen"
"""
OCTOBER_MS = 1_759_251_600_000  # 2025-10-01T00:00:00+07:00
PLACE = "8930000000026"


def _load(engine: Engine, folder: Path, text: str) -> None:
    file = folder / "registry.toml"
    file.write_text(text, "utf-8")
    document = load.read_file(file)
    with writing(engine) as conn:
        load.load(conn, document)


def test_everything_can_be_asked_for(engine: Engine, tmp_path: Path):
    _load(engine, tmp_path, GOOD)
    with reading(engine) as conn:
        assert query.party(conn, "8930000000019") == query.Party("8930000000019", "Công ty A", "Cần Thơ")
        place = query.Place(PLACE, "Kho lạnh 1", "Cold room 1", "storage", "8930000000019", custody=True)
        assert (query.place(conn, PLACE), query.places(conn)) == (place, [place])
        point = query.read_point(conn, "gw-kho-01", "scanner-door/scan")
        assert point == query.ReadPoint("gw-kho-01", "scanner-door/scan", PLACE, "store")
        product = query.product(conn, "08930000000033")
        assert product is not None
        assert product.name == "Tôm"
        assert (query.products(conn), len(query.parties(conn))) == ([product], 1)
        profile = query.profile_at(conn, "frozen", OCTOBER_MS)
        assert profile is not None
        assert (profile.version, profile.high, profile.rules[0].threshold) == (1, -18.0, -15.0)
        (binding,) = query.bindings(conn, PLACE, OCTOBER_MS, OCTOBER_MS + 1)
        assert (binding.valid_from_ms, binding.valid_to_ms) == (OCTOBER_MS, None)


def test_what_is_not_there_is_none(engine: Engine):
    with reading(engine) as conn:
        assert query.party(conn, "1") is None
        assert query.place(conn, "1") is None
        assert query.product(conn, "1") is None
        assert query.read_point(conn, "g", "c/p") is None
        assert query.profile_at(conn, "frozen", 0) is None
        assert query.bindings(conn, "1", 0, 1) == []


def test_loading_twice_changes_nothing(engine: Engine, tmp_path: Path):
    _load(engine, tmp_path, GOOD)
    _load(engine, tmp_path, GOOD)
    with reading(engine) as conn:
        assert len(query.bindings(conn, PLACE, 0, 2**62)) == 1
        assert len(query.products(conn)) == 1


def test_next_binding_of_a_channel_ends_the_one_before(engine: Engine, tmp_path: Path):
    _load(engine, tmp_path, GOOD)
    table = GOOD[GOOD.index("[[sensor_binding]]") : GOOD.index("[[profile]]")]
    _load(engine, tmp_path, table.replace("2025-10-01", "2025-10-03").replace("0001", "0002"))
    _load(engine, tmp_path, table.replace("2025-10-01", "2025-10-02").replace("0001", "0003"))
    _load(engine, tmp_path, GOOD)
    day_ms = 86_400_000
    with reading(engine) as conn:
        found = query.bindings_of_channel(conn, "gw-kho-01", "room-1/air")
        second_day = query.bindings(conn, PLACE, OCTOBER_MS + day_ms, OCTOBER_MS + 2 * day_ms)
    assert [(one.sensor[-1], one.valid_from_ms, one.valid_to_ms) for one in found] == [
        ("1", OCTOBER_MS, OCTOBER_MS + day_ms),
        ("3", OCTOBER_MS + day_ms, OCTOBER_MS + 2 * day_ms),
        ("2", OCTOBER_MS + 2 * day_ms, None),
    ]
    assert [one.sensor[-1] for one in second_day] == ["3"]


@pytest.mark.parametrize(("was", "becomes"), [("threshold = -15", "threshold = nan"), ("high = -18", "high = inf")])
def test_limit_that_is_no_number_is_refused(engine: Engine, tmp_path: Path, was: str, becomes: str):
    assert was in GOOD
    name = becomes.partition(" ")[0]
    with pytest.raises(RegistryError, match=rf"{name}: not a finite number"):
        _load(engine, tmp_path, re.sub(rf"{was}(\.0)?", becomes, GOOD))


def test_limits_in_force_at_an_instant(engine: Engine, tmp_path: Path):
    _load(engine, tmp_path, GOOD)
    profile = GOOD[GOOD.index("[[profile]]") : GOOD.index("[[product]]")]
    second = profile.replace("version = 1", "version = 2").replace("2025-01-01", "2025-10-01")
    _load(engine, tmp_path, second.replace("-18.0", "-20.0"))
    with reading(engine) as conn:
        versions = [query.profile_at(conn, "frozen", OCTOBER_MS + add) for add in (-1, 0)]
    assert [(one.version, one.high) for one in versions if one] == [(1, -18.0), (2, -20.0)]


def test_changed_limits_need_a_new_version(engine: Engine, tmp_path: Path):
    _load(engine, tmp_path, GOOD)
    with pytest.raises(CloudError, match=r"profile\[0\]: version 1 of 'frozen'.*new version"):
        _load(engine, tmp_path, GOOD.replace("threshold = -15.0", "threshold = -12.0"))


def test_bad_document_leaves_nothing(engine: Engine, tmp_path: Path):
    with pytest.raises(CloudError, match=r"product\[0\].profile: no profile 'chilled'"):
        _load(engine, tmp_path, GOOD.replace('profile = "frozen"', 'profile = "chilled"'))
    with reading(engine) as conn:
        assert query.parties(conn) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[[party]]", "[[partie]]", "partie: unknown key, allowed here: party, place"),
        ('name_en = "Shrimp"', 'name_eng = "Shrimp"', r"product\[0\].name_eng: unknown key, allowed here: gtin"),
        ('severity = "critical"', 'severty = "critical"', r"profile\[0\].rules\[0\].severty: unknown key"),
        ('severity = "critical"', 'severity = "bad"', r"profile\[0\].rules\[0\].severity: allowed: critical, warning"),
        ('direction = "above"', 'direction = "up"', r"rules\[0\].direction: allowed: above, below"),
        ("duration_s = 1800", "duration_s = -1", r"rules\[0\].duration_s: below 0"),
        ("low = -25.0", "low = 0.0", r"profile\[0\].low: not below high"),
        ("version = 1", 'version = "1"', r"profile\[0\].version"),
        ('gln = "8930000000019"', 'gln = "8930000000018"', r"party\[0\].gln: '8930000000018' is not a GLN"),
        ('gtin = "8930000000033"', 'gtin = "8930000000034"', r"product\[0\].gtin: .* is not a GTIN"),
        ('kind = "storage"', 'kind = "cellar"', r"place\[0\].kind"),
        ('step = "store"', 'step = "stare"', r"read_point\[0\].step"),
        ('channel = "room-1/air"', 'channel = "room-1"', r"sensor_binding\[0\].channel: 'room-1' is not a channel"),
        ('gateway = "gw-kho-01"', 'gateway = "GW"', r"read_point\[0\].gateway: 'GW' is not a gateway name"),
        ("log_interval_s = 60", "log_interval_s = 0", r"sensor_binding\[0\].log_interval_s"),
        ('T00:00:00+07:00"', 'T00:00:00"', r"sensor_binding\[0\].valid_from"),
        ('place = "8930000000026"', 'place = "8930000000033"', r"read_point\[0\].place: no place '8930000000033'"),
        ('party = "8930000000019"', 'party = "8930000000026"', r"place\[0\].party: no party '8930000000026'"),
        ("[[read_point]]", "[[read_point]", "not TOML"),
        ('name = "Tôm"', 'name = ""', r"product\[0\].name"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_path(engine: Engine, tmp_path: Path, old: str, new: str, words: str):
    assert old in GOOD
    with pytest.raises(CloudError, match=words) as caught:
        _load(engine, tmp_path, GOOD.replace(old, new, 1))
    assert "registry.toml" in str(caught.value) or "no p" in str(caught.value)


def test_entry_said_twice_is_refused(engine: Engine, tmp_path: Path):
    twice = GOOD + GOOD[GOOD.index("[[product]]") :].replace("8930000000033", "08930000000033")
    with pytest.raises(CloudError, match=r"product\[1\]: says the same as product\[0\]"):
        _load(engine, tmp_path, twice)


def test_file_that_is_not_text_is_refused(tmp_path: Path):
    file = tmp_path / "registry.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(CloudError, match="not UTF-8"):
        load.read_file(file)
    with pytest.raises(CloudError, match="cannot be read"):
        load.read_file(tmp_path / "none.toml")
