"""One Modbus line or socket. The only module that calls pymodbus: its exceptions and traps end here.

Retries and reconnection of the library are off; the supervisor owns both. Its own timeout is out of reach, so that
every wait ends by ours, and always as a cancellation: pymodbus up to 3.15 turned CancelledError into
ModbusIOException, which breaks `asyncio.timeout`; `_exchange` turns it back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from edge.drivers.base import BadReply, DeviceUnavailable
from edge.drivers.modbus.codec import Block, Serial
from edge.drivers.ports import find_port

NEVER_S = 1e6  # longer than any of our own limits
BITS_PER_CHAR = 11  # start, 8 data, parity or second stop, stop: Modbus over Serial Line V1.02 §2.5.1
QUIET_CHARS = 3.5  # §2.5.1.1: the silence that separates two frames
QUIET_MIN_S = 0.00175  # §2.5.1.1: fixed above 19,200 baud

#: Modbus Application Protocol V1.1b3 §7.
EXCEPTIONS = {
    1: "illegal function: it does not know this kind of register",
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


class Bus:
    """An open line; the caller holds its lock during `read`."""

    def __init__(self, name: str, quiet_s: float, make_client: Callable[[Bus], Client]) -> None:
        self._name = name
        self._quiet_s = quiet_s
        self._used_at_s = 0.0
        self._received = 0
        self._client = make_client(self)

    async def read(self, block: Block, unit_id: int, timeout_s: float) -> list[int]:
        """The registers of a block, in one request. Raises DeviceUnavailable or BadReply."""
        where = f"{self._name} unit {unit_id}"
        if not self._client.connected:
            raise DeviceUnavailable(f"{where}: the link is gone")
        await self._silence()
        self._received = 0
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._exchange(block, unit_id)
        except TimeoutError:
            raise self._no_answer(where, timeout_s) from None
        except (ConnectionException, OSError) as error:
            raise DeviceUnavailable(f"{where}: {error}") from error
        except ModbusException as error:
            raise BadReply(f"{where}: {error}") from error
        finally:
            self._used_at_s = time.monotonic()
        return _registers(reply, block, where)

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
        return data

    async def _exchange(self, block: Block, unit_id: int) -> ModbusPDU:
        read = self._client.read_holding_registers if block.function == 3 else self._client.read_input_registers
        try:
            return await read(block.address, count=block.count, device_id=unit_id)
        except ModbusIOException:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from None
            raise

    async def _silence(self) -> None:
        rest_s = self._used_at_s + self._quiet_s - time.monotonic()
        if rest_s > 0:
            await asyncio.sleep(rest_s)

    def _no_answer(self, where: str, timeout_s: float) -> DeviceUnavailable | BadReply:
        if not self._client.connected:
            return DeviceUnavailable(f"{where}: the link was lost while waiting for the answer")
        if self._received:
            return BadReply(
                f"{where}: {self._received} bytes came within {timeout_s:g} s, but no valid frame for us: noise, "
                "wrong line settings, or two devices with one unit id"
            )
        return DeviceUnavailable(f"{where}: no answer within {timeout_s:g} s; is it powered, and its unit id right?")


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

    quiet_s = max(QUIET_MIN_S, QUIET_CHARS * BITS_PER_CHAR / line.baudrate)
    return await _connected(Bus(port, quiet_s, client), port, timeout_s)


async def open_tcp(host: str, tcp_port: int, timeout_s: float) -> Bus:
    """Connect to a Modbus TCP server. Raises DeviceUnavailable."""

    def client(bus: Bus) -> Client:
        return AsyncModbusTcpClient(
            host, port=tcp_port, timeout=NEVER_S, retries=0, reconnect_delay=0, trace_packet=bus.count
        )

    name = f"{host}:{tcp_port}"
    return await _connected(Bus(name, 0.0, client), name, timeout_s)


async def _connected(bus: Bus, name: str, timeout_s: float) -> Bus:
    client = bus._client  # noqa: SLF001 - the same module
    try:
        async with asyncio.timeout(timeout_s):
            opened = await client.connect()
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


def _registers(reply: ModbusPDU, block: Block, where: str) -> list[int]:
    if reply.isError():
        code = reply.exception_code
        raise BadReply(f"{where}: exception {code}, {EXCEPTIONS.get(code, 'unknown to the standard')}")
    if reply.function_code != block.function or len(reply.registers) != block.count:
        raise BadReply(
            f"{where}: function {reply.function_code} with {len(reply.registers)} registers, "
            f"asked for function {block.function} with {block.count}"
        )
    return list(reply.registers)
