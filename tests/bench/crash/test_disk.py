"""The model of a disk: what is synced is there, what is not may be there in any part."""

from __future__ import annotations

import random

from bench.crash.disk import SECTOR_BYTES, Disk
from bench.crash.trace import Step

CUTS = 300
SYNCED = [
    Step("create", "/d/a"),
    Step("write", "/d/a", 0, b"1" * 2000),
    Step("sync", "/d/a"),
    Step("sync_folder", "/d"),
]


def outcomes(*steps: Step) -> list[dict[str, bytes]]:
    disk = Disk("/d")
    for step in steps:
        disk.apply(step)
    return [disk.cut(random.Random(seed)) for seed in range(CUTS)]


def test_what_was_synced_is_always_there() -> None:
    assert all(found == {"/d/a": b"1" * 2000} for found in outcomes(*SYNCED))


def test_an_unsynced_write_is_there_torn_or_missing_and_harms_nothing_beside_it() -> None:
    found = outcomes(*SYNCED, Step("write", "/d/a", 100, b"2" * 1500))
    contents = {each["/d/a"] for each in found}
    assert b"1" * 2000 in contents
    assert b"1" * 100 + b"2" * 1500 + b"1" * 400 in contents
    assert any(each[100:SECTOR_BYTES] != each[SECTOR_BYTES : SECTOR_BYTES + 412] for each in contents), "none is torn"
    assert all(len(each) == 2000 and each[:100] == b"1" * 100 and each[1600:] == b"1" * 400 for each in contents)


def test_later_writes_may_come_without_earlier_ones() -> None:
    found = outcomes(*SYNCED, Step("write", "/d/a", 0, b"2" * 512), Step("write", "/d/a", 1024, b"3" * 512))
    assert any(each["/d/a"][0:1] == b"1" and each["/d/a"][1024:1025] == b"3" for each in found)


def test_a_file_may_have_grown_without_its_data() -> None:
    found = outcomes(*SYNCED, Step("write", "/d/a", 2000, b"2" * 4000))
    assert any(len(each["/d/a"]) == 6000 and each["/d/a"][2048:2560] != b"2" * 512 for each in found)
    assert all(each["/d/a"][:2000] == b"1" * 2000 for each in found)


def test_a_synced_file_without_a_synced_name_may_be_gone() -> None:
    found = outcomes(Step("create", "/d/a"), Step("write", "/d/a", 0, b"1"), Step("sync", "/d/a"))
    assert {} in found
    assert {"/d/a": b"1"} in found


def test_a_rename_is_there_or_not_never_half() -> None:
    replaced = (Step("create", "/d/b"), Step("write", "/d/b", 0, b"2"), Step("sync", "/d/b"))
    found = outcomes(*SYNCED, *replaced, Step("sync_folder", "/d"), Step("rename", "/d/b", other="/d/a"))
    assert {"/d/a": b"2"} in found
    assert {"/d/a": b"1" * 2000, "/d/b": b"2"} in found
    assert all(each["/d/a"] in (b"2", b"1" * 2000) for each in found)


def test_files_go_with_the_folder_they_lie_in() -> None:
    made = (Step("mkdir", "/d/e"), Step("create", "/d/e/a"), Step("sync", "/d/e/a"), Step("sync_folder", "/d/e"))
    assert {} in outcomes(*made)
    assert all(each == {"/d/e/a": b""} for each in outcomes(*made, Step("sync_folder", "/d")))
