"""One Modbus line or socket. The only module that calls pymodbus: its exceptions and traps end here.

Retries and reconnection of the library are off; the supervisor owns both. Its own timeout is out of reach, so that
every wait ends by ours, and always as a cancellation. Two ways in which that would be lost end in
`_heeding_cancellation`: pymodbus up to 3.15 turned CancelledError into ModbusIOException, and the `asyncio.wait_for`
of Python 3.11, which pymodbus uses, returns its result when that comes in the same moment as the cancellation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from edge.drivers.base import BadReply, DeviceBusy, DeviceUnavailable
from edge.drivers.modbus.codec import Block, Serial
from edge.drivers.modbus.turns import Turns
from edge.drivers.ports import find_port

NEVER_S = 1e6  # longer than any of our own limits
QUIET_CHARS = 3.5  # §2.5.1.1: the silence that separates two frames
QUIET_MIN_S = 0.00175  # §2.5.1.1: fixed above 19,200 baud

BUSY = (5, 6)  # asked again after a moment, it may have the answer
NOBODY_THERE = (10, 11)  # said by a Modbus gateway when the unit behind it was silent for the gateway's own time-out
BIT_FUNCTIONS = (1, 2)
REQUEST_BYTES, ANSWER_BYTES = 8, 5  # unit, function, address, count, CRC; unit, function, byte count, CRC around data

#: Modbus Application Protocol V1.1b3 §7.
EXCEPTIONS = {
    1: "illegal function: it does not know this kind of register; is this the right profile?",
    2: "illegal data address: it has no such register; is this the right profile?",
    3: "illegal data value: it refuses this number of registers",
    4: "server device failure: it reports a fault of its own",
    5: "acknowledge: it is still working on it",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable: the Modbus gateway cannot reach that line",
    11: "gateway target device failed to respond: the Modbus gateway is there, the device behind it is not",
}

# Its warnings repeat what we raise, once per attempt.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

Client = AsyncModbusSerialClient | AsyncModbusTcpClient
Result = TypeVar("Result")


class Wire:
    """How long bytes take on a line; over TCP they take no time worth counting."""

    def __init__(self, line: Serial | None = None) -> None:
        bits = 0 if line is None else 1 + line.bytesize + (line.parity != "N") + line.stopbits
        self.char_s = 0.0 if line is None else bits / line.baudrate
        self.quiet_s = 0.0 if line is None else max(QUIET_MIN_S, QUIET_CHARS * self.char_s)

    def exchange_s(self, block: Block) -> float:
        """From the first bit of the request to the last of the answer, without what the device needs to think."""
        data = -(-block.count // 8) if block.function in BIT_FUNCTIONS else 2 * block.count
        return (REQUEST_BYTES + ANSWER_BYTES + data) * self.char_s + self.quiet_s


class Bus:
    """An open line or socket. Those who share it take turns (turns.py)."""

    def __init__(self, name: str, wire: Wire, make_client: Callable[[Bus], Client]) -> None:
        self._name = name
        self._wire = wire
        self._turns = Turns()
        self._used_at_s = 0.0
        self._received = 0
        self._turnaround_s: dict[int, float] = {}
        self._client = make_client(self)

    async def read(self, block: Block, unit_id: int, timeout_s: float) -> list[int]:
        """The registers (or bits) of a block, in one request. Raises DeviceUnavailable or BadReply."""
        where = f"{self._name} unit {unit_id}"
        async with self._turns.take(unit_id):
            if not self._client.connected:
                raise DeviceUnavailable(f"{where}: the link is gone")
            await self._silence()
            self._received = 0
            began_s = time.monotonic()
            reply: ModbusPDU | None = None
            silent = False
            try:
                async with asyncio.timeout(timeout_s):
                    reply = await self._exchange(block, unit_id)
            except TimeoutError:
                silent = True
                raise self._no_answer(where, unit_id, timeout_s) from None
            except (ConnectionException, OSError) as error:
                raise DeviceUnavailable(f"{where}: {error}") from error
            except ModbusException as error:
                raise BadReply(f"{where}: {error}") from error
            finally:
                self._note(block, unit_id, reply, began_s=began_s, silent=silent)
        return _contents(reply, block, where)

    def turnaround_s(self, unit_id: int) -> float | None:
        """How long the unit thought before its last answer, as measured here; None: it has not answered yet."""
        return self._turnaround_s.get(unit_id)

    def close(self) -> None:
        """Close the line or socket."""
        self._client.close()

    @property
    def connected(self) -> bool:
        """Whether the line is still there, as far as anybody has noticed."""
        return bool(self._client.connected)

    def count(self, sending: bool, data: bytes) -> bytes:
        """Called by pymodbus with every packet: lets a garbled answer be told from none."""
        if not sending:
            self._received = len(data)
            self._used_at_s = time.monotonic()
        return data

    async def _exchange(self, block: Block, unit_id: int) -> ModbusPDU:
        client = self._client
        read = (
            client.read_coils,
            client.read_discrete_inputs,
            client.read_holding_registers,
            client.read_input_registers,
        )[block.function - 1]
        return await _heeding_cancellation(read(block.address, count=block.count, device_id=unit_id))

    async def _silence(self) -> None:
        rest_s = self._used_at_s + self._wire.quiet_s - time.monotonic()
        if rest_s > 0:
            await asyncio.sleep(rest_s)

    def _note(self, block: Block, unit_id: int, reply: ModbusPDU | None, *, began_s: float, silent: bool) -> None:
        """What an exchange taught about the line and the unit, however it ended."""
        ended_s = time.monotonic()
        if reply is None:
            self._used_at_s = ended_s
        elif reply.isError():
            silent = reply.exception_code in NOBODY_THERE
        else:
            self._turnaround_s[unit_id] = max(0.0, self._used_at_s - began_s - self._wire.exchange_s(block))
        self._turns.tell(unit_id, answered=not silent, took_s=ended_s - began_s)

    def _no_answer(self, where: str, unit_id: int, timeout_s: float) -> DeviceUnavailable | BadReply:
        if not self._client.connected:
            return DeviceUnavailable(f"{where}: the link was lost while waiting for the answer")
        if self._received:
            return BadReply(
                f"{where}: {self._received} bytes came within {timeout_s:g} s, but no valid frame for us: noise, "
                "wrong line settings, or two devices with one unit id"
            )
        usual_s = self._turnaround_s.get(unit_id)
        if usual_s is None:
            why = "is it powered, A and B not swapped, and its unit id and speed right?"
        else:
            why = f"before, it answered after {usual_s * 1000:.0f} ms: is it powered, and its cable whole?"
        return DeviceUnavailable(f"{where}: no answer within {timeout_s:g} s; {why}")


async def _heeding_cancellation(library_call: Awaitable[Result]) -> Result:
    """What the library gives; CancelledError when it was asked to stop meanwhile, whatever it made of that."""
    task = asyncio.current_task()
    assert task is not None  # coroutines run in tasks
    asked_before = task.cancelling()
    try:
        result = await library_call
    except ModbusIOException:
        if task.cancelling() > asked_before:
            raise asyncio.CancelledError from None
        raise
    if task.cancelling() > asked_before:
        raise asyncio.CancelledError
    return result


async def open_serial(port: str, line: Serial, timeout_s: float) -> Bus:
    """Open a serial line. Raises DeviceUnavailable."""
    port = await find_port(port)  # pymodbus hides why a port cannot be opened

    def client(bus: Bus) -> Client:
        return AsyncModbusSerialClient(
            port,
            baudrate=line.baudrate,
            bytesize=line.bytesize,
            parity=line.parity,
            stopbits=line.stopbits,
            timeout=NEVER_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=bus.count,
        )

    return await _connected(Bus(port, Wire(line), client), port, timeout_s)


async def open_tcp(host: str, tcp_port: int, timeout_s: float, *, rtu: bool = False) -> Bus:
    """Connect to a Modbus TCP server; rtu: to a converter that passes RTU frames on as they are.

    Raises DeviceUnavailable.
    """

    def client(bus: Bus) -> Client:
        return AsyncModbusTcpClient(
            host,
            port=tcp_port,
            framer=FramerType.RTU if rtu else FramerType.SOCKET,
            timeout=NEVER_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=bus.count,
        )

    name = f"{host}:{tcp_port}"
    return await _connected(Bus(name, Wire(), client), name, timeout_s)


async def _connected(bus: Bus, name: str, timeout_s: float) -> Bus:
    client = bus._client  # noqa: SLF001 - the same module
    try:
        async with asyncio.timeout(timeout_s):
            opened = await _heeding_cancellation(client.connect())
        why = "" if opened else f"cannot be opened; is {name} the right place, switched on, and free?"
    except TimeoutError:
        why = f"cannot be opened within {timeout_s:g} s; is it switched on and reachable?"
    except (ModbusException, OSError, ValueError) as error:  # ValueError: settings the port does not know
        bus.close()
        raise DeviceUnavailable(f"{name}: {error}") from error
    except asyncio.CancelledError:
        bus.close()
        raise
    if why:
        bus.close()
        raise DeviceUnavailable(f"{name}: {why}")
    return bus


def _contents(reply: ModbusPDU, block: Block, where: str) -> list[int]:
    if reply.isError():
        code = reply.exception_code
        told = f"{where}: exception {code}, {EXCEPTIONS.get(code, 'unknown to the standard')}"
        if code in BUSY:
            raise DeviceBusy(told)
        raise BadReply(f"{told} (asked for {_asked(block)})")
    if block.function in BIT_FUNCTIONS:
        given: Sequence[int] = reply.bits
        wanted = -(-block.count // 8) * 8  # whole bytes, filled up with zeros: V1.1b3 §6.1
    else:
        given, wanted = reply.registers, block.count
    if reply.function_code != block.function or len(given) != wanted:
        what = "bits" if block.function in BIT_FUNCTIONS else "registers"
        raise BadReply(
            f"{where}: function {reply.function_code} with {len(given)} {what}, "
            f"asked for function {block.function} with {block.count}"
        )
    return [int(each) for each in given[: block.count]]


def _asked(block: Block) -> str:
    last = block.address + block.count - 1
    return (
        f"function {block.function}, {block.address} … {last}"
        if block.count > 1
        else (f"function {block.function}, {block.address}")
    )
