"""A gateway's status for people: one line per thing, aligned; what needs somebody stands in capitals."""

from __future__ import annotations

import datetime
import time

from edge.budget import card_life_s, room_s, written_per_observation
from edge.device import DeviceState
from edge.health import Health

UNANSWERED_S = 60.0  # a pack is sent again after 30 s; by then something has to be said
CERTIFICATE_WARN_DAYS = 30
DAY_S, YEAR_S = 86_400, 365.25 * 86_400


def lines(health: Health) -> list[str]:
    """The whole status."""
    return [*_summary(health), *_warnings(health), *map(_device, health.devices)]


def _summary(health: Health) -> list[str]:
    age_s = time.time() - health.written_at_ms / 1000
    running = "running" if health.fresh else f"not running (last heard of {age_s:.0f} s ago)"
    simulated = ", simulated" if health.simulated else ""
    buffer, uplink = health.buffer, health.uplink
    waiting = f"{buffer.open_observations} open and {buffer.unsent_observations} unsent observations"
    oldest = "" if buffer.oldest_unsent_ms is None else f", the oldest from {_when(buffer.oldest_unsent_ms)}"
    size = f"{buffer.bytes / 1e6:.1f} MB"
    if buffer.max_bytes:
        size += f" of {buffer.max_bytes / 1e6:.0f}"
    link = "connected" if uplink.connected else "not connected"
    if uplink.last_error or not uplink.connected:
        link += f": {uplink.last_error or 'not yet'}"
    days = uplink.certificate_days
    certificate = "" if days is None else f"; certificate for {_days(days * DAY_S)}"
    return [
        f"{health.gateway}: {running}{simulated}",
        f"clock    {_when(health.clock_ms)}, {health.clock_state}",
        f"buffer   {waiting} in {buffer.unsent_packs} packs{oldest}; {size}",
        f"room     {_room(health)}",
        f"card     {_card(health)}",
        f"losses   {_losses(health)}",
        f"uplink   {link}; last receipt {_when(uplink.last_receipt_ms)}{certificate}",
    ]


def _room(health: Health) -> str:
    left_s = room_s(health)
    without = "not known yet for how long" if left_s is None else f"for {_days(left_s)} without the cloud"
    return f"{without}; {health.host.disk_free_bytes / 1e9:.1f} GB free on the disk"


def _card(health: Health) -> str:
    written, life_s = written_per_observation(health), card_life_s(health)
    per = "nothing written yet" if written is None else f"{written:,.0f} B written per observation"
    if life_s is None:
        return f"{per}; its life is not known yet"
    return f"{per}; lasts {life_s / YEAR_S:,.0f} years at {health.card_endurance_bytes / 1e12:g} TB"


def _losses(health: Health) -> str:
    """`none`, or every counter that isn't zero."""
    buffer, counts = health.buffer, health.uplink.counts
    told = [
        (health.intake.refused, "observations not recorded"),
        (buffer.damaged_observations, "observations damaged on the disk before they were sealed"),
        (buffer.thinned_readings, "readings thinned, and declared"),
        (buffer.lost_packs, "packs declared lost"),
        (buffer.refused_packs, "packs refused by the cloud"),
        (counts.get("asked_for_and_gone", 0), "packs asked for again, and gone"),
    ]
    return ", ".join(f"{count} {what}" for count, what in told if count) or "none"


def _warnings(health: Health) -> list[str]:
    buffer, uplink = health.buffer, health.uplink
    found = []
    if uplink.connected and not uplink.last_error and uplink.unanswered_s > UNANSWERED_S:
        found.append(
            f"NO RECEIPT for {uplink.unanswered_s:.0f} s although packs were sent: has the cloud been told of this "
            "gateway (`coldproof cloud gateway add`, with the file `coldproof edge key` names)? Does it run?"
        )
    if uplink.certificate_days is not None and uplink.certificate_days < 0:
        found.append("CERTIFICATE EXPIRED: the broker lets this gateway in no more; recording goes on")
    elif uplink.certificate_days is not None and uplink.certificate_days < CERTIFICATE_WARN_DAYS:
        found.append(f"CERTIFICATE EXPIRES in {_days(uplink.certificate_days * DAY_S)}: it has to be renewed")
    if buffer.full:
        found.append("BUFFER FULL: nothing more is recorded until packs are released or disk is freed")
    if buffer.refused_packs:
        found.append(f"REFUSED by the cloud, and kept: {buffer.refused_packs} packs")
    found += [f"SET ASIDE {name}: a corrupt buffer file, kept for rescue" for name in buffer.set_aside]
    if health.intake.refused:
        found.append(f"NOT RECORDED: {health.intake.refused} observations, {health.intake.last_error or 'earlier'}")
    return found


def _device(device: DeviceState) -> str:
    seen = f"last seen {_when(device.last_seen_ms)}" if device.last_seen_ms is not None else "never seen"
    error = f"; {device.last_error}" if device.state != "up" and device.last_error else ""
    probing = ", probed now and then" if device.probing else ""
    rate = f", {100 * device.error_rate:.0f} % errors" if device.error_rate else ""
    return f"{device.state:<8} {device.name}: {seen}, {device.observations} observations{rate}{probing}{error}"


def _days(span_s: float) -> str:
    return f"{span_s / DAY_S:,.0f} days" if abs(span_s) >= 2 * DAY_S else f"{span_s / 3600:.1f} hours"


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return "never"
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).astimezone().isoformat(timespec="seconds")
