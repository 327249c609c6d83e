"""A barcode scanner that plays a keyboard: hands on every code as it was typed, and tells what is wrong with it.

Such a scanner cannot be answered: it beeps by itself when it has read, not when the scan is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from edge.drivers.barcode.desk import SHOWN_CHARS, Desk, warm_up
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, Emit
from edge.drivers.hid.codec import Decoder
from edge.drivers.hid.config import HidConfig
from edge.drivers.hid.device import Events, find, open_events

REST_S = 1.0  # a scanner types a key each 1 to 20 ms; one that pauses this long within a code will not finish it


class HidDriver:
    """One scanner."""

    config_type: ClassVar = HidConfig

    def __init__(self, name: str, config: HidConfig, ctx: DriverContext) -> None:
        self._config = config
        self._ctx = ctx
        self._decoder = Decoder(config.layout, config.suffix, aim=config.aim, fnc1=config.fnc1)
        self._desk = Desk(name, config)
        self._where = config.path or f"the scanner with {config.match}"
        self._events: Events | None = None

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """None: a scanner gives no readings."""
        return []

    async def __aenter__(self) -> Self:
        warm_up()
        config = self._config
        # A device node opens at once or not at all: nothing here waits for the device.
        self._events = open_events(Path(config.path) if config.path else find(config.match))
        self._decoder.discard()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.close()

    async def listen(self, emit: Emit) -> None:
        """Hand on codes until cancelled. Raises DeviceUnavailable, or BadReply for what is no code or is refused."""
        while True:
            found = self._decoder.feed(await self._read())
            look = self._desk.look(found, self._ctx.clock.stamp())
            if look.scans:
                await emit(look.scans)
                self._desk.remember(look)
            if look.troubles:
                raise BadReply(f"{self._where}: " + "; ".join(look.troubles))

    async def _read(self) -> bytes:
        if self._events is None:
            raise DeviceUnavailable(f"{self._where}: not open")
        try:
            async with asyncio.timeout(REST_S if self._decoder.pending else None):
                data = await self._events.read()
        except TimeoutError:
            held, size = self._decoder.held[:SHOWN_CHARS], self._decoder.discard()
            raise BadReply(
                f"{self._where}: {size} characters came without the suffix {self._config.suffix!r} and were dropped "
                f"({held!r}); scan again, and set the scanner to send it if this repeats"
            ) from None
        except OSError as error:
            raise DeviceUnavailable(f"{self._where}: {error.strerror}; is the scanner still plugged in?") from error
        if not data:
            raise DeviceUnavailable(f"{self._where}: the device is gone; is the scanner still plugged in?")
        return data
