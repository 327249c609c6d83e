"""The keys of a `[[device]]` with `driver = "barcode"`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.drivers.barcode.codec import Suffix
from edge.drivers.base import Claim

Ascii = Annotated[
    str, msgspec.Meta(max_length=8, pattern="^[\x00-\x7f]*\\Z", description="a text of at most 8 ASCII characters")
]


class BarcodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One scanner on a serial port.

    suffix: what the scanner sends after a code. aim: whether it sends AIM identifiers before it.
    ack: what to write back once the scan is on the disk, for scanners that wait for it before they beep.
    """

    port: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    point: Annotated[
        str,
        msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}\\Z", description="a name of a-z, 0-9, '.', '_' and '-'"),
    ] = "scan"
    suffix: Suffix = "line"
    aim: bool = True
    ack: Ascii = ""
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0

    def claims(self) -> list[Claim]:
        """The port, all of it."""
        return [Claim(key="port", what=f"serial:{self.port}")]
