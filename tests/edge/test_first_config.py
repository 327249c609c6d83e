"""Enrolment writes a first configuration or adds to one, and never changes what a person wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import ConfigError, load_config
from edge.enrol import Place
from edge.first_config import read_gateway_table, settle_configuration

PLACE = Place("http://cloud", "broker.example.vn", 8883, 1)
GATEWAY = '# by hand\n[gateway]\nname = "gw-1"\ndata_dir = "data"\n'


def _settle(path: Path, folder: Path) -> str:
    return settle_configuration(path, "gw-1", folder, PLACE)


@pytest.mark.parametrize("name", ["edge", 'with "quotes"', "back\\slash", "Kho lạnh"])
def test_first_configuration_is_complete(tmp_path: Path, name: str):
    path, folder = tmp_path / "etc" / "gateway.toml", tmp_path / name
    assert read_gateway_table(path) is None
    assert _settle(path, folder).startswith("written: ")
    config = load_config(path)
    assert (config.name, config.data_dir) == ("gw-1", folder)
    assert (config.uplink.host, config.uplink.port) == ("broker.example.vn", 8883)
    assert config.uplink.cloud_key == str(folder / "cloud-public.json")
    assert config.uplink.tls is not None
    assert config.uplink.tls.certificate == config.uplink.tls.key == str(folder / "link.pem")
    before = path.read_bytes()
    assert "leads there already" in _settle(path, folder)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640


def test_uplink_is_added_behind_what_is_there(tmp_path: Path):
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    found = read_gateway_table(path)
    assert found is not None
    assert (found.name, found.data_dir, found.simulated) == ("gw-1", tmp_path / "data", False)
    assert _settle(path, found.data_dir).startswith("added to")
    assert path.read_text().startswith(GATEWAY)
    assert load_config(path).uplink.port == 8883


def test_uplink_of_a_person_is_left_alone_and_the_right_one_said(tmp_path: Path):
    path = tmp_path / "gateway.toml"
    path.write_text(text := GATEWAY + '[uplink]\nhost = "old"\ncloud_key = "x.json"\n')
    said = _settle(path, tmp_path / "data")
    assert path.read_text() == text
    assert "left alone" in said
    assert 'host = "broker.example.vn"' in said


def test_simulated_gateway_is_enrolled_as_one(tmp_path: Path):
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY + '[clock]\nsimulated = "time"\n')
    found = read_gateway_table(path)
    assert found is not None
    assert found.simulated


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gateway", "not TOML"),
        ("", "gateway"),
        ('[gateway]\nname = "GW 1"\ndata_dir = "d"\n', "gateway"),
        ("[gateway]\nname = 1\n", "gateway"),
        ("\xff", "not TOML"),
    ],
)
def test_unusable_configuration_is_told(tmp_path: Path, text: str, words: str):
    path = tmp_path / "gateway.toml"
    path.write_text(text, "latin-1")
    with pytest.raises(ConfigError, match=words):
        read_gateway_table(path)


def test_configuration_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "gateway.toml.new").mkdir()  # in the way
    with pytest.raises(ConfigError, match="the gateway is enrolled"):
        _settle(tmp_path / "gateway.toml", tmp_path)
