"""The LLRP driver against llrpkit's emulator, and against a reader that says what we like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from llrpkit.protocol import enums, messages, params

from edge.clock import SystemClock
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured
from edge.drivers.llrp.config import LlrpConfig
from edge.drivers.llrp.driver import LlrpDriver
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.rfid_reader import LlrpReader
from firmware_sim.links import GOOD, Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, LinkSuite, context
from wire.observation import Observation, Scan

EPC = "3034257BF7194E4000001A85"
OTHER = "3114257BF4499602D2000000"


class ReaderBench(LinkBench):
    expected = (("door-1/pass", EPC, "epc", 1),)
    reader: LlrpReader

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link("reader", random.Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Scan)
        return observation.channel, observation.code, observation.symbology, observation.antenna

    def driver(self, ctx: DriverContext, **more: Any) -> LlrpDriver:
        keys = {"dwell_s": 0.1, "timeout_s": 2.0, **more}
        return LlrpDriver("door-1", LlrpConfig(host=self.reader.host, port=self.reader.port, **keys), ctx)

    async def speak(self) -> None:
        await self.reader.pass_by(EPC, [1], each_s=0.1)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = ReaderBench(tmp_path)
    log = DeviceLog(tmp_path)
    bench.reader = LlrpReader(name="r", channel="gw/door-1/pass", link=bench.link, log=log, now_ms=lambda: 0)
    async with bench.running(simulated=bench.reader, log=log):
        yield bench


class TestLlrp(LinkSuite):
    pass


@asynccontextmanager
async def listening(driver: LlrpDriver) -> AsyncIterator[list[Scan]]:
    """What a driver tells; its error, if it had one, comes out at the end."""
    heard: list[Any] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    task = asyncio.create_task(driver.listen(emit))
    try:
        yield heard
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.01)


async def test_pass_through_a_door_has_a_direction(bench: ReaderBench) -> None:
    async with bench.driver(context(), outside=(1,), inside=(2,), dwell_s=0.2) as driver:
        async with listening(driver) as heard:
            await bench.reader.pass_by(EPC, [1, 2], each_s=0.25)
            await until(lambda: heard)
            await bench.reader.pass_by(EPC, [2, 1], each_s=0.25)
            await until(lambda: len(heard) == 2)
            await bench.reader.pass_by(OTHER, [2], each_s=0.3)
            await until(lambda: len(heard) == 3)
    assert [(scan.channel, scan.code) for scan in heard] == [
        ("door-1/in", EPC),
        ("door-1/out", EPC),
        ("door-1/pass", OTHER),
    ]
    for scan in heard:
        assert scan.count > 1
        assert scan.rssi_dbm is not None
        assert -60 < scan.rssi_dbm <= -40
        assert scan.first_seen_ms is not None
        assert scan.last_seen_ms == scan.stamp.observed_at_ms
        assert 0 < scan.last_seen_ms - scan.first_seen_ms < 5000


async def test_only_the_chosen_antennas_read(bench: ReaderBench) -> None:
    async with bench.driver(context(), antennas=(2,)) as driver, listening(driver) as heard:
        await bench.reader.pass_by(OTHER, [1], each_s=0.2)
        await bench.reader.pass_by(EPC, [2], each_s=0.2)
        await until(lambda: heard)
    assert [(scan.code, scan.antenna) for scan in heard] == [(EPC, 2)]


async def test_pass_that_is_going_on_is_handed_over_when_the_driver_is_closed(bench: ReaderBench) -> None:
    driver = bench.driver(context(), dwell_s=60)
    async with driver:
        async with listening(driver) as heard:
            await bench.reader.pass_by(EPC, [1], each_s=0.2)
        assert heard == []
    (left,) = driver.leftovers()
    assert bench.key(left) == bench.expected[0]
    assert driver.leftovers() == []


async def test_tags_that_were_read_before_the_driver_was_closed_are_handed_over(bench: ReaderBench) -> None:
    driver = bench.driver(context(), dwell_s=60)
    async with driver:  # nobody listens: it is closed before it is asked
        await bench.reader.pass_by(EPC, [1], each_s=0.2)
    assert [bench.key(one) for one in driver.leftovers()] == [bench.expected[0]]


async def test_lost_link_is_noticed_by_the_missing_keepalives(bench: ReaderBench) -> None:
    async with bench.driver(context(), keepalive_s=0.1) as driver:
        async with listening(driver):
            await asyncio.sleep(0.5)
            assert bench.reader.emulator.keepalive_acks >= 3
        await bench.change(Faults(hang=True))
        with pytest.raises(DeviceUnavailable, match=r"not a word for 0\.25 s.*is the network there"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 2)


async def test_second_client_is_told_that_the_reader_is_taken(bench: ReaderBench) -> None:
    async with bench.driver(context()):
        with pytest.raises(DeviceUnavailable, match="another program has the reader"):
            async with bench.driver(context()):
                pass


async def test_antenna_without_cable_is_told_and_reading_goes_on(bench: ReaderBench) -> None:
    async with bench.driver(context()) as driver:
        task = asyncio.create_task(driver.listen(asyncio.Queue().put))
        await asyncio.sleep(0.05)
        await bench.reader.emulator.set_antenna_connected(3, connected=False)
        with pytest.raises(BadReply, match="antenna 3 is not connected; look at its cable"):
            await asyncio.wait_for(task, 2)
        async with listening(driver) as heard:
            await bench.speak()
            await until(lambda: heard)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"antennas": (1, 9)}, "antenna 9, but the reader has 4"),
        ({"power_dbm": 1.0}, r"power_dbm = 1, but 10 dBm is its least"),
    ],
)
async def test_what_the_reader_cannot_do_is_named(bench: ReaderBench, keys: dict[str, Any], why: str) -> None:
    with pytest.raises(DriverMisconfigured, match=why):
        async with bench.driver(context(), **keys):
            pass


async def test_power_is_taken_from_the_readers_table(bench: ReaderBench) -> None:
    async with bench.driver(context(), power_dbm=20.3):
        ((spec, _),) = bench.reader.emulator._rospecs.values()
        (command,) = spec.spec_parameters[0].inventory_parameter_specs[0].antenna_configurations
        assert command.rf_transmitter.transmit_power == 11  # 20 dBm: 10 dBm and a step of 1 dB for each more


async def test_silent_port_is_no_reader(bench: ReaderBench) -> None:
    await bench.change(Faults(hang=True))
    with pytest.raises(DeviceUnavailable, match=r"no answer within 0\.15 s; has the reader power"):
        async with bench.driver(context(), timeout_s=TIMEOUT_S):
            pass
    await asyncio.sleep(0.2)  # a reader that was left without a word takes the next client when it has noticed
    await bench.change(GOOD)
    async with bench.driver(context()):
        pass


@pytest.mark.parametrize("faults", [Faults(garble=0.01), Faults(half=0.3), Faults(drop=0.01)], ids=str)
async def test_damaged_reports_never_become_foreign_tags_for_long(bench: ReaderBench, faults: Faults) -> None:
    """TCP doesn't damage bytes; a bad converter does. A garbled EPC can't be told from a true one: LLRP has no check.

    But the stream is left as soon as it makes no sense, and read again afterwards.
    """
    for _ in range(3):
        driver = bench.driver(context())
        try:
            async with driver, listening(driver):
                await bench.change(faults)
                await bench.reader.pass_by(EPC, [1], each_s=0.2)
        except (BadReply, DeviceUnavailable):
            continue
        finally:
            await bench.change(GOOD)
    async with bench.driver(context()) as driver, listening(driver) as heard:
        await bench.speak()
        await until(lambda: heard)
    assert {scan.code for scan in heard} == {EPC}


class Scripted:
    """A reader that answers every request with success, and says what it is told to."""

    def __init__(self) -> None:
        self.port = 0
        self.client: asyncio.StreamWriter | None = None
        self.greeting = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = {1: 11, 3: 13, 20: 30, 21: 31, 22: 32, 24: 34, 14: 4}
        self.client = writer
        writer.write(self.greeting or event(connection_attempt_event=params.ConnectionAttemptEvent(status=0)))
        try:
            while header := await reader.readexactly(10):
                kind, length = int.from_bytes(header[:2]) & 0x3FF, int.from_bytes(header[2:6])
                await reader.readexactly(length - 10)
                if kind in answers:
                    status = b"\x01\x1f\x00\x08\x00\x00\x00\x00"
                    writer.write((0x400 | answers[kind]).to_bytes(2) + (18).to_bytes(4) + header[6:] + status)
                if kind == 14:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def say(self, *data: bytes) -> None:
        assert self.client is not None
        self.client.write(b"".join(data))


def event(**parts: Any) -> bytes:
    data = params.ReaderEventNotificationData(timestamp=params.UTCTimestamp(microseconds=1), **parts)
    told: bytes = messages.READER_EVENT_NOTIFICATION(reader_event_notification_data=data).to_bytes(message_id=0)
    return told


def report(epc: str, at_us: int, *, antenna: int = 1, rssi_dbm: int = -50, reads: int = 1) -> bytes:
    tag = params.TagReportData(
        epc_parameter=params.EPC_96(epc=bytes.fromhex(epc)),
        antenna_id=params.AntennaID(antenna_id=antenna),
        peak_rssi=params.PeakRSSI(peak_rssi=rssi_dbm),
        first_seen_timestamp_utc=params.FirstSeenTimestampUTC(microseconds=at_us),
        last_seen_timestamp_utc=params.LastSeenTimestampUTC(microseconds=at_us),
        tag_seen_count=params.TagSeenCount(tag_count=reads),
    )
    told: bytes = messages.RO_ACCESS_REPORT(tag_report_datas=[tag]).to_bytes(message_id=0)
    return told


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    script = Scripted()
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    yield script
    server.close()
    await server.wait_closed()


def scripted_driver(script: Scripted, **keys: Any) -> LlrpDriver:
    keys = {"dwell_s": 0.1, "timeout_s": 2.0, **keys}
    return LlrpDriver("door-1", LlrpConfig(host="127.0.0.1", port=script.port, **keys), context(SystemClock()))


@pytest.mark.parametrize("year_us", [0, 10**18, 2**64 - 10**7], ids=["1970", "33658", "end of time"])
async def test_wrong_clock_of_the_reader_moves_nothing(scripted: Scripted, year_us: int) -> None:
    async with scripted_driver(scripted) as driver, listening(driver) as heard:
        before = SystemClock().stamp()
        for seconds in (0, 1, 2, 3):  # as far apart as they like: they come within some milliseconds
            scripted.say(report(EPC, year_us + seconds * 1_000_000))
            await asyncio.sleep(0.01)
        await until(lambda: heard)
    (scan,) = heard
    assert scan.count == 4
    assert before.observed_at_ms <= scan.first_seen_ms <= scan.last_seen_ms < before.observed_at_ms + 2000


async def test_reads_that_arrive_together_are_spaced_as_the_reader_says(scripted: Scripted) -> None:
    async with scripted_driver(scripted, dwell_s=1.0) as driver, listening(driver) as heard:
        scripted.say(report(OTHER, 10**15))
        await asyncio.sleep(0.6)  # the network stalls; meanwhile the tag passes, and all comes at once
        at_us = 10**15 + 100_000
        scripted.say(*(report(EPC, at_us + step * 100_000, reads=2) for step in range(4)))
        await until(lambda: len(heard) == 2)
    scan = next(scan for scan in heard if scan.code == EPC)
    assert (scan.count, scan.last_seen_ms - scan.first_seen_ms) == (8, 300)


async def test_reader_that_says_goodbye_is_unavailable_and_its_last_reads_are_kept(scripted: Scripted) -> None:
    driver = scripted_driver(scripted)
    async with driver:
        scripted.say(report(EPC, 1), event(connection_close_event=params.ConnectionCloseEvent()))
        with pytest.raises(DeviceUnavailable, match="the reader ends the connection"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 2)
    assert [scan.code for scan in driver.leftovers() if isinstance(scan, Scan)] == [EPC]


async def test_full_memory_and_exceptions_of_the_reader_are_told(scripted: Scripted) -> None:
    async with scripted_driver(scripted) as driver:
        scripted.say(
            event(report_buffer_overflow_error_event=params.ReportBufferOverflowErrorEvent()),
            event(reader_exception_event=params.ReaderExceptionEvent(message="too\x1b hot")),
        )
        with pytest.raises(BadReply, match=r"memory was full, and reads are lost.*\(and 1 more\)"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 2)


async def test_other_protocol_on_the_port_is_named(scripted: Scripted) -> None:
    scripted.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with pytest.raises(DeviceUnavailable, match="is this an LLRP reader's port"):
        async with scripted_driver(scripted):
            pass


async def test_reader_that_refuses_is_unavailable(scripted: Scripted) -> None:
    status = enums.ConnectionAttemptStatusType.Failed_Reason_Other_Than_A_Connection_Already_Exists
    scripted.greeting = event(connection_attempt_event=params.ConnectionAttemptEvent(status=status))
    with pytest.raises(DeviceUnavailable, match="the reader refused"):
        async with scripted_driver(scripted):
            pass


async def test_not_open_is_unavailable() -> None:
    driver = LlrpDriver("r", LlrpConfig(host="127.0.0.1"), context())
    with pytest.raises(DeviceUnavailable, match="not open"):
        await driver.listen(asyncio.Queue().put)
