"""The keys of BLE devices, checked before anything is opened."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from edge.config import ConfigError, parse_config

HEAD = """
[gateway]
name = "gw-1"
data_dir = "data"
[uplink]
host = "localhost"
cloud_key = "cloud.json"
"""
DOC = Path(__file__).parents[4] / "docs" / "devices" / "ble.md"


def device(**keys: object) -> str:
    return "[[device]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def problems(text: str, tmp_path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(HEAD + text, tmp_path / "gateway.toml")
    return str(caught.value)


BASE = {"name": "cold", "driver": "ble", "address": "a4:c1:38:8d:18:b2", "format": "bthome"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"address": "room-3"}, "device[0].address"),
        ({"format": "fridge"}, "'fridge' is not known, known: bthome, ruuvi, govee, inkbird, sensorpush, thermopro"),
        ({"bindkey": "12"}, "32 hex digits"),
        ({"format": "ruuvi", "bindkey": "0" * 32}, 'belongs to format = "bthome" only'),
        ({"interval_s": 30, "sample_s": 60}, "sample_s: is longer than interval_s (30)"),
        ({"adapter": "usb0"}, "the name (hci0) or the address of a Bluetooth adapter"),
        ({"scan": "loud"}, "device[0].scan"),
        ({"adress": "x"}, "unknown key"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(keys: dict[str, object], told: str, tmp_path: Path) -> None:
    assert told in problems(device(**{**BASE, **keys}), tmp_path)


def test_two_devices_with_one_address_are_refused(tmp_path: Path) -> None:
    twice = device(**BASE) + device(**{**BASE, "name": "warm", "address": "A4:C1:38:8D:18:B2"})
    assert "ble:A4:C1:38:8D:18:B2 adverts belongs to device[0] already" in problems(twice, tmp_path)


def test_devices_of_one_adapter_are_scanned_alike(tmp_path: Path) -> None:
    two = device(**BASE) + device(**{**BASE, "name": "warm", "address": "A4:C1:38:8D:18:B3", "scan": "active"})
    assert (
        "sets bluetooth:hci0 to scan = active, watchdog_s = 60, device[0] sets it to scan = auto, watchdog_s = 60"
        in problems(two, tmp_path)
    )


def test_a_tag_and_its_log_are_two_devices_with_one_address(tmp_path: Path) -> None:
    text = device(**{**BASE, "format": "ruuvi"}) + device(
        name="cold-log", driver="ble_gatt", address=BASE["address"], read="ruuvi_log", interval_s=3600
    )
    config = parse_config(HEAD + text, tmp_path / "gateway.toml")
    assert [one.options.mac for one in config.devices] == ["A4:C1:38:8D:18:B2"] * 2


def test_a_device_to_connect_to_needs_an_interval(tmp_path: Path) -> None:
    text = device(name="fridge", driver="ble_gatt", address=BASE["address"])
    assert "interval_s is missing" in problems(text, tmp_path)


def test_the_density_follows_the_interval(tmp_path: Path) -> None:
    found = []
    for keys in ({}, {"interval_s": 5}, {"interval_s": 600}, {"sample_s": 0}):
        config = parse_config(HEAD + device(**{**BASE, **keys}), tmp_path / "gateway.toml")
        found.append(config.devices[0].options.sample_ms)
    assert found == [10_000, 2_500, 10_000, 0]


def test_the_examples_of_the_document_are_right(tmp_path: Path) -> None:
    blocks = [block.partition("```")[0] for block in DOC.read_text(encoding="utf-8").split("```toml\n")[1:]]
    assert blocks
    for block in blocks:
        assert "device" in tomllib.loads(block)
    parse_config(HEAD + "\n".join(blocks), tmp_path / "gateway.toml")
