"""BTHome and Ruuvi against what their makers published, and against hostile bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.ble.codec import bthome, environment, ruuvi, ruuvi_log
from edge.drivers.ble.codec.advert import AdvertError, Message, short_uuid
from edge.drivers.ble.codec.bthome import Decoder, Replayed, encode_2
from edge.drivers.ble.codec.bthome_objects import NUMBERS, SIZES
from standards.units import is_unit
from wire.observation import INT64_MAX, MAX_EXPONENT, MIN_EXPONENT, Quality, is_channel

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "ble" / "adverts.json").read_text())
MAC = "54:48:E6:8F:80:A5"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")


def decoded(case: dict[str, Any]) -> Message:
    if "manufacturer_data" in case:
        return ruuvi.decode(bytes.fromhex(case["manufacturer_data"]["1177"]))
    key = bytes.fromhex(case["bindkey"]) if "bindkey" in case else None
    data = {short_uuid(int(uuid, 16)): bytes.fromhex(text) for uuid, text in case["service_data"].items()}
    return Decoder(case.get("address", MAC), key).decode(data)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_published_adverts_say_what_their_makers_say(case: dict[str, Any]) -> None:
    message = decoded(case)
    found = {value.point: value for value in message.values}
    for point, (number, unit) in case["values"].items():
        value = found[point]
        exact = None if value.mantissa is None else Decimal(value.mantissa).scaleb(value.exponent)
        assert (exact, value.unit) == (None if number is None else Decimal(str(number)), unit), point
        quality = "sensor_error" if number is None else case.get("quality", {}).get(point, "ok")
        assert value.quality.name.lower() == quality, point
    if "number" in case:
        assert message.number == case["number"]


def test_every_unit_is_one_that_we_know() -> None:
    units = {value.unit for case in VECTORS for value in decoded(case).values}
    units |= {kind.unit for kind in NUMBERS.values()}
    units |= {kind.unit for kind in environment.CHARACTERISTICS.values()}
    assert [unit for unit in sorted(units) if not is_unit(unit)] == []


@pytest.mark.parametrize("code", sorted(SIZES), ids=lambda code: f"{code:#04x}")
def test_every_object_is_read_at_its_length_and_refused_cut_off(code: int) -> None:
    data = bytes([code]) + b"\x01" * SIZES[code]
    assert Decoder(MAC).decode({bthome.V2: b"\x40" + data}).format == "bthome-2"
    with pytest.raises(AdvertError, match="needs"):
        Decoder(MAC).decode({bthome.V2: b"\x40" + data[:-1]})


class TestEncrypted:
    def advert(self, counter: int, warm: bytes = b"\xca\x09", key: bytes = KEY) -> dict[str, bytes]:
        return {bthome.V2: encode_2([(0x02, warm)], address=MAC, bindkey=key, counter=counter)}

    def test_a_counter_must_be_ahead_of_the_last_one(self) -> None:
        decoder = Decoder(MAC, KEY)
        assert decoder.decode(self.advert(1000)).number == 1000
        for counter in (1000, 999, 100):
            with pytest.raises(Replayed, match=f"counter {counter} is not ahead of 1000"):
                decoder.decode(self.advert(counter))
        assert decoder.decode(self.advert(1001)).values

    def test_a_counter_that_began_anew_is_believed_and_said(self) -> None:
        decoder = Decoder(MAC, KEY)
        decoder.decode(self.advert(1000))
        assert "battery changed" in decoder.decode(self.advert(3)).info["counter"]
        with pytest.raises(Replayed):
            decoder.decode(self.advert(2))
        assert "counter" not in decoder.decode(self.advert(4)).info

    def test_a_wrong_key_moves_no_counter(self) -> None:
        decoder = Decoder(MAC, KEY)
        with pytest.raises(AdvertError, match="the bindkey does not fit"):
            decoder.decode(self.advert(2**32 - 1, key=bytes(16)))
        assert decoder.decode(self.advert(1)).values

    def test_every_flipped_bit_is_noticed(self) -> None:
        whole = self.advert(77)[bthome.V2]
        for bit in range(8, len(whole) * 8):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(AdvertError):
                Decoder(MAC, KEY).decode({bthome.V2: bytes(damaged)})

    def test_without_a_key_it_asks_for_it(self) -> None:
        with pytest.raises(AdvertError, match=r"encrypted; configure its bindkey \(32 hex digits"):
            Decoder(MAC).decode(self.advert(1))

    def test_a_plain_advert_is_refused_where_a_key_is_configured(self) -> None:
        with pytest.raises(AdvertError, match="not encrypted, although"):
            Decoder(MAC, KEY).decode({bthome.V2: b"\x40\x02\xca\x09"})

    def test_with_its_address_inside(self) -> None:
        mac = bytes.fromhex(MAC.replace(":", ""))
        inside = b"\x42" + mac[::-1] + b"\x02\xca\x09"
        assert Decoder(MAC).decode({bthome.V2: inside}).values
        with pytest.raises(AdvertError, match="another address"):
            Decoder("A4:C1:38:8D:18:B2").decode({bthome.V2: inside})


def test_what_follows_an_unknown_object_is_passed_over_and_said() -> None:
    message = Decoder(MAC).decode({bthome.V2: bytes.fromhex("4002ca09feca09")})
    assert [value.point for value in message.values] == ["temperature"]
    assert message.info["rest"] == "object 0xFE is not known here; 3 bytes were passed over"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", "no data behind"),
        ("6002ca09", "version 3, known here are 1 and 2"),
        ("42b218", "2 bytes where the address"),
        ("4053", "0x53 is cut off before its length"),
        ("405305616263", "needs 5 bytes, 3 are left"),
        ("41a472", "too short for an encrypted advert"),
    ],
)
def test_nonsense_is_refused_with_its_reason(data: str, told: str) -> None:
    with pytest.raises(AdvertError, match=told):
        Decoder(MAC, KEY if data.startswith("41") else None).decode({bthome.V2: bytes.fromhex(data)})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", "no data behind"),
        ("04aabbcc", "data format 0x04 is not known"),
        ("0512FC", "data format 0x05 has 24 bytes, 3 came"),
        ("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F00", "has 24 bytes, 25 came"),
    ],
)
def test_a_ruuvi_advert_of_another_shape_is_refused(data: str, told: str) -> None:
    with pytest.raises(AdvertError, match=told):
        ruuvi.decode(bytes.fromhex(data))


def test_what_the_simulator_encodes_is_what_is_decoded() -> None:
    data = ruuvi.encode_5(
        temperature=-3700, humidity_raw=24480, pressure_pa=100_044, battery_mv=2977, number=205, mac=MAC
    )
    found = {value.point: value.mantissa for value in ruuvi.decode(data).values}
    assert found["temperature"] == -18500
    assert (found["humidity"], found["pressure"], found["battery"]) == (612_000, 100_044, 2977)


class TestRuuviLog:
    def test_the_frames_of_the_makers_page(self) -> None:
        assert ruuvi_log.request(now_s=0x5D6740ED, since_s=0x5D57FEAD, air=False).hex() == "3a3a115d6740ed5d57fead"
        entries = ruuvi_log.decode(bytes.fromhex("3A30105D57FEAD0000098D"))
        assert entries is not None
        assert [(entry.at_s, entry.values[0].mantissa, entry.values[0].exponent) for entry in entries] == [
            (0x5D57FEAD, 2445, -2)
        ]
        cold = ruuvi_log.decode(bytes.fromhex("3A30105D6740EDFFFFF8AC"))
        assert cold is not None
        assert cold[0].values[0].mantissa == -1876
        assert ruuvi_log.decode(bytes.fromhex("3A3A10FFFFFFFFFFFFFFFF")) is None
        assert ruuvi_log.decode(bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CD")) == []  # a heartbeat

    def test_the_frames_of_an_air(self) -> None:
        request = ruuvi_log.request(now_s=1733763600, since_s=1733760000, air=True)
        assert request.hex() == "3b3b21" + f"{1733763600:08x}{1733760000:08x}"
        assert ruuvi_log.decode(bytes.fromhex("3B3B200026")) is None
        with pytest.raises(AdvertError, match="2 records of 38 bytes in a frame of 6"):
            ruuvi_log.decode(bytes.fromhex("3B3B20022600"))


class TestEnvironment:
    @pytest.mark.parametrize(
        ("number", "data", "mantissa", "exponent"),
        [
            (0x2A6E, "c6f8", -1850, -2),
            (0x2A6F, "e817", 6120, -2),
            (0x2A6D, "f8430f00", 1_000_440, -1),
            (0x2A19, "5b", 91, 0),
        ],
    )
    def test_characteristics(self, number: int, data: str, mantissa: int, exponent: int) -> None:
        value = environment.decode(short_uuid(number), bytes.fromhex(data))
        assert (value.mantissa, value.exponent, value.quality) == (mantissa, exponent, Quality.OK)
        assert environment.encode(short_uuid(number), mantissa) == bytes.fromhex(data)

    @pytest.mark.parametrize(("number", "data"), [(0x2A6E, "0080"), (0x2A6F, "ffff")])
    def test_not_known_is_a_sensor_error(self, number: int, data: str) -> None:
        value = environment.decode(short_uuid(number), bytes.fromhex(data))
        assert (value.mantissa, value.quality) == (None, Quality.SENSOR_ERROR)


def sound(message: Message) -> None:
    """Whatever the bytes: no value that the wire could not carry, no number where there is none."""
    for value in message.values:
        assert is_channel(f"d/{value.point}")
        assert is_unit(value.unit)
        assert value.mantissa is None or abs(value.mantissa) <= INT64_MAX
        assert MIN_EXPONENT <= value.exponent <= MAX_EXPONENT
        assert (value.mantissa is None) == (value.quality is Quality.SENSOR_ERROR)
    assert len({value.point for value in message.values}) == len(message.values)


JUNK = st.binary(max_size=300)


@given(JUNK, st.sampled_from([bthome.V2, bthome.V1_PLAIN, bthome.V1_ENCRYPTED]), st.sampled_from([None, KEY]))
def test_any_bytes_are_bthome_or_an_error(data: bytes, uuid: str, key: bytes | None) -> None:
    try:
        sound(Decoder(MAC, key).decode({uuid: data}))
    except AdvertError:
        pass


@given(st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.binary(min_size=8, max_size=8)), max_size=200))
def test_any_objects_are_read_whole(parts: list[tuple[int, bytes]]) -> None:
    objects = [(code, data[: SIZES[code]]) for code, data in parts]
    sound(Decoder(MAC).decode({bthome.V2: encode_2(objects)}))


@given(st.integers(0, 255), JUNK)
def test_any_bytes_are_ruuvi_or_an_error(first: int, rest: bytes) -> None:
    try:
        sound(ruuvi.decode(bytes([first]) + rest))
    except AdvertError:
        pass


@given(st.sampled_from([(0x03, 13), (0x05, 23), (0x06, 19), (0xE1, 39)]), st.data())
def test_any_ruuvi_fields_are_sound(shape: tuple[int, int], data: st.DataObject) -> None:
    sound(ruuvi.decode(bytes([shape[0]]) + data.draw(st.binary(min_size=shape[1], max_size=shape[1]))))


@given(JUNK)
def test_any_frame_is_a_log_or_an_error(frame: bytes) -> None:
    for head in (b"", b"\x3a\x30\x10", b"\x3b\x3b\x20\x06\x26"):
        try:
            ruuvi_log.decode(head + frame)
        except AdvertError:
            pass


@given(st.sampled_from(sorted(environment.CHARACTERISTICS)), JUNK)
def test_any_characteristic_is_a_value_or_an_error(uuid: str, data: bytes) -> None:
    try:
        environment.decode(uuid, data)
    except AdvertError:
        pass
