"""What Modbus registers mean: device profiles, how they are asked for, and registers ↔ exact decimals.

Pure; driver and simulator share it. The format of a profile is told in profile.py.
"""

from edge.drivers.modbus.codec.error import CodecError
from edge.drivers.modbus.codec.number import Value, decode, decoder, encode
from edge.drivers.modbus.codec.plan import BlockDecoder, decode_block, plan, with_faults
from edge.drivers.modbus.codec.point import Function, Point
from edge.drivers.modbus.codec.profile import (
    PROFILE_MAX_CHARS,
    Block,
    Profile,
    Requests,
    Serial,
    Settings,
    parse_profile,
    profile_names,
    shipped_profile,
)

__all__ = [
    "PROFILE_MAX_CHARS",
    "Block",
    "BlockDecoder",
    "CodecError",
    "Function",
    "Point",
    "Profile",
    "Requests",
    "Serial",
    "Settings",
    "Value",
    "decode",
    "decode_block",
    "decoder",
    "encode",
    "parse_profile",
    "plan",
    "profile_names",
    "shipped_profile",
    "with_faults",
]
