"""Counts the demonstration from both ends: the devices' own logs, and the rows of the record."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from cloud.db.tables import scan
from cloud.telemetry.query import list_series, readings
from coldproof.demo.account import Account, Entry, Window, balance
from wire.observation import MAX_TIME_MS, Quality

Channel = tuple[str, str]  # (gateway, channel)
Entries = dict[Channel, list[Entry]]


class DeviceLine(msgspec.Struct, frozen=True):
    """One line of a device log: a value in a complete answer, or a scan, that left the device."""

    channel: str  # gateway/device/point
    at_ms: int
    host_s: float
    mantissa: int | None = None
    exponent: int = 0
    code: str | None = None


def produced(log: Path) -> tuple[Entries, Entries]:
    """(readings, scans) that left the devices, per channel."""
    values: Entries = defaultdict(list)
    scans: Entries = defaultdict(list)
    for line in log.read_bytes().splitlines():
        found = msgspec.json.decode(line, type=DeviceLine)
        gateway, _, channel = found.channel.partition("/")
        if found.code is not None:
            scans[gateway, channel].append(Entry(found.code, found.at_ms, found.host_s))
        elif found.mantissa is not None:
            number = _number(found.mantissa, found.exponent)
            values[gateway, channel].append(Entry(number, found.at_ms, found.host_s))
    return values, scans


def last_answer_s(log: Path, gateway: str) -> float:
    """When (host monotonic seconds) a device of this gateway last gave a value; 0 when none ever did."""
    values, _ = produced(log)
    own = [entry.host_s for (name, _), entries in values.items() if name == gateway for entry in entries]
    return max(own, default=0.0)


def stored(conn: Connection) -> tuple[Entries, Entries]:
    """(readings, scans) in the record, per channel. Rows that say only that a device is silent are not counted."""
    values: Entries = defaultdict(list)
    for series in list_series(conn):
        rows = readings(conn, series.gateway, series.channel, 0, MAX_TIME_MS)
        values[series.gateway, series.channel] += [
            Entry(_number(row.mantissa, row.exponent), row.observed_ms)
            for row in rows
            if row.mantissa is not None and row.quality != Quality.STALE
        ]
    scans: Entries = defaultdict(list)
    query = select(scan.c.gateway, scan.c.channel, scan.c.code, scan.c.observed_ms).order_by(
        scan.c.observed_ms, scan.c.pack_id, scan.c.ordinal
    )
    for row in conn.execute(query):
        scans[row.gateway, row.channel].append(Entry(row.code, row.observed_ms))
    return values, scans


def accounts(log: Path, conn: Connection, windows: dict[str, list[Window]]) -> tuple[Account, Account]:
    """The balance of all readings and of all scans. `windows`: per gateway, when it may have died with an answer."""
    made_values, made_scans = produced(log)
    kept_values, kept_scans = stored(conn)
    return _sum(made_values, kept_values, windows), _sum(made_scans, kept_scans, {})


def _sum(made: Entries, kept: Entries, windows: dict[str, list[Window]]) -> Account:
    total = Account()
    for channel in sorted({*made, *kept}):
        total += balance(made.get(channel, []), kept.get(channel, []), windows.get(channel[0], []))
    return total


def _number(mantissa: int, exponent: int) -> str:
    return f"{mantissa}e{exponent}"
