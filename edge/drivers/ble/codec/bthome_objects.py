"""The objects of BTHome: what each number is, its size, its unit. Source: bthome.io/format (v2), by object id."""

from __future__ import annotations

from typing import NamedTuple


class Object(NamedTuple):
    """One kind of object: value = integer × step × 10^exponent, little endian. size 0: a length byte comes first."""

    point: str
    unit: str
    size: int
    exponent: int = 0
    signed: bool = False
    step: int = 1


#: Objects that are numbers.
NUMBERS = {
    0x01: Object("battery", "P1", 1),
    0x02: Object("temperature", "CEL", 2, -2, signed=True),
    0x03: Object("humidity", "P1", 2, -2),
    0x04: Object("pressure", "A97", 3, -2),
    0x05: Object("illuminance", "LUX", 3, -2),
    0x06: Object("mass", "KGM", 2, -2),
    0x07: Object("mass", "LBR", 2, -2),
    0x08: Object("dew_point", "CEL", 2, -2, signed=True),
    0x09: Object("count", "C62", 1),
    0x0A: Object("energy", "KWH", 3, -3),
    0x0B: Object("power", "WTT", 3, -2),
    0x0C: Object("voltage", "VLT", 2, -3),
    0x0D: Object("pm25", "GQ", 2),
    0x0E: Object("pm10", "GQ", 2),
    0x12: Object("co2", "59", 2),
    0x13: Object("tvoc", "GQ", 2),
    0x14: Object("moisture", "P1", 2, -2),
    0x2E: Object("humidity", "P1", 1),
    0x2F: Object("moisture", "P1", 1),
    0x3D: Object("count", "C62", 2),
    0x3E: Object("count", "C62", 4),
    0x3F: Object("rotation", "DD", 2, -1, signed=True),
    0x40: Object("distance", "MMT", 2),
    0x41: Object("distance", "MTR", 2, -1),
    0x42: Object("duration", "SEC", 3, -3),
    0x43: Object("current", "AMP", 2, -3),
    0x44: Object("speed", "MTS", 2, -2),
    0x45: Object("temperature", "CEL", 2, -1, signed=True),
    0x46: Object("uv_index", "C62", 1, -1),
    0x47: Object("volume", "LTR", 2, -1),
    0x48: Object("volume", "MLT", 2),
    0x49: Object("volume_flow_rate", "MQH", 2, -3),
    0x4A: Object("voltage", "VLT", 2, -1),
    0x4B: Object("gas", "MTQ", 3, -3),
    0x4C: Object("gas", "MTQ", 4, -3),
    0x4D: Object("energy", "KWH", 4, -3),
    0x4E: Object("volume", "LTR", 4, -3),
    0x4F: Object("water", "LTR", 4, -3),
    0x51: Object("acceleration", "MSK", 2, -3),
    0x52: Object("gyroscope", "E96", 2, -3),
    0x55: Object("volume_storage", "LTR", 4, -3),
    0x56: Object("conductivity", "G42", 2),
    0x57: Object("temperature", "CEL", 1, signed=True),
    0x58: Object("temperature", "CEL", 1, -2, signed=True, step=35),
    0x59: Object("count", "C62", 1, signed=True),
    0x5A: Object("count", "C62", 2, signed=True),
    0x5B: Object("count", "C62", 4, signed=True),
    0x5C: Object("power", "WTT", 4, -2, signed=True),
    0x5D: Object("current", "AMP", 2, -3, signed=True),
    0x5E: Object("direction", "DD", 2, -2),
    0x5F: Object("precipitation", "MMT", 2, -1),
    0x60: Object("channel", "C62", 1),
    0x61: Object("rotational_speed", "RPM", 2),
    0x62: Object("speed", "MTS", 4, -6, signed=True),
    0x63: Object("acceleration", "MSK", 4, -6, signed=True),
    0x64: Object("light_level", "C62", 1),
}

#: Objects of one byte that are yes (1) or no (0); one that turns is told at once.
SWITCHES = {
    0x0F: "generic",
    0x10: "power_on",
    0x11: "opening",
    0x15: "battery_low",
    0x16: "battery_charging",
    0x17: "carbon_monoxide",
    0x18: "cold",
    0x19: "connectivity",
    0x1A: "door",
    0x1B: "garage_door",
    0x1C: "gas_detected",
    0x1D: "heat",
    0x1E: "light",
    0x1F: "lock",
    0x20: "moisture_detected",
    0x21: "motion",
    0x22: "moving",
    0x23: "occupancy",
    0x24: "plug",
    0x25: "presence",
    0x26: "problem",
    0x27: "running",
    0x28: "safety",
    0x29: "smoke",
    0x2A: "sound",
    0x2B: "tamper",
    0x2C: "vibration",
    0x2D: "window",
}

PACKET_ID = 0x00
BUTTON = 0x3A  # one byte: 0 none, then which press
COMMAND = 0x3B  # a length byte, an opcode, its arguments
DIMMER = 0x3C  # 0 none, 1 left, 2 right; then steps
TIMESTAMP = 0x50  # seconds since 1970, 4 bytes
TEXT = 0x53  # a length byte, UTF-8
RAW = 0x54  # a length byte, bytes
SETTINGS = 0x65
DEVICE_TYPE = 0xF0  # 2 bytes
FIRMWARE_4 = 0xF1  # 4 bytes, least significant part first
FIRMWARE_3 = 0xF2  # 3 bytes

#: The last press that is defined (0x80: hold); what is beyond is nothing we know.
PRESSES = {1: "press", 2: "double_press", 3: "triple_press", 4: "long_press", 5: "long_double_press"}
PRESSES |= {6: "long_triple_press", 0x80: "hold_press"}

#: How many bytes an object has, where that is fixed.
SIZES = {code: found.size for code, found in NUMBERS.items()}
SIZES |= dict.fromkeys(SWITCHES, 1)
SIZES |= {PACKET_ID: 1, BUTTON: 1, DIMMER: 2, TIMESTAMP: 4, SETTINGS: 1}
SIZES |= {DEVICE_TYPE: 2, FIRMWARE_4: 4, FIRMWARE_3: 3}

Item = tuple[int, bytes]  # object id, its bytes
