"""What the devices themselves say they gave: the count of "produced" that no code under test can touch.

One JSON object a line, written after the bytes are out, flushed line by line. A value:
{"device", "channel", "mantissa", "exponent", "at_ms", "host_s"} (mantissa null: the probe is broken);
a scan: {"device", "channel", "code", "symbology", "at_ms", "host_s"}; a confirmation that came back to a scanner:
{"device", "feedback", "host_s"}; an answer that the link damaged: {"device", "damaged", "at_ms", "host_s"}.
at_ms: simulated, when the value was sampled. host_s: CLOCK_MONOTONIC, when the bytes were out.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec


class Value(NamedTuple):
    """One number that an answer carried; mantissa None: the probe is broken."""

    device: str
    channel: str
    mantissa: int | None
    exponent: int


class DeviceLog:
    """Appends to one file; open only inside `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def values(self, values: list[Value], at_ms: int) -> None:
        """The numbers of one complete answer: all its lines in one write."""
        host_s = time.monotonic()
        lines = [self._line({**value._asdict(), "at_ms": at_ms, "host_s": host_s}) for value in values]
        self._file.write(b"".join(lines))

    def scan(self, device: str, channel: str, *, code: str, symbology: str, at_ms: int) -> None:
        """A code that was sent."""
        self._write(device=device, channel=channel, code=code, symbology=symbology, at_ms=at_ms)

    def feedback(self, device: str, data: bytes) -> None:
        """Bytes that came back to a scanner."""
        self._write(device=device, feedback=data.hex())

    def damaged(self, device: str, at_ms: int) -> None:
        """An answer or scan that the link did not let through whole."""
        self._write(device=device, damaged=True, at_ms=at_ms)

    def _write(self, **fields: Any) -> None:
        self._file.write(self._line({**fields, "host_s": time.monotonic()}))

    def _line(self, fields: dict[str, Any]) -> bytes:
        return self._encoder.encode(fields) + b"\n"
