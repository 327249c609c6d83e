"""EPC memory of an RFID tag → GS1 key. GS1 EPC Tag Data Standard 2.x, with all binaries of 1.13.

What a tag holds that is no EPC (a maker's own number, zeros) is refused with a reason; whoever asks keeps the raw hex.
"""

from __future__ import annotations

import re

from standards.gs1 import epc_classic, epc_plus
from standards.gs1.epc_model import Epc, EpcError

__all__ = ["EPC_MAX_BYTES", "Epc", "EpcError", "decode", "decode_hex"]

EPC_MAX_BYTES = 62  # a tag's PC word counts at most 31 words of EPC (Gen2 §6.3.2.1.2.2)
_HEX = re.compile(r"[0-9A-Fa-f]+")


def decode_hex(text: str) -> Epc:
    """Decode an EPC written in hex, as readers give it; an odd last digit is the first half of a byte.

    Raises EpcError.
    """
    if len(text) > 2 * EPC_MAX_BYTES:
        raise EpcError("length", f"{len(text)} hex digits; an EPC has at most {2 * EPC_MAX_BYTES}")
    if not _HEX.fullmatch(text):
        raise EpcError("hex", f"{text[:40]!r} is not an EPC in hex")
    return decode(bytes.fromhex(text + "0" * (len(text) % 2)))


def decode(data: bytes) -> Epc:
    """Decode the EPC memory of a tag. Raises EpcError, naming scheme and broken rule."""
    if not 1 <= len(data) <= EPC_MAX_BYTES:
        raise EpcError("length", f"{len(data)} bytes; an EPC has 1 to {EPC_MAX_BYTES}")
    header = data[0]
    if header in epc_classic.SCHEMES:
        return epc_classic.decode(epc_classic.SCHEMES[header], data)
    if header in epc_plus.SCHEMES:
        return epc_plus.decode(epc_plus.SCHEMES[header], data)
    if header == 0:
        raise EpcError("header", "the tag was never programmed (its EPC begins with 00)")
    if header == 0xE2:
        raise EpcError("header", "begins with E2: a tag maker's own number, not an EPC of yours; program the tag")
    raise EpcError("header", f"begins with {header:02X}: no EPC scheme has this header")
