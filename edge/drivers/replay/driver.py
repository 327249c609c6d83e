"""Plays a recorded CSV log as a device. Every reading keeps the time of its row."""

from __future__ import annotations

import asyncio
import csv
import hashlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import ClassVar, Self, TextIO

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured, Emit
from edge.drivers.replay.codec import Row, RowError, missing_columns, read_row
from edge.drivers.replay.config import ReplayConfig
from wire.observation import ClockState, Observation, Quality, Reading, Stamp

BATCH_ROWS = 50  # rows of one hand-over at pace `fast`: a commit each would take a quarter second per row
CELL_MAX_CHARS = 4096  # of a log cell; csv would take 128 KiB

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
        self._rows: Iterator[Row] = iter(())
        self._done_line = 1  # the last line that needs no more work; the first is the header
        self._reading_line = 1
        self._first_ms: int | None = None
        self._last_ms: int | None = None
        self._from_ms: int | None = None

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """One per mapped column."""
        return [(f"{self._name}/{column.point}", column.unit) for column in self._config.column]

    async def __aenter__(self) -> Self:
        path, encoding = self._config.file, self._config.encoding
        try:
            self._file = path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        except OSError as error:
            raise DeviceUnavailable(f"{path}: the log cannot be opened ({error})") from error
        try:
            self._start(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    async def listen(self, emit: Emit) -> None:
        """Hand the rows over at the configured pace; behind the last one, wait like a device that went silent."""
        waiting: list[Observation] = []
        count = 0
        try:
            for row in self._rows:
                if not self._is_past(row):
                    await self._due(row)
                    waiting += self._readings(row)
                    count += 1
                if count >= BATCH_ROWS or self._config.pace == "recorded" or row.errors:
                    await self._hand_over(emit, waiting)
                    count = 0
                if row.errors:
                    raise BadReply("; ".join(f"{self._where()}: {error}" for error in row.errors))
            await self._hand_over(emit, waiting)
        except RowError as error:
            await self._hand_over(emit, waiting)
            raise BadReply(f"{self._where()}: {error}") from error
        await asyncio.Event().wait()

    async def _hand_over(self, emit: Emit, waiting: list[Observation]) -> None:
        if waiting:
            await emit(list(waiting))
            waiting.clear()
        self._done_line = self._reading_line

    async def _due(self, row: Row) -> None:
        if self._config.pace == "recorded":
            now = self._ctx.clock.stamp()
            await self._ctx.clock.sleep_until(now.monotonic_ms + row.at_ms - now.observed_at_ms)

    def _is_past(self, row: Row) -> bool:
        return self._config.pace == "recorded" and self._from_ms is not None and row.at_ms < self._from_ms

    def _readings(self, row: Row) -> list[Observation]:
        if self._first_ms is None:
            self._first_ms = row.at_ms
        stamp = Stamp(row.at_ms, row.at_ms - self._first_ms, self._boot_id, _CLOCKS[self._config.clock])
        return [
            Reading(
                f"{self._name}/{cell.column.point}",
                cell.column.unit,
                cell.mantissa,
                cell.exponent,
                stamp,
                Quality.SENSOR_ERROR if cell.mantissa is None else Quality.OK,
            )
            for cell in row.cells
        ]

    def _start(self, file: TextIO) -> None:
        if self._from_ms is None:
            self._from_ms = self._ctx.clock.stamp().observed_at_ms
        self._rows = iter(_Rows(self, csv.reader(file, delimiter=self._config.delimiter, strict=True)))
