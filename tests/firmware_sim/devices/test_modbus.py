"""The slave's bytes against the specification's own examples, a device's leaflet, and hostile requests."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from edge.drivers.modbus.codec import parse_profile, shipped_profile
from firmware_sim.devices.ailments import Ailment
from firmware_sim.devices.modbus import (
    MAX_RTU_BYTES,
    Mbap,
    RtuRequests,
    Source,
    Unit,
    answer,
    crc16,
    rtu_frame,
    rtu_payload,
)

# Modbus Application Protocol V1.1b3 §6.3 and §6.4: holding registers 108–110, input register 9.
SPEC_MAP = """
name = "spec"
title = "The specification's examples"
source = "Modbus Application Protocol V1.1b3 §6.3, §6.4"
[[block]]
function = 3
address = 107
count = 3
point = [
    { name = "a", unit = "C62", register = 107 },
    { name = "b", unit = "C62", register = 108 },
    { name = "c", unit = "C62", register = 109 },
]
[[block]]
function = 4
address = 8
count = 1
point = [{ name = "d", unit = "C62", register = 8 }]
"""
WIDE_MAP = """
name = "wide"
title = "A number of 32 bits"
source = "made for this test"
[[block]]
function = 4
address = 10
count = 2
point = [{ name = "energy", unit = "KWH", register = 10, type = "int32", exponent = -2 }]
"""


def always(value: str | None) -> Source:
    return lambda at_ms: None if value is None else Decimal(value)


def spec_unit() -> Unit:
    values = {"a": "555", "b": "0", "c": "100", "d": "10"}
    return Unit(1, "dev", "gw", parse_profile(SPEC_MAP), {name: always(value) for name, value in values.items()})


def md02(air: str | None, humidity: str | None = "54.6", failure: str = "sentinel") -> Unit:
    sources = {"air": always(air), "humidity": always(humidity)}
    return Unit(1, "room-1", "gw", shipped_profile("xy-md02"), sources, failure)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        ("03006b0003", "0306022b00000064"),  # §6.3
        ("0400080001", "0402000a"),  # §6.4
        ("03006b0004", "8302"),  # one register too far
        ("0300000001", "8302"),
        ("0400080000", "8403"),  # none
        ("040008007e", "8403"),  # 126
        ("0400080001ff", "8403"),  # too long
        ("04", "8403"),
        ("0100000001", "8101"),  # coils: not here
        ("06006b0001", "8601"),  # nothing can be written
        ("", "8001"),
    ],
)
def test_answers_are_those_of_the_specification(request_hex: str, reply_hex: str) -> None:
    assert answer(spec_unit(), bytes.fromhex(request_hex), 0).pdu.hex() == reply_hex


def test_xy_md02_answers_as_its_leaflet_says() -> None:
    reply = answer(md02("30.5"), bytes.fromhex("0400010002"), 0)
    assert rtu_frame(1, reply.pdu).hex(" ") == "01 04 04 01 31 02 22 2a ce"
    assert [(v.channel, v.mantissa, v.exponent) for v in reply.values] == [
        ("gw/room-1/air", 305, -1),
        ("gw/room-1/humidity", 546, -1),
    ]


def test_negative_temperatures_are_twos_complement() -> None:
    assert answer(md02("-18.5"), bytes.fromhex("0400010001"), 0).pdu.hex() == "0402ff47"


def test_only_the_asked_registers_are_counted_as_produced() -> None:
    assert [value.channel for value in answer(md02("1.0"), bytes.fromhex("0400020001"), 0).values] == [
        "gw/room-1/humidity"
    ]


def test_a_number_of_two_registers_can_be_read_in_halves() -> None:
    unit = Unit(1, "meter", "gw", parse_profile(WIDE_MAP), {"energy": always("-655.37")})
    whole = answer(unit, bytes.fromhex("04000a0002"), 0)
    assert whole.pdu.hex() == "0404ffffffff"[:4] + (-65537).to_bytes(4, "big", signed=True).hex()
    assert [value.mantissa for value in whole.values] == [-65537]
    assert answer(unit, bytes.fromhex("04000b0001"), 0).pdu == whole.pdu[:1] + b"\x02" + whole.pdu[4:]


def test_a_broken_probe_says_so_by_sentinel_or_exception() -> None:
    reply = answer(md02(None), bytes.fromhex("0400010002"), 0)
    assert reply.pdu.hex() == "04047fff0222"
    assert reply.values[0].mantissa is None
    assert answer(md02(None, failure="exception"), bytes.fromhex("0400010002"), 0).pdu.hex() == "8404"


@pytest.mark.parametrize("value", ["4000", "21.37", "3276.7"])
def test_what_a_register_cannot_say_is_never_said(value: str) -> None:
    assert answer(md02(value), bytes.fromhex("0400010001"), 0).pdu.hex() == "8404"


def test_crc_is_the_serial_line_guides() -> None:
    assert crc16(bytes.fromhex("0207")) == 0x1241  # Serial Line V1.02 appendix B
    assert rtu_frame(1, bytes.fromhex("030000000a")).hex() == "01030000000ac5cd"
    assert rtu_payload(bytes.fromhex("01030000000ac5cd")) == (1, bytes.fromhex("030000000a"))
    assert rtu_payload(bytes.fromhex("01030000000ac5cc")) is None


def test_requests_are_cut_out_however_the_bytes_arrive() -> None:
    frames = [rtu_frame(1, bytes.fromhex("0400010002")), rtu_frame(2, bytes.fromhex("100000000204") + bytes(4))]
    whole = b"".join(frames)
    one_by_one = RtuRequests()
    assert [frame for byte in whole for frame in one_by_one.feed(bytes([byte]))] == frames
    assert RtuRequests().feed(whole) == frames


def test_a_garbled_request_is_ended_by_silence_and_the_next_is_heard() -> None:
    cutter = RtuRequests()
    assert cutter.feed(b"\x01\x04\x00\x01\x00\x02\x20\x0c") == []
    assert cutter.waiting
    assert rtu_payload(cutter.silence()) is None
    good = rtu_frame(1, bytes.fromhex("0400010002"))
    assert cutter.feed(good) == [good]


def test_noise_never_fills_the_slaves_memory() -> None:
    rng = random.Random(11)
    cutter = RtuRequests()
    for _ in range(300):
        for frame in cutter.feed(rng.randbytes(rng.randrange(64))):
            assert rtu_payload(frame) is not None
        assert len(cutter._bytes) <= MAX_RTU_BYTES


@pytest.mark.parametrize("header", ["000100010006 01", "000100000001 01", "0001000000ff 01"])
def test_what_is_not_modbus_tcp_is_refused(header: str) -> None:
    assert Mbap.parse(bytes.fromhex(header)) is None


def test_random_requests_always_get_an_answer_of_legal_size() -> None:
    rng = random.Random(12)
    unit = spec_unit()
    for _ in range(500):
        assert 2 <= len(answer(unit, rng.randbytes(rng.randrange(1, 20)), 0).pdu) <= 253


BITS_MAP = """
name = "controller"
title = "Bits, bytes and a gap"
source = "made for this test"
[requests]
max_gap = 2
[[point]]
name = "door"
unit = "C62"
function = 1
register = 19
type = "bit"
[[point]]
name = "alarm"
unit = "C62"
function = 1
register = 21
type = "bit"
[[point]]
name = "air"
unit = "CEL"
function = 3
register = 5
exponent = -1
fault = "fault"
[[point]]
name = "fault"
unit = "C62"
function = 3
register = 8
type = "bit"
bit = 3
[[point]]
name = "level"
unit = "C62"
function = 3
register = 8
type = "uint8"
half = "high"
"""


def controller(air: str | None = "4.5", **more: object) -> Unit:
    values = {"door": "1", "alarm": "1", "air": air, "fault": "0", "level": "7"}
    sources = {name: always(value) for name, value in values.items()}
    return Unit(1, "dev", "gw", parse_profile(BITS_MAP), sources, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        ("0100130003", "010105"),  # bits 19 and 21, the first one lowest
        ("0100130004", "8102"),
        ("0200130001", "8201"),
        ("0300050004", "0308002d000000000700"),  # air, a gap that may be read along, level and fault in one register
        ("0300060001", "03020000"),
        ("0300090001", "8302"),
        ("01001307d1", "8103"),  # more than 2,000 bits
    ],
)
def test_bits_bytes_and_gaps(request_hex: str, reply_hex: str) -> None:
    assert answer(controller(), bytes.fromhex(request_hex), 0).pdu.hex() == reply_hex


def test_a_broken_probe_sets_the_bit_that_tells_of_it() -> None:
    reply = answer(controller(air=None), bytes.fromhex("0300050004"), 0)
    assert reply.pdu.hex() == "030800000000000007" + "08"
    assert {value.channel: value.mantissa for value in reply.values} == {
        "gw/dev/air": None,
        "gw/dev/fault": 1,
        "gw/dev/level": 7,
    }


def clock_source(at_ms: int) -> Decimal:
    return Decimal(at_ms) / 10


@pytest.mark.parametrize(
    ("ailment", "at_ms", "value"),
    [
        (Ailment("stuck", begins_ms=100, ends_ms=200), 99, 99),
        (Ailment("stuck", begins_ms=100, ends_ms=200), 150, 100),
        (Ailment("stuck", begins_ms=100, ends_ms=200), 200, 200),
        (Ailment("drift", 2.0, begins_ms=0), 3_600, 3_600),
        (Ailment("drift", 720_000.0, begins_ms=100), 150, 250),  # 0.2 °C a millisecond
    ],
)
def test_ailing_device_measures_wrongly(ailment: Ailment, at_ms: int, value: int) -> None:
    unit = controller(ailments=(ailment,))._replace(sources={**controller().sources, "air": clock_source})
    assert answer(unit, bytes.fromhex("0300050001"), at_ms).pdu.hex() == f"0302{value:04x}"


def test_busy_device_says_so() -> None:
    unit = controller(ailments=(Ailment("busy", begins_ms=10),))
    assert answer(unit, bytes.fromhex("0300050001"), 9).pdu.hex() == "0302002d"
    assert answer(unit, bytes.fromhex("0300050001"), 10).pdu.hex() == "8306"
