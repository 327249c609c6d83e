"""LLRP bytes ↔ messages, with llrpkit as the other opinion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llrpkit.inventory import TagReport, build_rospec
from llrpkit.protocol import BitStr, decode_message, enums, impinj, messages, params

from edge.drivers.llrp import request
from edge.drivers.llrp.codec import (
    MESSAGE_MAX_BYTES,
    Answer,
    Capabilities,
    Damaged,
    Decoder,
    Event,
    KeepAlive,
    Message,
    Other,
    Report,
    StreamLost,
    Tag,
)


def decoded(*theirs: Any) -> list[Message]:
    return Decoder().feed(b"".join(message.to_bytes(message_id=5) for message in theirs))


def told(**parts: Any) -> messages.READER_EVENT_NOTIFICATION:
    data = params.ReaderEventNotificationData(timestamp=params.UTCTimestamp(microseconds=1), **parts)
    return messages.READER_EVENT_NOTIFICATION(reader_event_notification_data=data)


_EPC = st.binary(min_size=2, max_size=62).map(lambda data: data[: len(data) // 2 * 2])


@st.composite
def _tags(draw: st.DrawFn) -> params.TagReportData:
    epc = draw(_EPC)
    parameter = params.EPC_96(epc=epc) if len(epc) == 12 and draw(st.booleans()) else None
    times = {}
    if draw(st.booleans()):
        times["first_seen_timestamp_utc"] = params.FirstSeenTimestampUTC(microseconds=draw(st.integers(0, 2**64 - 1)))
        times["last_seen_timestamp_utc"] = params.LastSeenTimestampUTC(microseconds=draw(st.integers(0, 2**64 - 1)))
    tag = params.TagReportData(
        epc_parameter=parameter or params.EPCData(epc=BitStr.from_bytes(epc)),
        ro_spec_id=params.ROSpecID(ro_spec_id=1),
        spec_index=params.SpecIndex(spec_index=1),
        antenna_id=params.AntennaID(antenna_id=draw(st.integers(0, 65535))),
        peak_rssi=params.PeakRSSI(peak_rssi=draw(st.integers(-128, 127))),
        channel_index=params.ChannelIndex(channel_index=3),
        tag_seen_count=params.TagSeenCount(tag_count=draw(st.integers(1, 65535))),
        **times,
    )
    if draw(st.booleans()):
        tag.custom.append(impinj.ImpinjRFPhaseAngle(phase_angle=draw(st.integers(0, 4095))))
    return tag


@given(st.lists(_tags(), max_size=5))
def test_reports_are_read_as_llrpkit_reads_them(tags: list[params.TagReportData]) -> None:
    (report,) = decoded(messages.RO_ACCESS_REPORT(tag_report_datas=tags))
    assert isinstance(report, Report)
    theirs = [TagReport.from_param(tag) for tag in tags]
    assert report.tags == [
        Tag(one.epc, one.antenna, one.rssi_dbm, one.seen_count or 1, one.first_seen_us, one.last_seen_us)
        for one in theirs
    ]


def test_tag_without_an_epc_is_counted_and_hides_no_other() -> None:
    tags = [params.TagReportData(epc_parameter=params.EPCData(epc=BitStr())),
            params.TagReportData(epc_parameter=params.EPC_96(epc=b"x" * 12))]  # fmt: skip
    (report,) = decoded(messages.RO_ACCESS_REPORT(tag_report_datas=tags))
    assert report == Report([Tag(b"x" * 12)], blank=1)


def test_events_answers_and_keepalives() -> None:
    failed = params.LLRPStatus(status_code=enums.StatusCode.M_ParameterError, error_description="no\x07 antenna")
    assert decoded(
        messages.KEEPALIVE(),
        told(connection_attempt_event=params.ConnectionAttemptEvent(status=1)),
        told(antenna_event=params.AntennaEvent(event_type=0, antenna_id=3)),
        told(reader_exception_event=params.ReaderExceptionEvent(message="hot")),
        told(report_buffer_overflow_error_event=params.ReportBufferOverflowErrorEvent()),
        told(connection_close_event=params.ConnectionCloseEvent()),
        told(gpi_event=params.GPIEvent(gpi_port_number=1, gpi_event=True)),
        messages.ADD_ROSPEC_RESPONSE(llrp_status=failed),
        messages.ERROR_MESSAGE(llrp_status=failed),
        messages.KEEPALIVE_ACK(),
    ) == [
        KeepAlive(5),
        Event(connection=1),
        Event(antenna=(3, False)),
        Event(exception="hot"),
        Event(overflow=True),
        Event(closed=True),
        Event(),
        Answer(30, 5, 100, "no? antenna"),
        Answer(100, 5, 100, "no? antenna"),
        Other(72),
    ]


def test_capabilities() -> None:
    from llrpkit.emulator.core import LLRPEmulator

    (seen,) = decoded(LLRPEmulator(antenna_count=8, firmware="1.2 β")._capabilities_response())
    assert isinstance(seen, Capabilities)
    assert (seen.antennas, seen.maker, seen.model, seen.firmware) == (8, 25882, 700, "1.2 β")
    assert (seen.powers[1], seen.powers[21], len(seen.powers)) == (10.0, 30.0, 21)


@pytest.mark.parametrize("antennas", [(), (1,), (4, 2)])
@pytest.mark.parametrize("power", [None, 81])
@pytest.mark.parametrize("session", [0, 3])
def test_rospec_is_llrpkits_to_the_byte(antennas: tuple[int, ...], power: int | None, session: int) -> None:
    theirs = build_rospec(antennas=antennas, session=session, transmit_power_index=power)
    assert theirs.ro_report_spec is not None
    theirs.ro_report_spec.tag_report_content_selector.enable_channel_index = False
    ours = request.add_rospec(7, antennas=antennas, session=session, power_index=power)
    assert ours == messages.ADD_ROSPEC(ro_spec=theirs).to_bytes(message_id=7)


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (request.get_capabilities(9), messages.GET_READER_CAPABILITIES),
        (request.set_config(9, keepalive_ms=4000), messages.SET_READER_CONFIG),
        (request.delete_rospecs(9), messages.DELETE_ROSPEC),
        (request.enable_rospec(9), messages.ENABLE_ROSPEC),
        (request.start_rospec(9), messages.START_ROSPEC),
        (request.keepalive_ack(9), messages.KEEPALIVE_ACK),
        (request.close_connection(9), messages.CLOSE_CONNECTION),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_requests_are_what_llrpkit_understands(data: bytes, meant: type) -> None:
    message = decode_message(data)
    assert type(message) is meant
    assert message.to_bytes(message_id=9) == data


@given(st.lists(st.lists(_tags(), max_size=2), max_size=4), st.data())
@settings(max_examples=50)
def test_messages_do_not_depend_on_how_the_bytes_arrive(
    reports: list[list[params.TagReportData]], data: st.DataObject
) -> None:
    stream = b"".join(messages.RO_ACCESS_REPORT(tag_report_datas=tags).to_bytes(message_id=1) for tags in reports)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == Decoder().feed(stream)
    assert decoder.pending == 0


@given(st.sampled_from([61, 62, 63, 11, 30, 100, 999]), st.binary(max_size=200))
@settings(max_examples=500)
def test_no_body_breaks_the_decoder_and_the_next_message_is_read(kind: int, body: bytes) -> None:
    first, second = Decoder().feed(request.message(kind, 1, body) + request.message(62, 2))
    assert second == KeepAlive(2)
    assert isinstance(first, Message)


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_no_bytes_break_the_decoder(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        try:
            decoder.feed(piece)
        except StreamLost:
            return
        assert decoder.pending <= sum(map(len, pieces))


@pytest.mark.parametrize(
    "header", ["048c0040000100000001", "043e0000000900000001", "003e0000000a00000001", "0c3e0000000a00000001"]
)
def test_what_is_no_header_loses_the_stream_but_not_what_came_before(header: str) -> None:
    decoder = Decoder()
    assert decoder.feed(request.message(62, 2) + bytes.fromhex(header)) == [KeepAlive(2)]
    with pytest.raises(StreamLost, match="is not the header of an LLRP message"):
        decoder.feed(b"")


def test_a_long_message_is_held_up_to_the_limit() -> None:
    decoder = Decoder()
    whole = request.message(999, 1, bytes(MESSAGE_MAX_BYTES - 10))
    assert decoder.feed(whole[:-1]) == []
    assert decoder.pending == MESSAGE_MAX_BYTES - 1
    assert decoder.feed(whole[-1:]) == [Other(999)]


@pytest.mark.parametrize("body", ["00f00003", "00f0000581", "00f000048d", "00f0000580", "00f00100", "00"])
def test_cut_off_parameters_are_damage(body: str) -> None:
    (found,) = Decoder().feed(request.message(61, 1, bytes.fromhex(body)))
    assert isinstance(found, Damaged)
