"""The cloud's key: made once, private, and never replaced behind the gateways' backs."""

from __future__ import annotations

import base64
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud.keys import PRIVATE_FILE, PUBLIC_FILE, KeyFileError, load_or_create


def test_key_is_made_once(tmp_path: Path):
    first, again = load_or_create(tmp_path / "new"), load_or_create(tmp_path / "new")
    assert first.kid == again.kid
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [PRIVATE_FILE, PUBLIC_FILE]


def test_private_half_is_for_its_owner_only(tmp_path: Path):
    load_or_create(tmp_path)
    assert stat.S_IMODE((tmp_path / PRIVATE_FILE).stat().st_mode) == 0o600


def test_public_half_is_the_raw_key(tmp_path: Path):
    key = load_or_create(tmp_path)
    shown = json.loads((tmp_path / PUBLIC_FILE).read_text())
    assert base64.b64decode(shown["cloud_key"]) == key.private.public_key().public_bytes_raw()


def test_lost_public_half_is_written_again(tmp_path: Path):
    load_or_create(tmp_path)
    before = (tmp_path / PUBLIC_FILE).read_bytes()
    (tmp_path / PUBLIC_FILE).unlink()
    load_or_create(tmp_path)
    assert (tmp_path / PUBLIC_FILE).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe"])
def test_damaged_key_is_never_replaced(tmp_path: Path, content: bytes):
    (tmp_path / PRIVATE_FILE).write_bytes(content)
    with pytest.raises(KeyFileError, match="restore it from the backup"):
        load_or_create(tmp_path)
    assert (tmp_path / PRIVATE_FILE).read_bytes() == content


def test_starters_at_once_agree_on_one_key(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(load_or_create, [tmp_path] * 8))
    assert len({key.kid for key in keys}) == 1


def test_unusable_folder_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="check the rights"):
        load_or_create(tmp_path / "file")
