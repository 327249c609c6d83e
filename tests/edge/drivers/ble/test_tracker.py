"""Which adverts become readings."""

from __future__ import annotations

import pytest

from edge.drivers.ble.codec import bthome, ruuvi
from edge.drivers.ble.codec.advert import Advert, AdvertError
from edge.drivers.ble.codec.bthome import encode_2
from edge.drivers.ble.tracker import EXTENDED_MS, BthomeDecoder, RuuviDecoder, Tracker

MAC = "A4:C1:38:8D:18:B2"
E1 = bytes.fromhex("E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE10FFFFFFFFFFCBB8334C884F")
SIX = bytes.fromhex("06170C5668C79E007000C90501D9FFCD004C884F")


def advert(*objects: tuple[int, bytes], rssi: int | None = -60) -> Advert:
    return Advert(MAC, rssi_dbm=rssi, service_data={bthome.V2: encode_2(list(objects))})


def tracker(sample_ms: int = 0, *points: str) -> Tracker:
    return Tracker(BthomeDecoder(MAC, None), points=frozenset(points), sample_ms=sample_ms)


def points(tracker: Tracker, heard: Advert, now_ms: int) -> list[str]:
    return [value.point for value in tracker.take(heard, now_ms)]


def test_the_same_packet_is_told_once_however_much_later() -> None:
    one = tracker()
    assert points(one, advert((0, b"\x01"), (2, b"\x00\x01")), 0) == ["temperature", "rssi"]
    assert points(one, advert((0, b"\x01"), (2, b"\x00\x01")), 3_600_000) == []
    assert points(one, advert((0, b"\x02"), (2, b"\x00\x01")), 3_600_001) == ["temperature", "rssi"]


def test_points_of_different_packets_are_sampled_each_by_itself() -> None:
    one = tracker(10_000)
    assert points(one, advert((2, b"\x00\x01")), 0) == ["temperature", "rssi"]
    assert points(one, advert((1, b"\x50")), 1_000) == ["battery"]
    assert points(one, advert((2, b"\x00\x02")), 9_999) == []
    assert points(one, advert((2, b"\x00\x02")), 10_000) == ["temperature", "rssi"]


def test_a_button_is_told_each_time_it_is_pressed() -> None:
    one = tracker(3_600_000, "button")
    assert points(one, advert((0, b"\x01"), (0x3A, b"\x01")), 0) == ["button"]
    assert points(one, advert((0, b"\x01"), (0x3A, b"\x01")), 10) == []
    assert points(one, advert((0, b"\x02"), (0x3A, b"\x01")), 20) == ["button"]


def test_an_advert_without_our_data_is_none() -> None:
    assert tracker().take(Advert(MAC, name="only a name"), 0) == ()


def test_without_a_signal_strength_there_is_no_reading_of_it() -> None:
    assert points(tracker(), advert((2, b"\x00\x01"), rssi=None), 0) == ["temperature"]


def test_the_short_format_counts_only_where_the_long_one_is_not_heard() -> None:
    one = Tracker(RuuviDecoder(), points=frozenset(), sample_ms=0)
    short = Advert(MAC, manufacturer_data={ruuvi.COMPANY: SIX})
    assert one.take(short, 0)
    assert one.take(Advert(MAC, manufacturer_data={ruuvi.COMPANY: E1}), 1_000)
    assert one.take(short, 2_000) == ()
    assert one.take(Advert(MAC, manufacturer_data={ruuvi.COMPANY: SIX[:-4] + b"\xff" * 4}), 1_001 + EXTENDED_MS)


def test_a_measurement_is_told_once_though_another_is_heard_in_between() -> None:
    one = Tracker(RuuviDecoder(), points=frozenset(), sample_ms=0)
    long, short = (Advert(MAC, manufacturer_data={ruuvi.COMPANY: data}) for data in (E1, SIX))
    assert one.take(long, 0)
    assert [one.take(heard, now_ms) for now_ms, heard in enumerate([short, long, short, long])] == [()] * 4


def test_a_press_is_told_once_though_another_packet_is_heard_in_between() -> None:
    one = tracker(3_600_000, "button", "battery")
    press, other = advert((0, b"\x01"), (0x3A, b"\x01")), advert((0, b"\x02"), (1, b"\x50"))
    assert points(one, press, 0) == ["button"]
    assert points(one, other, 10) == ["battery"]
    assert points(one, press, 20) == []
    for number in range(3, 259):
        points(one, advert((0, bytes([number & 0xFF])), (1, b"\x50")), 20)
    assert points(one, press, 30) == ["button"]  # the packet ids have gone round


def test_what_is_wrong_with_an_advert_is_told_once() -> None:
    one = tracker()
    broken = Advert(MAC, service_data={bthome.V2: b"\x40\x02\x01"})
    with pytest.raises(AdvertError):
        one.take(broken, 0)
    assert one.take(broken, 1) == ()


def test_the_number_of_points_is_bounded() -> None:
    one = tracker()
    many = [*((9, bytes([k])) for k in range(150)), *((1, bytes([k])) for k in range(150))]
    with pytest.raises(AdvertError, match="more than 256 different points"):
        one.take(advert(*many), 0)
    assert len(one.units) <= Tracker.POINTS_MAX
