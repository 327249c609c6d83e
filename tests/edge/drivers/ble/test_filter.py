"""Adverts as JSON lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.drivers.ble.filter import AdvertFilter, decode_advert


def line(**keys: Any) -> str:
    return json.dumps(keys)


def test_a_tag() -> None:
    found = decode_advert(
        line(
            name="Ruuvi 884F",
            address="cb:b8:33:4c:88:4f",
            rssi=-60,
            manufacturer_data={"1177": "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"},
            service_data={},
        )
    )
    assert (found["address"], found["format"], found["number"]) == ("CB:B8:33:4C:88:4F", "ruuvi-5", 205)
    assert found["observations"][0] == {"point": "temperature", "value": 24.3, "unit": "CEL", "quality": "ok"}
    assert found["observations"][-1] == {"point": "rssi", "value": -60, "unit": "DBM", "quality": "ok"}


def test_an_encrypted_thermometer_with_a_short_uuid() -> None:
    keys: dict[str, Any] = {
        "address": "54:48:E6:8F:80:A5",
        "service_data": {"FCD2": "41a47266c95f730011223378237214"},
    }
    assert "configure its bindkey" in decode_advert(line(**keys))["error"]
    found = decode_advert(line(**keys, bindkey="231d39c1d7cc1ab1aee224cd096db932"))
    assert [one["value"] for one in found["observations"]] == [25.06, 50.55]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no advert"),
        ("[]", "no advert"),
        ("{}", "no format known here; the advert has data of nobody"),
        ('{"manufacturer_data": {"1177": "zz"}}', "'zz' is not hex"),
        ('{"manufacturer_data": {"apple": "00"}}', "no company number"),
        ('{"manufacturer_data": {"76": "0215"}}', "company 76 (0x004C)"),
        ('{"format": "fridge"}', "format 'fridge' is not known, known: bthome, ruuvi, govee"),
        ('{"format": "ruuvi"}', "no manufacturer data of company 1177"),
        ('{"manufacturer_data": {"1177": "04"}}', "data format 0x04 is not known"),
        ('{"name": "' + "x" * 70_000 + '"}', "65536 at most"),
    ],
)
def test_what_cannot_be_decoded_says_why(text: str, told: str) -> None:
    assert told in decode_advert(text)["error"]


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=20).map(bytes.hex),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["1177", "fcd2", "0x0499", "a"]), inner, max_size=3)
    ),
    max_leaves=4,
)
NAMES = st.sampled_from(["address", "name", "rssi", "manufacturer_data", "service_data", "bindkey", "format", "x"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # building the first examples is slow on a loaded machine
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_object_is_answered(given_: dict[str, Any]) -> None:
    json.dumps(AdvertFilter().decode(json.dumps(given_)))


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(text: bytes) -> None:
    json.dumps(AdvertFilter().decode(text))
