"""The parsers of vendors' devices, where they are installed; what must hold of them here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import parse_config
from edge.drivers.ble import vendor
from edge.drivers.ble.codec.advert import Advert, AdvertError, NothingNew
from edge.drivers.ble.vendor import FAMILIES, VendorDecoder
from standards.units import is_unit
from wire.observation import Quality

CONFIG = """
[gateway]
name = "gw-1"
data_dir = "data"
[uplink]
host = "localhost"
[[device]]
name = "cold"
driver = "ble"
address = "A4:C1:38:8D:18:B2"
"""
THERMOPRO = importlib.util.find_spec("thermopro_ble") is not None
needs_thermopro = pytest.mark.skipif(not THERMOPRO, reason="thermopro-ble is not installed: pip install thermopro-ble")


def advert(data: str) -> Advert:
    raw = bytes.fromhex(data)
    return Advert("AA:BB:CC:DD:EE:FF", "TP357 (2142)", -60, {int.from_bytes(raw[:2], "little"): raw[2:]})


@needs_thermopro
def test_an_advert_that_is_not_understood_repeats_nothing_of_the_one_before() -> None:
    decoder = VendorDecoder("thermopro")
    found = {
        value.point: (value.mantissa, value.exponent) for value in decoder.decode(advert("c2f1001d022c"), 0).values
    }
    assert found["humidity"] == (29, 0)
    assert found["temperature"] == (241, -1)
    with pytest.raises(NothingNew):
        decoder.decode(Advert("AA:BB:CC:DD:EE:FF", "TP357 (2142)", -60, {}), 1)


def test_the_drivers_of_our_own_formats_import_no_vendors_parser() -> None:
    modules = [family.module for family in FAMILIES.values()] + ["habluetooth", "sensor_state_data"]
    code = (
        "import sys, edge.drivers.ble.filter\n"
        "assert 'bleak' not in sys.modules, 'the filter needs no radio'\n"
        "import edge.drivers.ble.driver\n"
        f"print([name for name in {modules!r} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_missing_parser_is_named_when_the_configuration_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(FAMILIES, "govee", vendor.Family("govee-ble", "no_such_module", "X"))
    with pytest.raises(ValueError, match="govee-ble: pip install govee-ble"):
        parse_config(CONFIG + 'format = "govee"\n', tmp_path / "gateway.toml")


def test_every_unit_is_one_that_we_know() -> None:
    assert [code for code in vendor.UNITS.values() if not is_unit(code)] == []


@pytest.mark.parametrize(
    ("number", "mantissa", "exponent", "quality"),
    [
        (24.1, 241, -1, Quality.OK),
        (-18.500000001, -185, -1, Quality.OK),
        (29, 29, 0, Quality.OK),
        (1e6, 1_000_000, 0, Quality.OK),
        ("error", None, 0, Quality.SENSOR_ERROR),
        (None, None, 0, Quality.SENSOR_ERROR),
        (float("nan"), None, 0, Quality.SENSOR_ERROR),
        (1e300, None, 0, Quality.OUT_OF_RANGE),
    ],
)
def test_floats_become_the_decimals_that_are_printed(
    number: Any, mantissa: int | None, exponent: int, quality: Quality
) -> None:
    value = vendor._value("temperature", "CEL", number)
    assert value is not None
    assert (value.mantissa, value.exponent, value.quality) == (mantissa, exponent, quality)


@needs_thermopro
@given(
    st.sampled_from(sorted(FAMILIES)),
    st.text(max_size=10) | st.sampled_from(["TP357 (2142)", "GVH5075_F293", "SensorPush HT.w 0CA1", "sps", "tps"]),
    st.dictionaries(st.integers(0, 0xFFFF) | st.sampled_from([60552, 1, 76]), st.binary(max_size=30), max_size=3),
)
def test_any_advert_is_a_message_or_an_error(family: str, name: str, data: dict[int, bytes]) -> None:
    if importlib.util.find_spec(FAMILIES[family].module) is None:
        return
    try:
        VendorDecoder(family).decode(Advert("AA:BB:CC:DD:EE:FF", name, -60, data), 0)
    except AdvertError:
        pass
