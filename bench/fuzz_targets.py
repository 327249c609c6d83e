"""What the fuzzer feeds: for each codec that reads foreign bytes, a function that takes any bytes and raises nothing.

What a codec refuses on purpose is caught here; whatever else it raises, hangs in, or holds too much memory for is a
finding. Invariants that must hold for every input stand here as assertions. A target belongs to the table in fuzz.py.
"""

from __future__ import annotations

import io
import json

import msgspec

from coldproof import ledger_check
from edge.drivers.barcode import codec as barcode
from edge.drivers.ble.codec import bthome, environment, ruuvi, ruuvi_log
from edge.drivers.ble.codec.advert import AdvertError
from edge.drivers.ble.filter import AdvertFilter
from edge.drivers.gps import codec as gps
from edge.drivers.gps.decode import decode_line as nmea_line
from edge.drivers.gps.navigation import Navigator
from edge.drivers.gps.readings import values
from edge.drivers.hid import codec as hid
from edge.drivers.llrp import codec as llrp
from edge.drivers.modbus import codec as modbus
from edge.drivers.onewire import codec as onewire
from edge.drivers.replay.codec import RowError, read_number
from edge.drivers.serial_line import codec as serial_line
from edge.drivers.serial_line import layout as serial_layout
from edge.drivers.uhf import codec as uhf
from standards.gs1 import epc, verdict
from standards.gs1 import scan as gs1_scan
from standards.gs1.application_identifier import Gs1Error
from standards.tlog import checkpoint, note, proof_file, tile
from standards.tlog.key import parse_vkey
from wire.observation import CODE_MAX_BYTES, INT64_MAX, MAX_EXPONENT, MIN_EXPONENT

PIECES = 3  # a stream arrives in so many
_FRAMINGS = (
    serial_line.Framing(),
    serial_line.Framing(end="\r\n", prefix="$", checksum="xor", checksum_skip=1),
    serial_line.Framing(end="\x03", prefix="\x02", checksum="crc16-modbus", checksum_mark="", encoding="ascii"),
    serial_line.Framing(end=";", checksum="crc8", encoding="latin-1", line_max=64),
)
_POINT = serial_layout.Point
_LAYOUTS = (
    serial_layout.Layout(
        "delimited", [_POINT("a", "CEL", field=1, sensor_error=["ERR", -999.9]), _POINT("b", "P1", field=3)]
    ),
    serial_layout.Layout("json", [_POINT("a", "CEL", key="a.0.b", exponent=-3), _POINT("b", "P1", optional=True)]),
    serial_layout.Layout(
        "pattern", [_POINT("a", "CEL")], decimal=",", matcher=serial_layout.compile_pattern(r"T=(?P<a>\S+).*")[0]
    ),
)
_BLOCK = next(iter(modbus.shipped_profile("xy-md02").block))
_KEY = bytes(range(16))
_SUFFIXES: tuple[barcode.Suffix, ...] = ("line", "cr", "lf", "crlf", "tab")


def barcode_stream(data: bytes) -> None:
    """A scanner's bytes."""
    decoder = barcode.Decoder(_SUFFIXES[_first(data) % len(_SUFFIXES)])
    for piece in _pieces(data[1:]):
        for item in decoder.feed(piece):
            assert not isinstance(item, barcode.Code) or len(item.text.encode()) <= CODE_MAX_BYTES
    decoder.discard()


def ble_advert(data: bytes) -> None:
    """What a sensor says in the air: each family's payload, plain and encrypted."""
    for decode in (
        ruuvi.decode,
        lambda payload: bthome.Decoder("A4:C1:38:00:00:01").decode({bthome.V2: payload}),
        lambda payload: bthome.Decoder("A4:C1:38:00:00:01", _KEY).decode({bthome.V2: payload}),
        lambda payload: bthome.Decoder("A4:C1:38:00:00:01").decode({bthome.V1_PLAIN: payload}),
    ):
        try:
            message = decode(data)
        except AdvertError:
            continue
        assert all(abs(value.mantissa or 0) <= INT64_MAX for value in message.values)


def ble_answer(data: bytes) -> None:
    """What a connected sensor answers: measurements, and lines of its log."""
    for uuid in environment.CHARACTERISTICS:
        try:
            environment.decode(uuid, data)
        except AdvertError:
            continue
    try:
        ruuvi_log.decode(data)
    except AdvertError:
        return


def ble_line(data: bytes) -> None:
    """A line for `edge decode ble`."""
    msgspec.json.encode(AdvertFilter().decode(data))


def gps_stream(data: bytes) -> None:
    """A receiver's bytes, to places and times."""
    decoder, fix = gps.Decoder(), gps.FixTime()
    navigator: Navigator[None] = Navigator()
    for piece in _pieces(data):
        for item in decoder.feed(piece):
            if isinstance(item, gps.Damaged):
                continue
            fix.take(item)
            for solution in navigator.take(item, None):
                assert all(abs(value.mantissa) <= 180 * gps.DEGREE for value in values(solution))


def gps_fields(data: bytes) -> None:
    """The fields of a sentence: the fuzzer is spared the checksum."""
    body = data.strip(b"\r\n").removeprefix(b"$").partition(b"*")[0]
    total = 0
    for byte in body:
        total ^= byte
    try:
        nmea_line(f"${body.decode('latin-1')}*{total:02X}")
    except ValueError:
        return


def hid_events(data: bytes) -> None:
    """A keyboard scanner's events."""
    for layout in ("us", "de", "fr"):
        decoder = hid.Decoder(layout)
        for piece in _pieces(data):
            for item in decoder.feed(piece):
                assert not isinstance(item, barcode.Code) or len(item.text.encode()) <= CODE_MAX_BYTES
        decoder.discard()


def llrp_stream(data: bytes) -> None:
    """An RFID reader's messages."""
    decoder = llrp.Decoder()
    try:
        for piece in _pieces(data):
            decoder.feed(piece)
            assert decoder.pending <= len(data)
    except llrp.StreamLost:
        return


def modbus_registers(data: bytes) -> None:
    """The registers of an answer."""
    registers = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    try:
        modbus.decode_block(_BLOCK, registers)
    except modbus.CodecError:
        return


def onewire_file(data: bytes) -> None:
    """A file of the kernel's 1-wire driver."""
    text = data.decode("latin-1")
    for family in ("28", "10"):
        try:
            onewire.read_slave(text, family)
        except onewire.Untrue:
            continue
    try:
        onewire.read_milli(text)
    except onewire.Untrue:
        return


def replay_number(data: bytes) -> None:
    """A cell of a recorded log."""
    try:
        read_number(data.decode("latin-1"), ",")
    except RowError:
        return


def serial_line_stream(data: bytes) -> None:
    """A sensor's bytes, to lines."""
    framing = _FRAMINGS[_first(data) % len(_FRAMINGS)]
    decoder = serial_line.Decoder(framing)
    for piece in _pieces(data[1:]):
        decoder.feed(piece)
        assert decoder.pending <= len(data)
    decoder.begin()


def serial_line_text(data: bytes) -> None:
    """A sensor's line, to numbers."""
    try:
        found = serial_layout.read_line(_LAYOUTS[_first(data) % len(_LAYOUTS)], data[1:4096].decode("utf-8", "replace"))
    except serial_layout.LineError:
        return
    for value in found:
        assert value.mantissa is None or abs(value.mantissa) <= INT64_MAX
        assert MIN_EXPONENT <= value.exponent <= MAX_EXPONENT


def uhf_stream(data: bytes) -> None:
    """An RFID module's frames."""
    decoder = uhf.Decoder()
    for piece in _pieces(data):
        for item in [*decoder.feed(piece), *decoder.settle()]:
            if isinstance(item, uhf.Frame):
                uhf.seen_in(item)
        assert decoder.pending <= len(data)


def epc_bytes(data: bytes) -> None:
    """What is written on a tag."""
    for given in (data, data[:12], data[:16]):
        try:
            epc.decode(given)
        except ValueError:
            continue


def tlog_text(data: bytes) -> None:
    """What a log, a witness or a web server sends an auditor: what is taken is written back as it came."""
    text = data.decode("utf-8", "replace")
    for read, given in (
        (note.parse, data),
        (lambda one: checkpoint.parse(one).text(), text),
        (parse_vkey, text),
        (proof_file.parse, text),
        (lambda one: tile.parse_path(one).path(), text),
    ):
        try:
            written = str(read(given))
        except ValueError:
            continue
        assert written == text
    for width in (1, 2, 256):
        try:
            assert tile.bundle(tile.entries_of(data, tile.Tile(tile.ENTRIES, 0, width))) == data
        except tile.TileError:
            continue


def ledger_line(data: bytes) -> None:
    """Lines for `coldproof ledger check`: an answer for each."""
    told = [json.loads(line) for line in ledger_check.answers(io.BytesIO(data))]
    assert len(told) == sum(bool(line.strip()) for line in data.split(b"\n"))


def gs1_verdict(data: bytes) -> None:
    """A code as a scanner sent it, to the verdict that the scanner is told."""
    msgspec.to_builtins(verdict.decode(data.decode("utf-8", "replace")))


def gs1_code(data: bytes) -> None:
    """A code as a scanner sent it, to application identifiers."""
    try:
        gs1_scan.parse(data.decode("utf-8", "replace"))
    except Gs1Error:
        return


def _first(data: bytes) -> int:
    return data[0] if data else 0


def _pieces(data: bytes) -> list[bytes]:
    size = max(1, len(data) // PIECES)
    return [data[at : at + size] for at in range(0, len(data), size)]
