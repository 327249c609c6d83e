"""What the devices themselves say they gave: the count of "produced" that no code under test can touch.

PRODUCED_NAME, one JSON object a line, appended after the bytes were out, unbuffered. A value of a complete answer:
{"device", "channel", "mantissa", "exponent", "at_ms", "host_s"} (mantissa null: the probe is broken);
a scan: {"device", "channel", "code", "symbology", "at_ms", "host_s"}.
at_ms: simulated, when the value was sampled. host_s: CLOCK_MONOTONIC, when the bytes were out.
INCIDENTS_NAME, what is not produced: {"device", "damaged", "at_ms", "host_s"} for what a link did not let through
whole, {"device", "feedback", "host_s"} for the confirmation (hex) that came back to a scanner.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

PRODUCED_NAME = "device-log.jsonl"
INCIDENTS_NAME = "device-incidents.jsonl"


class Value(NamedTuple):
    """One number that an answer carried; mantissa None: the probe is broken."""

    device: str
    channel: str
    mantissa: int | None
    exponent: int


class DeviceLog:
    """Appends to the two files in a folder; open only inside `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        self._produced = (self._folder / PRODUCED_NAME).open("ab", buffering=0)
        self._incidents = (self._folder / INCIDENTS_NAME).open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._produced.close()
        self._incidents.close()

    def values(self, values: list[Value], at_ms: int) -> None:
        """The numbers of one complete answer: all its lines in one write."""
        host_s = time.monotonic()
        lines = [self._line({**value._asdict(), "at_ms": at_ms}, host_s) for value in values]
        self._produced.write(b"".join(lines))

    def scan(self, device: str, channel: str, *, code: str, symbology: str, at_ms: int) -> None:
        """A code that was sent."""
        fields = {"device": device, "channel": channel, "code": code, "symbology": symbology, "at_ms": at_ms}
        self._produced.write(self._line(fields, time.monotonic()))

    def damaged(self, device: str, at_ms: int) -> None:
        """An answer or scan that the link did not let through whole."""
        self._incidents.write(self._line({"device": device, "damaged": True, "at_ms": at_ms}, time.monotonic()))

    def feedback(self, device: str, data: bytes) -> None:
        """Bytes that came back to a scanner."""
        self._incidents.write(self._line({"device": device, "feedback": data.hex()}, time.monotonic()))

    def _line(self, fields: dict[str, Any], host_s: float) -> bytes:
        return self._encoder.encode({**fields, "host_s": host_s}) + b"\n"
