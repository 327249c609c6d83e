"""What the status page shows, made of the gateway's state: plain nouns for the templates. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import msgspec

from edge.alarms import Alarm, Change
from edge.commission.letters import Look
from edge.commission.words import SIGNS, value_of
from edge.config import GatewayConfig
from edge.device import DeviceState
from edge.limits import Limit
from edge.local.chart import Chart, svg
from edge.local.wording import Wording
from wire.observation import Observation, Quality, Reading, Scan

CHARTS_MAX = 60  # of a page; a gateway with more channels shows their numbers


class Value(msgspec.Struct, frozen=True):
    """One channel now. chart: SVG, empty where there is too little to draw."""

    point: str
    channel: str
    text: str
    mark: str
    chart: str
    beyond: bool
    stuck: str


class Device(msgspec.Struct, frozen=True):
    """One device."""

    name: str
    state: str
    seen: str
    error: str
    values: list[Value]


class Row(msgspec.Struct, frozen=True):
    """A line of facts about the gateway. bad: it needs somebody."""

    name: str
    text: str
    bad: bool = False


def devices(
    look: Look,
    newest: Sequence[Observation],
    *,
    curves: Mapping[str, list[tuple[int, float]]],
    limits: Sequence[Limit],
    alarms: Sequence[Alarm],
    words: Wording,
) -> list[Device]:
    """Every device with its channels."""
    by_channel = {limit.channel: limit for limit in limits}
    beyond = {alarm.channel for alarm in alarms}
    found: list[Device] = []
    drawn = set(list(curves)[:CHARTS_MAX])
    for state in look.health.devices:
        mine = [each for each in newest if each.channel.partition("/")[0] == state.name]
        values = [
            _value(
                each,
                curves.get(each.channel, []) if each.channel in drawn else [],
                by_channel.get(each.channel),
                words,
                beyond=each.channel in beyond,
                stuck=look.stuck.get(each.channel, 0),
            )
            for each in mine
        ]
        found.append(Device(state.name, state.state, _seen(state, words), _error(state, words), values))
    return found


def gateway_rows(look: Look, config: GatewayConfig, words: Wording) -> list[Row]:
    """Link, buffer, clock, losses."""
    health, uplink, buffer = look.health, look.health.uplink, look.health.buffer
    link = words("gateway.connected" if uplink.connected else "gateway.not_connected")
    if uplink.last_error:
        link += f": {uplink.last_error}"
    waiting = words("gateway.waiting_count", count=buffer.open_observations + buffer.unsent_observations)
    if buffer.oldest_unsent_ms is not None:
        waiting += ", " + words("gateway.oldest", when=when(buffer.oldest_unsent_ms))
    size = f"{_number(f'{buffer.bytes / 1e6:.1f}', words)} / {buffer.max_bytes / 1e6:.0f} MB"
    lost = health.intake.refused + buffer.damaged_observations + buffer.thinned_readings
    return [
        Row(words("gateway.link"), link, bad=not uplink.connected),
        Row(words("gateway.receipt"), when(uplink.last_receipt_ms) or words("gateway.never")),
        Row(words("gateway.waiting"), waiting),
        Row(words("gateway.buffer"), words("gateway.full") if buffer.full else size, bad=buffer.full),
        Row(words("gateway.losses"), str(lost) if lost else words("gateway.none_lost"), bad=bool(lost)),
        Row(
            words("gateway.clock"),
            f"{when(health.clock_ms)}, {words('gateway.clock_' + health.clock_state)}",
            bad=health.clock_state == "unsynced",
        ),
        Row(words("gateway.version"), f"coldproof {health.version}, {config.name}"),
    ]


def alarm_text(alarm: Alarm, words: Wording) -> str:
    """An alarm in words."""
    sign = SIGNS.get(alarm.unit, f" {alarm.unit}")
    return words(
        f"alarm.{alarm.kind}", channel=alarm.channel, value=_number(alarm.value, words) + sign,
        limit=_number(alarm.limit, words) + sign,
    )  # fmt: skip


def change_text(change: Change, words: Wording) -> str:
    """A line of the history of alarms."""
    event = words("alarm.event_test" if change.event == "test" else f"alarm.{change.event}")
    return f"{when(change.at_ms)} {event}: {alarm_text(change.alarm, words)}"


def scan_line(scan: Scan) -> tuple[str, str]:
    """(when and where, the code) of a scan."""
    return f"{when(scan.stamp.observed_at_ms)} {scan.channel}", value_of(scan)


def when(at_ms: int | None) -> str:
    """Local time for a person at the site; the date, too, when it isn't today. Empty for None."""
    if at_ms is None:
        return ""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).astimezone()
    today = datetime.datetime.now(datetime.UTC).astimezone().date()
    return f"{at:%H:%M:%S}" if at.date() == today else f"{at:%d/%m/%Y %H:%M:%S}"


def _value(
    seen: Observation,
    points: list[tuple[int, float]],
    limit: Limit | None,
    words: Wording,
    *,
    beyond: bool,
    stuck: int,
) -> Value:
    text = value_of(msgspec.structs.replace(seen, quality=Quality.OK))
    if isinstance(seen, Reading):
        text = "–" if seen.value is None else _number(text, words)
    return Value(
        point=seen.channel.partition("/")[2],
        channel=seen.channel,
        text=text,
        mark=words(f"quality.{seen.quality.name.lower()}"),
        chart=_chart(seen.channel, points, limit, words) if len(points) > 1 else "",
        beyond=beyond,
        stuck=words("device.stuck", count=stuck) if stuck else "",
    )


def _chart(channel: str, points: list[tuple[int, float]], limit: Limit | None, words: Wording) -> str:
    values = [value for _, value in points]
    title = words(
        "device.chart", channel=channel, low=f"{min(values):g}", high=f"{max(values):g}", start=when(points[0][0]),
        end=when(points[-1][0]),
    )  # fmt: skip
    return svg(Chart(points, title, limit, words.language))


def _seen(state: DeviceState, words: Wording) -> str:
    if state.last_seen_ms is None:
        return words("device.never")
    return words("device.seen", when=when(state.last_seen_ms))


def _error(state: DeviceState, words: Wording) -> str:
    parts = [state.last_error] if state.state != "up" and state.last_error else []
    if state.error_rate:
        parts.append(words("device.errors", percent=round(100 * state.error_rate)))
    return "; ".join(parts)


def _number(text: str, words: Wording) -> str:
    """As it is written in the language: a decimal comma in Vietnamese, and a real minus."""
    text = text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text
    return text.replace(".", ",", 1) if words.language == "vi" else text
