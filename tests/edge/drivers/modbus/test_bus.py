"""The module that calls pymodbus: its traps, the pause between frames, and pymodbus's own servers as foreign peers."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import time
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer import FramerType
from pymodbus.pdu.register_message import ReadInputRegistersResponse
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.drivers.base import BadReply, DeviceBusy, DeviceUnavailable
from edge.drivers.modbus.bus import Bus, open_serial, open_tcp
from edge.drivers.modbus.codec import Block, Point, Serial, decode_block, shipped_profile
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Unit, crc16
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.links import Link

XY = shipped_profile("xy-md02").block[0]


@asynccontextmanager
async def answering(reply: Callable[[bytes], list[bytes]]) -> AsyncIterator[int]:
    """A TCP server that answers each request with what `reply` makes of it; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(260):
            for piece in reply(request):
                writer.write(piece)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def read_once(port: int, timeout_s: float = 0.2) -> list[int]:
    bus = await open_tcp("127.0.0.1", port, 1)
    try:
        return await bus.read(XY, 1, timeout_s)
    finally:
        bus.close()
        await asyncio.sleep(0.02)  # the server takes notice


def answer(request: bytes, pdu: bytes, *, transaction: int | None = None, unit: int | None = None) -> bytes:
    first, _, _, own = struct.unpack(">HHHB", request[:7])
    header = (first if transaction is None else transaction, 0, len(pdu) + 1, own if unit is None else unit)
    return struct.pack(">HHHB", *header) + pdu


GOOD = bytes.fromhex("0404ff2b0229")


async def test_good_answer() -> None:
    async with answering(lambda request: [answer(request, GOOD)]) as port:
        assert await read_once(port) == [0xFF2B, 0x0229]


async def test_answer_in_single_bytes() -> None:
    async with answering(lambda request: [bytes([byte]) for byte in answer(request, GOOD)]) as port:
        assert await read_once(port) == [0xFF2B, 0x0229]


@pytest.mark.parametrize(
    ("pdu", "why"),
    [
        ("8402", "exception 2, illegal data address"),
        ("840b", "device behind it is not"),
        ("84ff", "exception 255, unknown to the standard"),
        ("0402ff2b", "asked for function 4 with 2"),
        ("0406ff2b02290001", "asked for function 4 with 2"),
        ("0304ff2b0229", "asked for function 4 with 2"),
    ],
)
async def test_answer_to_another_question_is_a_bad_reply(pdu: str, why: str) -> None:
    async with answering(lambda request: [answer(request, bytes.fromhex(pdu))]) as port:
        with pytest.raises(BadReply, match=why):
            await read_once(port)


async def test_answer_of_another_unit_or_transaction_is_not_taken() -> None:
    async with answering(lambda r: [answer(r, GOOD, unit=9), answer(r, GOOD, transaction=999)]) as port:
        with pytest.raises(BadReply, match="no valid frame for us"):
            await read_once(port)


async def test_late_answer_is_not_taken_for_the_next_question() -> None:
    late: list[bytes] = []

    def reply(request: bytes) -> list[bytes]:
        if not late:
            late.append(answer(request, bytes.fromhex("0404dead0000")))
            return []
        return [late[0], answer(request, GOOD)]

    async with answering(reply) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        with pytest.raises(DeviceUnavailable):
            await bus.read(XY, 1, 0.05)
        assert await bus.read(XY, 1, 0.5) == [0xFF2B, 0x0229]
        bus.close()
        await asyncio.sleep(0.02)


async def test_closing_server_is_unavailable() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(12)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        with pytest.raises(DeviceUnavailable, match="link was lost"):
            await read_once(server.sockets[0].getsockname()[1])


async def test_refused_connection_is_unavailable(free_port: Callable[[], int]) -> None:
    with pytest.raises(DeviceUnavailable, match="cannot be opened"):
        await open_tcp("127.0.0.1", free_port(), 0.5)


async def test_silent_host_is_given_up_in_time() -> None:
    with socket.socket() as full:  # a backlog that is full never completes a handshake
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        await asyncio.sleep(0.05)
        began_s = time.monotonic()
        with pytest.raises(DeviceUnavailable):
            await open_tcp("127.0.0.1", full.getsockname()[1], 0.2)
        assert time.monotonic() - began_s < 1
        for filler in fillers:
            filler.close()


async def test_cancellation_that_pymodbus_translates_is_translated_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """pymodbus up to 3.15 raised ModbusIOException where it was cancelled."""

    async def swallow(*_: object, **__: object) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ModbusIOException("cancelled") from None

    async with answering(lambda _: []) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        monkeypatch.setattr(bus._client, "read_input_registers", swallow)
        with pytest.raises(DeviceUnavailable, match="no answer"):  # our own timeout is one, too
            await bus.read(XY, 1, 0.05)
        task = asyncio.create_task(bus.read(XY, 1, 5))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        bus.close()
        await asyncio.sleep(0.02)


async def test_cancellation_in_the_moment_of_the_answer_is_not_lost() -> None:
    """`asyncio.wait_for` of Python 3.11, inside pymodbus, returns the answer then, as if nobody had cancelled."""
    async with answering(lambda _: []) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        task = asyncio.create_task(bus.read(XY, 1, 5))
        await asyncio.sleep(0.05)
        reply = ReadInputRegistersResponse(registers=[1, 2], dev_id=1)
        bus._client.ctx.response_future.set_result(reply)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        bus.close()
        await asyncio.sleep(0.02)


async def test_todays_pymodbus_lets_cancellation_through() -> None:
    async with answering(lambda _: []) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        task = asyncio.create_task(bus.read(XY, 1, 5))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        bus.close()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("code", [5, 6])
async def test_busy_device_asks_for_a_moment(code: int) -> None:
    async with answering(lambda request: [answer(request, bytes([0x84, code]))]) as port:
        with pytest.raises(DeviceBusy):
            await read_once(port)


@pytest.mark.parametrize(
    ("function", "count", "pdu", "bits"),
    [
        (1, 10, "0102cd01", [1, 0, 1, 1, 0, 0, 1, 1, 1, 0]),  # V1.1b3 §6.1: CD is coils 27–20
        (2, 3, "020105", [1, 0, 1]),
    ],
)
async def test_bits_come_lowest_first(function: int, count: int, pdu: str, bits: list[int]) -> None:
    point = Point(name="p", unit="C62", register=19, type="bit")
    block = Block(function, 19, count, [point])  # type: ignore[arg-type]
    async with answering(lambda request: [answer(request, bytes.fromhex(pdu))]) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        assert await bus.read(block, 1, 1) == bits
        bus.close()
        await asyncio.sleep(0.02)


async def test_wrong_number_of_bits_is_a_bad_reply() -> None:
    block = Block(1, 19, 10, [Point(name="p", unit="C62", register=19, type="bit")])
    async with answering(lambda request: [answer(request, bytes.fromhex("0101cd"))]) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        with pytest.raises(BadReply, match="function 1 with 8 bits, asked for function 1 with 10"):
            await bus.read(block, 1, 1)
        bus.close()
        await asyncio.sleep(0.02)


async def test_silence_of_one_that_used_to_answer_is_told_as_such() -> None:
    silent = asyncio.Event()
    async with answering(lambda request: [] if silent.is_set() else [answer(request, GOOD)]) as port:
        bus = await open_tcp("127.0.0.1", port, 1)
        assert bus.turnaround_s(1) is None
        await bus.read(XY, 1, 1)
        assert (bus.turnaround_s(1) or 9) < 1
        silent.set()
        with pytest.raises(DeviceUnavailable, match="before, it answered after"):
            await bus.read(XY, 1, 0.05)
        bus.close()
        await asyncio.sleep(0.02)


async def test_turnaround_is_what_is_left_when_the_wire_has_had_its_time(tmp_path: Path) -> None:
    log, link = DeviceLog(tmp_path), Link("bus", random.Random(1))
    sources = {"air": lambda _: Decimal(1), "humidity": lambda _: Decimal(50)}
    unit = Unit(1, "room", "gw", shipped_profile("xy-md02"), sources)
    line = RtuBus(tmp_path / "bus", [unit], link=link, log=log, now_ms=lambda: 0, turnaround_s=0.05)
    with log:
        async with line:
            serving = asyncio.create_task(line.serve())
            bus = await open_serial(str(tmp_path / "bus"), Serial(), 1)
            thought_s = []
            for _ in range(10):
                await bus.read(XY, 1, 1)
                thought_s.append(bus.turnaround_s(1) or 0)
            bus.close()
            serving.cancel()
    assert 0.045 < min(thought_s) < 0.065  # the least: a loaded machine adds to each


def device(*units: int) -> list[SimDevice]:
    data = [SimData(1, values=[0xFF2B, 0x0229], datatype=DataType.REGISTERS)]
    return [SimDevice(number, simdata=data) for number in units]


async def check_foreign(bus: Bus) -> None:
    values = decode_block(XY, await bus.read(XY, 1, 1))
    assert [value.mantissa for value in values] == [-213, 553]
    with pytest.raises(BadReply, match="exception 2"):
        await bus.read(shipped_profile("pt100").block[0], 1, 1)


async def test_foreign_tcp_server(free_port: Callable[[], int]) -> None:
    port = free_port()
    server = ModbusTcpServer(device(1), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    bus = await open_tcp("127.0.0.1", port, 1)
    await check_foreign(bus)
    bus.close()
    await asyncio.sleep(0.02)
    await server.shutdown()


async def test_foreign_server_of_rtu_frames_over_tcp(free_port: Callable[[], int]) -> None:
    port = free_port()
    server = ModbusTcpServer(device(1), framer=FramerType.RTU, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    bus = await open_tcp("127.0.0.1", port, 1, rtu=True)
    await check_foreign(bus)
    bus.close()
    await asyncio.sleep(0.02)
    await server.shutdown()


async def test_foreign_rtu_server(tmp_path: Path) -> None:
    async with wire(tmp_path) as (ours, theirs):
        server = ModbusSerialServer(device(1, 2), framer=FramerType.RTU, port=str(theirs), baudrate=115200)
        await server.serve_forever(background=True)
        bus = await open_serial(str(ours), Serial(baudrate=115200), 1)
        await check_foreign(bus)
        assert await bus.read(XY, 2, 1) == [0xFF2B, 0x0229]
        bus.close()
        await server.shutdown()


async def test_frames_keep_their_distance(tmp_path: Path) -> None:
    """At 1,200 baud 8N1 3.5 characters take 29 ms; one that follows sooner would be read as part of the answer."""
    async with wire(tmp_path) as (ours, theirs):
        server = ModbusSerialServer(device(1), framer=FramerType.RTU, port=str(theirs), baudrate=1200)
        await server.serve_forever(background=True)
        bus = await open_serial(str(ours), Serial(baudrate=1200), 1)
        await bus.read(XY, 1, 1)
        ended_s = time.monotonic()
        await bus.read(XY, 1, 1)
        assert time.monotonic() - ended_s >= 3.5 * 10 / 1200 - 0.002  # counted from the arrival of the answer
        bus.close()
        await server.shutdown()


@asynccontextmanager
async def wire(folder: Path) -> AsyncIterator[tuple[Path, Path]]:
    """Two serial ports joined by a cable."""
    masters: list[int] = []
    ports: list[Path] = []
    for name in ("ours", "theirs"):
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        ports.append(folder / name)
        ports[-1].symlink_to(os.ttyname(slave))
        masters.append(master)
    loop = asyncio.get_running_loop()

    def carry(source: int, target: int) -> None:
        try:
            os.write(target, os.read(source, 4096))
        except OSError:
            loop.remove_reader(source)

    loop.add_reader(masters[0], carry, masters[0], masters[1])
    loop.add_reader(masters[1], carry, masters[1], masters[0])
    try:
        yield ports[0], ports[1]
    finally:
        for master in masters:
            loop.remove_reader(master)
            os.close(master)


async def test_noise_on_the_line_is_never_a_reading_and_never_breaks_the_loop(tmp_path: Path) -> None:
    """Random bytes, whole frames of other units, and good frames cut anywhere."""
    rng = random.Random(20211107)
    good = bytes.fromhex("010404ff2b0229") + struct.pack("<H", crc16(bytes.fromhex("010404ff2b0229")))
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unhandled.append(told))
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    bus = await open_serial(os.ttyname(slave), Serial(baudrate=115200), 1)
    try:
        for _ in range(60):
            reading = asyncio.create_task(bus.read(XY, 1, 0.02))
            await asyncio.sleep(0.005)
            noise = rng.choice([rng.randbytes(rng.randrange(1, 40)), good[: rng.randrange(1, 8)], b"\x02" + good[1:]])
            os.write(master, noise)
            with pytest.raises(BadReply, match="no valid frame for us"):
                await reading
            os.read(master, 4096)
        reading = asyncio.create_task(bus.read(XY, 1, 1))
        await asyncio.sleep(0.005)
        os.write(master, good)
        assert await reading == [0xFF2B, 0x0229]
    finally:
        bus.close()
        os.close(master)
        os.close(slave)
    assert unhandled == []
