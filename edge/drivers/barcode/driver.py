"""A barcode scanner on a serial port: hands on every code as it was read, and answers when it is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

import serialx

from edge.drivers.barcode.codec import Decoder
from edge.drivers.barcode.config import BarcodeConfig
from edge.drivers.barcode.desk import SHOWN_CHARS, Desk, warm_up
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, Emit
from edge.drivers.serial_port import close_port, open_found

READ_BYTES = 4096  # one look at the port
REST_S = 1.0  # a code has 4 KiB at most; a scanner that pauses this long within one will not finish it


class BarcodeDriver:
    """One scanner. A scan is on the disk before the scanner gets its answer."""

    config_type: ClassVar = BarcodeConfig

    def __init__(self, name: str, config: BarcodeConfig, ctx: DriverContext) -> None:
        self._config = config
        self._ctx = ctx
        self._decoder = Decoder(config.suffix, aim=config.aim, fnc1=config.fnc1)
        self._desk = Desk(name, config)
        self._ack, self._nak = config.ack.encode("latin-1"), config.nak.encode("latin-1")
        self._port: serialx.AsyncSerial | None = None

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """None: a scanner gives no readings."""
        return []

    async def __aenter__(self) -> Self:
        warm_up()
        config = self._config
        opened = await open_found(
            config.port,
            "scanner",
            timeout_s=config.timeout_s,
            baudrate=config.baudrate,
            bytesize=config.bytesize,
            parity=config.parity,
            stopbits=config.stopbits,
        )
        self._decoder.discard()
        self._port = opened
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        port, self._port = self._port, None
        await close_port(port, timeout_s=self._config.timeout_s)

    async def listen(self, emit: Emit) -> None:
        """Hand on codes until cancelled. Raises DeviceUnavailable, or BadReply for what is no code or is refused."""
        while True:
            found = self._decoder.feed(await self._read())
            look = self._desk.look(found, self._ctx.clock.stamp())
            if look.scans:
                await emit(look.scans)
                self._desk.remember(look)
                await self._answer(look.accepted)
            if look.troubles:
                raise BadReply(f"{self._config.port}: " + "; ".join(look.troubles))

    async def _read(self) -> bytes:
        port = self._require_port()
        rest_s = REST_S if self._decoder.pending else None
        try:
            async with asyncio.timeout(rest_s):
                data = await port.read(READ_BYTES)
        except TimeoutError:
            held, size = self._decoder.held[:SHOWN_CHARS], self._decoder.discard()
            raise BadReply(
                f"{self._config.port}: {size} bytes came without the suffix {self._config.suffix!r} and were dropped "
                f"({held!r}); scan again, and set the scanner to send it if this repeats"
            ) from None
        except OSError as error:
            raise DeviceUnavailable(f"{self._config.port}: {error}; is the scanner still plugged in?") from error
        if not data:
            raise DeviceUnavailable(f"{self._config.port}: the port was closed at the other end")
        return data

    async def _answer(self, accepted: list[bool]) -> None:
        answer = b"".join(self._ack if yes else self._nak for yes in accepted)
        if not answer:
            return
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await self._require_port().write(answer)
        except TimeoutError:
            raise DeviceUnavailable(f"{self._config.port}: takes no answer; the scans are safe") from None
        except OSError as error:
            raise DeviceUnavailable(f"{self._config.port}: {error}; the scans are safe") from error

    def _require_port(self) -> serialx.AsyncSerial:
        if self._port is None:
            raise DeviceUnavailable(f"{self._config.port}: not open")
        return self._port
