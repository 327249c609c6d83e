"""The gateway's key and the pinned cloud key: made once, kept private, and refused with clear words."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.durable import replace_file
from edge.keys import PRIVATE_NAME, PUBLIC_NAME, KeyFileError, load_cloud_key, load_or_make
from standards import cose

RAW = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
BASE64 = base64.b64encode(RAW).decode()


def test_the_key_is_made_once_owner_only_and_its_public_half_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = load_or_make(folder, "gw-1", simulated=True)
    again = load_or_make(folder, "gw-1", simulated=True)
    assert first.key.private_bytes_raw() == again.key.private_bytes_raw()
    assert (folder / PRIVATE_NAME).stat().st_mode & 0o777 == 0o600
    half = json.loads((folder / PUBLIC_NAME).read_text())
    assert (half["gateway"], half["simulated"]) == ("gw-1", True)
    assert base64.b64decode(half["public_key"]) == first.key.public_key().public_bytes_raw()
    assert first.kid == cose.key_id(first.key.public_key())
    assert sorted(each.name for each in folder.iterdir()) == [PRIVATE_NAME, PUBLIC_NAME]


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    load_or_make(tmp_path, "gw-1")
    before = (tmp_path / PUBLIC_NAME).read_bytes()
    (tmp_path / PUBLIC_NAME).unlink()
    load_or_make(tmp_path, "gw-1")
    assert (tmp_path / PUBLIC_NAME).read_bytes() == before


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_or_make(tmp_path, "gw-1")
    (tmp_path / PRIVATE_NAME).chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_or_make(tmp_path, "gw-1")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 90_000])
def test_a_broken_private_key_is_never_replaced_by_a_new_one(tmp_path: Path, content: bytes) -> None:
    replace_file(tmp_path / PRIVATE_NAME, content, mode=0o600)
    with pytest.raises(KeyFileError, match="not a private key"):
        load_or_make(tmp_path, "gw-1")
    assert (tmp_path / PRIVATE_NAME).read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    pem = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace_file(tmp_path / PRIVATE_NAME, pem, mode=0o600)
    with pytest.raises(KeyFileError, match="Ed25519 key is needed"):
        load_or_make(tmp_path, "gw-1")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(KeyFileError, match="cannot be written"):
        load_or_make(tmp_path / "data", "gw-1")


def test_the_cloud_key_is_read_from_a_file_or_taken_as_base64(tmp_path: Path) -> None:
    (tmp_path / "cloud-public.json").write_text(json.dumps({"cloud_key": BASE64}))
    assert load_cloud_key("cloud-public.json", tmp_path).public_bytes_raw() == RAW
    assert load_cloud_key(str(tmp_path / "cloud-public.json"), Path("/")).public_bytes_raw() == RAW
    assert load_cloud_key(BASE64, tmp_path).public_bytes_raw() == RAW


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not a cloud public half"),
        ("[]", "not a cloud public half"),
        ('{"public_key": "x"}', "not a cloud public half"),
        ('{"cloud_key": 5}', "not a cloud public half"),
        ('{"cloud_key": "###"}', "not base64"),
        (json.dumps({"cloud_key": base64.b64encode(RAW[:31]).decode()}), "31 bytes"),
        ("x" * 90_000, "not a cloud public half"),
    ],
)
def test_a_cloud_file_that_says_no_key_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "cloud.json").write_text(content)
    with pytest.raises(KeyFileError, match=why):
        load_cloud_key("cloud.json", tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("missing.json", "no such file"),
        ("", "0 bytes"),
        ("AAAA", "3 bytes"),
        ("not base64!", "not base64"),
        ("x" * 5000, "neither a path|not base64|bytes"),
        ("." * 5000, "neither a path"),
    ],
)
def test_a_cloud_key_that_is_neither_file_nor_key_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(KeyFileError, match=why):
        load_cloud_key(text, tmp_path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old", mode=0o600)

    def fail(_: int) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space"):
            replace_file(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    replace_file(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
