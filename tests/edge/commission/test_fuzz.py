"""Bytes from outside: what comes back on a line, and what comes over the control socket. No crash, no surprise."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commission import letters
from edge.commission.network import HOSTS_MAX, TooMany, hosts_of, units_of
from edge.drivers.modbus.probe import Request, Verdict, crc16, judge
from firmware_sim.devices.modbus import crc16 as other_crc16

REQUEST = Request(3, 0, 1)


def frame(unit: int, pdu: bytes) -> bytes:
    body = bytes([unit]) + pdu
    return body + struct.pack("<H", crc16(body))


@given(st.binary(max_size=600), st.integers(1, 247))
def test_whatever_comes_is_judged(data: bytes, unit: int) -> None:
    verdict = judge(REQUEST, unit, data).verdict
    assert (verdict is Verdict.SILENT) == (data.removeprefix(REQUEST.frame(unit)) == b"")


@given(st.binary(max_size=300))
def test_checksum_is_that_of_another_hand(data: bytes) -> None:
    assert crc16(data) == other_crc16(data)


@given(st.integers(1, 247), st.binary(min_size=2, max_size=2), st.binary(min_size=1, max_size=40))
def test_one_answer_is_told_from_two_and_from_strangers(unit: int, registers: bytes, more: bytes) -> None:
    answer = frame(unit, b"\x03\x02" + registers)
    assert judge(REQUEST, unit, answer).verdict is Verdict.ANSWER
    assert judge(REQUEST, unit, REQUEST.frame(unit) + answer).verdict is Verdict.ANSWER  # an adapter hears itself
    assert judge(REQUEST, unit, answer + more).verdict is Verdict.DOUBLE
    assert judge(REQUEST, unit % 247 + 1, answer).verdict is Verdict.STRANGER
    assert judge(REQUEST, unit, answer[:-1]).verdict is Verdict.RUBBLE
    exception = judge(REQUEST, unit, frame(unit, b"\x83\x02"))
    assert (exception.verdict, exception.exception) == (Verdict.ANSWER, 2)


@given(st.binary(max_size=2000))
def test_letters_are_read_or_refused(data: bytes) -> None:
    for read in (letters.read_request, letters.read_answer):
        try:
            read(data)
        except ValueError:
            pass


@given(st.text(max_size=40))
def test_units_are_read_or_refused(text: str) -> None:
    try:
        units = units_of(text)
    except ValueError:
        return
    assert units
    assert all(1 <= unit <= 247 for unit in units)


def test_networks_are_bounded() -> None:
    assert hosts_of(["a", "10.0.0.1"], ["10.0.0.0/30"]) == ["a", "10.0.0.1", "10.0.0.2"]
    assert len(hosts_of([], ["10.0.0.0/22"])) == HOSTS_MAX - 2
    for network in ("10.0.0.0/8", "::/64", "here"):
        with pytest.raises(TooMany):
            hosts_of([], [network])
