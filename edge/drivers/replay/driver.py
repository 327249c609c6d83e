"""Plays a recorded CSV log as a device. Every reading keeps the time of its row."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self, TextIO

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured, Emit
from edge.drivers.replay.codec import Row, RowError, by_column, check_header, read_row
from edge.drivers.replay.config import ReplayConfig
from wire.observation import ClockState, Observation, Quality, Reading, Stamp

BATCH_ROWS = 50  # rows of one hand-over at pace `fast`: a commit each would take a quarter second per row
LINE_MAX_CHARS = 64 * 1024  # a log with 1,000 columns has lines of about 8 KiB

_CLOCKS = {"synced": ClockState.SYNCED, "holdover": ClockState.HOLDOVER, "unsynced": ClockState.UNSYNCED}


class ReplayDriver:
    """One log. Opened again it goes on behind the last row that was accepted.

    The logger is a boot of its own: its monotonic time counts from its first row, so that corrections of the
    gateway's clock do not touch what another clock stamped.
    """

    config_type: ClassVar = ReplayConfig

    def __init__(self, name: str, config: ReplayConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._layout = config.layout
        self._boot_id = hashlib.sha256(f"replay {name} {config.file}".encode()).digest()[:16]
        self._file: TextIO | None = None
        self._header: list[str] = []
        self._first_ms: int | None = None  # of the log
        self._from_ms: int | None = None  # when it began to play
        self._line = 0  # where it reads
        self._at_ms: int | None = None
        self._waiting: list[Observation] = []  # read, not yet accepted
        self._done: tuple[int, int | None] = (1, None)  # line and time of the last row that needs no more work

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """One per mapped column."""
        return [(f"{self._name}/{column.point}", column.unit) for column in self._config.column]

    async def __aenter__(self) -> Self:
        path, encoding = self._config.file, self._config.encoding
        try:
            file = path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        except OSError as error:
            raise DeviceUnavailable(f"{path}: the log cannot be opened ({error})") from error
        try:
            self._start(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def listen(self, emit: Emit) -> None:
        """Hand the rows over at the configured pace; behind the last one, wait like a device that went silent.

        Raises BadReply, naming file, line and column, for what cannot be read; the rest of that row is handed over.
        """
        while True:
            try:
                row = self._next_row()
            except RowError as error:
                await self._hand_over(emit)
                raise BadReply(f"{self._config.file}: line {self._line}: {error}") from error
            if row is None:
                break
            await self._take(row)
            if row.errors or self._config.pace == "recorded" or self._line - self._done[0] >= BATCH_ROWS:
                await self._hand_over(emit)
            if row.errors:
                raise BadReply("; ".join(f"{self._config.file}: line {self._line}: {e}" for e in row.errors))
        await self._hand_over(emit)
        await asyncio.Event().wait()

    async def _take(self, row: Row) -> None:
        if self._first_ms is None:
            self._first_ms = row.at_ms
        if self._config.pace == "recorded":
            if self._from_ms is not None and row.at_ms < self._from_ms:
                return  # a device does not repeat the past
            now = self._ctx.clock.stamp()
            await self._ctx.clock.sleep_until(now.monotonic_ms + row.at_ms - now.observed_at_ms)
        stamp = Stamp(row.at_ms, row.at_ms - self._first_ms, self._boot_id, _CLOCKS[self._config.clock])
        for cell in row.cells:
            quality = Quality.SENSOR_ERROR if cell.mantissa is None else Quality.OK
            channel = f"{self._name}/{cell.column.point}"
            self._waiting.append(Reading(channel, cell.column.unit, cell.mantissa, cell.exponent, stamp, quality))

    async def _hand_over(self, emit: Emit) -> None:
        if self._waiting:
            await emit(list(self._waiting))
            self._waiting.clear()
        self._done = (self._line, self._at_ms)

    def _next_row(self) -> Row | None:
        """The next row, None behind the last. Raises RowError, with the line behind us all the same."""
        while (text := self._next_line()) is not None:
            if not text.strip():
                continue
            row = read_row(self._layout, by_column(self._header, self._cells(text)), self._at_ms)
            self._at_ms = row.at_ms
            return row
        return None

    def _next_line(self) -> str | None:
        if self._file is None:
            raise DeviceUnavailable(f"{self._config.file}: not open")
        return self._read_line(self._file)

    def _read_line(self, file: TextIO) -> str | None:
        try:
            text = file.readline(LINE_MAX_CHARS)
            self._line += 1
            if len(text) < LINE_MAX_CHARS or text.endswith("\n"):
                return text or None
            while len(file.readline(LINE_MAX_CHARS)) == LINE_MAX_CHARS:
                pass
        except UnicodeDecodeError as error:
            raise DriverMisconfigured(
                f"{self._config.file}: after line {self._line}: {error}; encoding must name how the log was written"
            ) from error
        except OSError as error:
            raise DeviceUnavailable(f"{self._config.file}: after line {self._line}: {error}") from error
        raise RowError(f"longer than {LINE_MAX_CHARS} characters")

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=self._config.delimiter, strict=True), [])
        except csv.Error as error:
            raise RowError(f"not a line of a CSV ({error})") from error

    def _start(self, file: TextIO) -> None:
        """Read the header and go to where we were."""
        if self._from_ms is None:
            self._from_ms = self._ctx.clock.stamp().observed_at_ms
        self._line, self._waiting = 0, []
        try:
            self._header = [name.strip() for name in self._cells(self._read_line(file) or "")]
            check_header(self._layout, self._header)
        except RowError as error:
            raise DriverMisconfigured(f"{self._config.file}: line {self._line}: {error}") from error
        for _ in range(self._done[0] - 1):
            with contextlib.suppress(RowError):  # told when it was read first
                self._read_line(file)
        self._line, self._at_ms = self._done
