"""The keys of a `[[device]]` with `driver = "barcode"`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.drivers.barcode.codec import Suffix
from edge.drivers.barcode.options import ScanOptions
from edge.drivers.base import Claim
from edge.drivers.ports import Port

#: What is sent to a scanner: one byte a character.
Answer = Annotated[
    str,
    msgspec.Meta(
        max_length=32,
        pattern="^[\x00-\xff]*\\Z",
        description="a text of at most 32 characters up to U+00FF, one for each byte",
    ),
]


class BarcodeConfig(ScanOptions, frozen=True, kw_only=True):
    """One scanner on a serial port.

    suffix: what the scanner sends after a code. ack: what to write back once the scan is on the disk, for scanners that
    wait for it before they beep, or a command that makes them beep. nak: the same for a scan that is on the disk but
    refused; empty: nothing.
    """

    port: Port
    suffix: Suffix = "line"
    ack: Answer = ""
    nak: Answer = ""
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0

    def claims(self) -> list[Claim]:
        """The port, all of it."""
        return [Claim(key="port", what=f"serial:{self.port}")]
